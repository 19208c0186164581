"""The released weights that are known by name, and where fetched ones lie."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER_VARIABLE = "AVSCTL_WEIGHTS"
_HUB_ENDINGS = (".safetensors", ".bin")
_NO_WEIGHTS = (".json", ".part", ".version")


@dataclass(frozen=True)
class Score:
    """A score in percent that goes with released weights.

    Attributes:
        subset: What was scored: `s4`, `ms3` or `all`.
        by: Whose number it is: `paper`, `authors` (beside the download) or `user`.
        where: Address of a user's report.
    """

    subset: str
    by: str
    miou: float
    f_score: float
    where: str = ""


@dataclass(frozen=True)
class Released:
    """Released weights, as `released.toml` describes them; what is not known is empty.

    Attributes:
        name: What `weights fetch` takes.
        read_by: One of the sources of `import-weights`.
        use: Options that take the weights.
        page: Where a person gets them with a browser; url: where a program gets them; hub: a repository of the
            Hugging Face hub. One of the three is there.
        sha256: Hash of the file behind `url`, or as many of its first digits as are published.
        bytes: Size of that file; size: as published.
    """

    name: str
    about: str
    read_by: str
    use: tuple[str, ...]
    paper: str
    home: str
    page: str = ""
    url: str = ""
    hub: str = ""
    sha256: str = ""
    bytes: int | None = None
    size: str = ""
    note: str = ""
    scores: tuple[Score, ...] = field(default=())

    @property
    def filename(self) -> str:
        """Name of the file behind `url`, empty without one."""
        return urlsplit(self.url).path.rsplit("/", 1)[-1]


@lru_cache(maxsize=1)
def released() -> dict[str, Released]:
    """All known released weights by name, in the order of `released.toml`."""
    with Path(__file__).with_name("released.toml").open("rb") as file:
        content = tomllib.load(file)
    return {name: _entry(name, **values) for name, values in content.items()}


def find_released(name: str) -> Released:
    """Released weights by name.

    Raises: ValueError: If there are none of that name.
    """
    if name not in released():
        raise ValueError(f"no released weights are known as {name!r}; there are: {', '.join(released())}")
    return released()[name]


def weights_folder() -> Path:
    """Where fetched weights lie: $AVSCTL_WEIGHTS, else `avsctl/weights` in the user's cache folder."""
    if os.environ.get(FOLDER_VARIABLE):
        return Path(os.environ[FOLDER_VARIABLE]).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "avsctl" / "weights"


def fetched(entry: Released, folder: Path | None = None) -> Path | None:
    """The weights on this machine: a file, or the folder of a hub's repository; None if they are not there.

    Args:
        folder: Where all fetched weights lie; None for `weights_folder()`.
    """
    home = (weights_folder() if folder is None else folder) / entry.name
    if entry.url:
        file = home / entry.filename
        return file if file.is_file() else None
    files = sorted(path for path in home.glob("[!.]*") if path.is_file())
    if entry.hub:
        whole = (home / "config.json").is_file() and any(path.suffix in _HUB_ENDINGS for path in files)
        return home if whole else None
    weights = [path for path in files if path.suffix not in _NO_WEIGHTS]
    return weights[0] if len(weights) == 1 else None


def _entry(name: str, *, use: list[str], scores: list[dict[str, Any]], **values: Any) -> Released:
    return Released(name, use=tuple(use), scores=tuple(Score(**score) for score in scores), **values)
