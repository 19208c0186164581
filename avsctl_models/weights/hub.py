"""Repositories of the Hugging Face hub, named `hf://owner/name`, as local folders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_REFERENCE = re.compile(r"hf:/{1,2}([\w.-]+/[\w.-]+)/?")  # a Path of hf://… has lost one slash
_SECONDS_TO_ANSWER = 5
_SAFETENSORS = ["config.json", "model*.safetensors", "model.safetensors.index.json"]
_PICKLES = ["config.json", "pytorch_model*.bin", "pytorch_model.bin.index.json"]


def is_hub_reference(path: Path | str) -> bool:
    """Whether a path names a repository of the hub."""
    return str(path).startswith("hf:/")


def download(reference: Path | str, to: Path | None = None) -> Path:
    """Fetch a repository's configuration and weights, safetensors before pickles, or find them in the cache.

    Without a network, what the hub's own cache holds is used; no retries are waited for.

    Args:
        reference: `hf://owner/name`.
        to: Folder to fetch it into; None for the hub's own cache.
    Returns: The folder.
    Raises: ValueError: If the reference is malformed, or the weights can't be had.
    """
    match = _REFERENCE.fullmatch(str(reference))
    if not match:
        raise ValueError(f"{reference} names no repository: write hf://owner/name")
    name = f"hf://{match[1]}"
    online = _hub_answers()
    folder = _fetch(match[1], _SAFETENSORS, online, to)
    if folder is None or not any(folder.glob("*.safetensors")):
        folder = _fetch(match[1], _PICKLES, online, to)
    if folder is None:
        raise ValueError(
            f"{name} is not in the local cache and the Hugging Face hub cannot be reached; "
            "download it elsewhere and give its folder"
        )
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise ValueError(f"{name} holds neither model.safetensors nor pytorch_model.bin")
    return folder


def _hub_answers() -> bool:
    """Ask once: the hub's own functions retry for half a minute where there is no network."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=_SECONDS_TO_ANSWER)
    except Exception:  # of requests or of httpx, by the version of huggingface_hub
        return False
    return True


def _fetch(repository: str, patterns: list[str], online: bool, to: Path | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        options: dict[str, Any] = {} if to is None else {"local_dir": to}
        return Path(snapshot_download(repository, allow_patterns=patterns, local_files_only=not online, **options))
    except LocalEntryNotFoundError:
        return None
    except (HfHubHTTPError, HFValidationError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(f"hf://{repository} cannot be downloaded: {reason}") from error
