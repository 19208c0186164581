"""Plain downloads that go on where they stopped and appear whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

CHUNK = 2**20
_SECONDS_TO_ANSWER = 30

Watch = Callable[..., Iterable[bytes]]
"""`watch(chunks, description, total)` passes chunks of a MiB on and may show how far it is."""


@dataclass(frozen=True)
class _Part:
    """A download under way: its bytes so far, and what the server calls this version of the file."""

    path: Path
    mark: Path

    @classmethod
    def beside(cls, target: Path) -> _Part:
        return cls(target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.version"))

    def version(self) -> str:
        return self.mark.read_text(encoding="latin-1") if self.mark.is_file() else ""

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.mark.unlink(missing_ok=True)


def download(url: str, target: Path, *, sha256: str = "", watch: Watch = lambda chunks, *_: chunks) -> Path:
    """Download a file; a second call goes on where the first one stopped.

    What has come so far lies beside `target` as `.part`. It is continued only if the server still has the same
    version of the file, and becomes `target` when it is complete and its hash is right.

    Args:
        target: File to write; its folder is made.
        sha256: Hash of the file, or its first digits; empty where it is not known.
        watch: Sees the chunks pass.
    Returns: `target`.
    Raises: ValueError: If the server can't be reached or refuses, the connection breaks, another process downloads
        the same file, the disk has no room for it, or the hash is wrong; the message says what to do.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part.beside(target)
    with part.path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"another process is downloading {target}; wait for it") from None
        _receive(url, part, target, watch)
        _check_hash(part, sha256, url)
        os.replace(part.path, target)
    part.mark.unlink(missing_ok=True)
    return target


def _receive(url: str, part: _Part, target: Path, watch: Watch) -> None:
    """Write what is missing to the part's file, all of it."""
    response = _ask(url, part, target)
    if response is None:
        return
    with response:
        start = _start(response)
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        _check_answer(response, url)
        _check_room(target, (total or 0) - start)
        part.mark.write_text(_version(response), encoding="latin-1")
        with part.path.open("r+b") as file:
            file.truncate(start)
            file.seek(start)
            for chunk in watch(_chunks(response, url), target.name, None if total is None else -(-total // CHUNK)):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    size = part.path.stat().st_size
    if total is not None and size != total:
        raise ValueError(f"{url} broke off after {size:,} of {total:,} bytes; run it again to go on from there")


def _ask(url: str, part: _Part, target: Path) -> HTTPResponse | None:
    """The server's answer, from where the part ends if it is of the same version; None if nothing is missing."""
    size, version = part.path.stat().st_size, part.version()
    headers = {"User-Agent": "avsctl"}
    if size and version:
        headers |= {"Range": f"bytes={size}-", "If-Range": version}
    try:
        return urlopen(Request(url, headers=headers), timeout=_SECONDS_TO_ANSWER)
    except HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{size}":
            return None
        if not size:
            part.remove()
        raise ValueError(f"{url} answers {error.code} ({error.reason})") from None
    except (URLError, OSError, HTTPException) as error:
        if not size:
            part.remove()
        reason = getattr(error, "reason", None) or error
        raise ValueError(
            f"{url} can't be reached ({reason}); run it again when there is a network, or download it elsewhere and "
            f"put it at {target}"
        ) from None


def _start(response: HTTPResponse) -> int:
    """Where in the file the answer begins."""
    span = response.headers.get("Content-Range", "")  # bytes 100-199/200
    return int(span.removeprefix("bytes ").partition("-")[0]) if response.status == 206 else 0


def _check_answer(response: HTTPResponse, url: str) -> None:
    if response.headers.get_content_type() == "text/html":
        raise ValueError(f"{url} gives a web page instead of a file; a network may ask you to log in first")


def _check_room(target: Path, needed: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise ValueError(
            f"{target.parent} has {free:,} bytes free, {target.name} needs {needed:,} more; choose another"
        )


def _chunks(response: HTTPResponse, url: str) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read(CHUNK)
        except (OSError, HTTPException) as error:
            raise ValueError(f"{url} broke off ({error}); run it again to go on from there") from None
        if not chunk:
            return
        yield chunk


def _version(response: HTTPResponse) -> str:
    """A strong validator of this version of the file, empty where the server gives none."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _check_hash(part: _Part, sha256: str, url: str) -> None:
    digest = hashlib.sha256()
    with part.path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    if not digest.hexdigest().startswith(sha256.lower()):
        part.remove()
        raise ValueError(
            f"{url} gave a file with the SHA-256 {digest.hexdigest()}, which should begin with {sha256}: it is damaged "
            f"or another one, and was thrown away"
        )
