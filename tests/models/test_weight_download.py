"""Downloads against a server on this machine: whole, broken off, continued, wrong, refused."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from avsctl_models.weights import download as downloads
from avsctl_models.weights.download import download

CONTENT = bytes(range(256)) * 12_000  # 3 MB: more than one chunk
SHA256 = hashlib.sha256(CONTENT).hexdigest()
UNREACHABLE = "http://127.0.0.1:9/file.pth"  # nothing listens there


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(self.headers.get("Range"))
        if self.path == "/moved.pth":
            self.send_response(302)
            self.send_header("Location", "/file.pth")
            self.end_headers()
        elif self.path == "/login.pth":
            self._send(200, b"<html>log in</html>", {"Content-Type": "text/html; charset=utf-8"})
        elif self.path == "/file.pth":
            self._send_file(server.content)
        else:
            self.send_error(404)

    def _send_file(self, content: bytes) -> None:
        tag = f'"{hashlib.sha256(content).hexdigest()[:8]}"'
        headers = {"ETag": tag} if self.server.tagged else {}
        span = self.headers.get("Range")
        if span is None or self.headers.get("If-Range") != tag:
            self._send(200, content, headers)
            return
        start = int(span.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            self._send(416, b"", {**headers, "Content-Range": f"bytes */{len(content)}"})
            return
        place = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206, content[start:], {**headers, "Content-Range": place})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/octet-stream", **headers}.items():
            self.send_header(name, value)
        if self.server.lengths:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.breaks_after])


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """Serves `content` at /file.pth; `breaks_after` bytes of an answer it hangs up; `asked` are the ranges so far."""
    made = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    made.content, made.breaks_after, made.tagged, made.lengths, made.asked = CONTENT, None, True, True, []
    made.url = f"http://127.0.0.1:{made.server_port}"
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "folder" / "file.pth"


def _only(target) -> bool:
    return [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("place", ["/file.pth", "/moved.pth"])
@pytest.mark.parametrize("lengths", [True, False])
def test_a_file_arrives_whole_also_over_a_redirect(server, target, place, lengths):
    server.lengths = lengths
    assert download(server.url + place, target, sha256=SHA256) == target
    assert target.read_bytes() == CONTENT and _only(target)


def test_the_chunks_can_be_watched(server, target):
    seen = []

    def watch(chunks, description, total):
        for chunk in chunks:
            seen.append((len(chunk), description, total))
            yield chunk

    download(f"{server.url}/file.pth", target, watch=watch)
    assert sum(length for length, *_ in seen) == len(CONTENT)
    assert {tuple(rest) for _, *rest in seen} == {("file.pth", 3)}


def test_a_broken_download_goes_on_where_it_was(server, target):
    server.breaks_after = 2_000_000
    with pytest.raises(ValueError, match="broke off after 2,000,000 of 3,072,000 bytes; run it again"):
        download(f"{server.url}/file.pth", target, sha256=SHA256)
    assert not target.exists()
    server.breaks_after = None
    download(f"{server.url}/file.pth", target, sha256=SHA256)
    assert target.read_bytes() == CONTENT and _only(target)
    assert server.asked == [None, "bytes=2000000-"]


def test_a_download_that_only_lacked_its_name_is_not_fetched_again(server, target):
    server.breaks_after = 0
    with pytest.raises(ValueError, match="broke off"):
        download(f"{server.url}/file.pth", target)
    target.with_name("file.pth.part").write_bytes(CONTENT)
    download(f"{server.url}/file.pth", target, sha256=SHA256)
    assert target.read_bytes() == CONTENT and _only(target)


@pytest.mark.parametrize("tagged", [True, False])
def test_another_version_of_the_file_is_fetched_from_the_start(server, target, tagged):
    server.breaks_after, server.tagged = 2_000_000, tagged
    with pytest.raises(ValueError, match="broke off"):
        download(f"{server.url}/file.pth", target)
    server.breaks_after, server.content = None, CONTENT[::-1]
    download(f"{server.url}/file.pth", target)
    assert target.read_bytes() == CONTENT[::-1] and _only(target)


def test_a_wrong_hash_leaves_nothing(server, target):
    with pytest.raises(ValueError, match=f"SHA-256 {SHA256}, which should begin with 0123abcd"):
        download(f"{server.url}/file.pth", target, sha256="0123abcd")
    assert list(target.parent.iterdir()) == []


def test_the_first_digits_of_a_hash_are_enough(server, target):
    assert download(f"{server.url}/file.pth", target, sha256=SHA256[:8].upper()).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("place", "says"), [("/none.pth", r"answers 404 \(Not Found\)"), ("/login.pth", "web page instead of a file")]
)
def test_what_is_no_file_is_refused(server, target, place, says):
    with pytest.raises(ValueError, match=says):
        download(server.url + place, target)
    assert not target.exists()
    assert download(f"{server.url}/file.pth", target).read_bytes() == CONTENT


def test_without_a_network_the_line_says_where_to_put_the_file(target):
    with pytest.raises(ValueError, match=rf"can't be reached .*put it at {target}"):
        download(UNREACHABLE, target)
    assert list(target.parent.iterdir()) == []


def test_a_full_disk_is_seen_before_the_download(server, target, monkeypatch):
    usage = shutil.disk_usage(target.parent.parent)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(ValueError, match=r"1,000 bytes free, file.pth needs 3,072,000 more"):
        download(f"{server.url}/file.pth", target)
    assert not target.exists()


def test_two_downloads_of_one_file_do_not_mix(server, target):
    target.parent.mkdir()
    with target.with_name("file.pth.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process is downloading"):
            download(f"{server.url}/file.pth", target)
    assert download(f"{server.url}/file.pth", target).read_bytes() == CONTENT
