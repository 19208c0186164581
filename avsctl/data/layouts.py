"""Which dataset lies in a folder, found by looking at it."""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from avsctl.caches.clips import ClipRecord
from avsctl.caches.files import hash_of
from avsctl.data.entries import Entries, Entry
from avsctl.data.media import BrokenClip
from avsctl.errors import AvsctlError

ROOT_VARIABLE = "AVSBENCH_ROOT"
SYNTHETIC_FOLDER = "AVSBench-synthetic"
"""Where `prepare synthetic` writes, below the workspace."""
WELL_KNOWN = (
    "AVSBench-semantic",
    "AVSBench_semantic",
    "AVSBench",
    "avsbench",
    "AVSBench-object",
    "AVSBench_object",
    "avsbench_data",
    SYNTHETIC_FOLDER,
)
"""Folder names below the workspace where a dataset is looked for, in this order."""
LAYOUT_MODULES = ("avsbench_semantic", "avsbench_object", "folder")
"""Modules of `avsctl.data` that register a layout; a new dataset adds its own."""

_LAYOUTS: dict[str, type[Dataset]] = {}


@dataclass
class Loaded:
    """A clip's content, and what was odd about it without breaking it.

    Args:
        off_palette: pixels with a colour outside the palette, by label file.
        greys: mask files that held values between black and white.
        present: class indices in the labels.
    """

    record: ClipRecord
    off_palette: dict[str, int] = field(default_factory=dict)
    greys: list[str] = field(default_factory=list)
    present: frozenset[int] = frozenset()


class Dataset(ABC):
    """A dataset folder. Holds only its listing, so that worker processes may be given one.

    Attributes:
        name: of the layout.
        csv_files: csv files that list its clips, below the root.
        command: what prepares it.
        label_kind: `semantic`, `binary`, or `none` where not even the classes are known.
        problems: what is wrong in the csv files, each with its line.
    """

    name: ClassVar[str]
    command: ClassVar[str] = "avsctl prepare avsbench"
    label_kind: str = "semantic"
    expected_counts: ClassVar[Mapping[tuple[str, str], int]] = {}

    def __init__(self, root: Path):
        self.root = root
        self.entries = Entries()
        self.problems: list[str] = []

    classes: list[str]
    palette: np.ndarray

    @classmethod
    @abstractmethod
    def found(cls, root: Path) -> bool:
        """Whether `root` has this layout."""

    @abstractmethod
    def files(self, entry: Entry) -> list[Path]:
        """All files that `load` may read."""

    @abstractmethod
    def load(self, entry: Entry) -> Loaded:
        """Read a clip, every file once and fully.

        Raises: BrokenClip: If a file is missing, short or broken.
        """

    def read(self, entry: Entry) -> Loaded:
        """Load a clip whose files all lie in the dataset's folder, whatever links there are.

        Raises: BrokenClip: As `load`, and if a file lies elsewhere.
        """
        home = self.root.resolve()
        for path in self.files(entry):
            if not _resolved(path).is_relative_to(home):
                raise BrokenClip(path, "leads out of the dataset's folder: put the file itself there", "link out")
        return self.load(entry)

    def subset(self, name: str | None) -> Entries:
        """The clips of a subset, in the csv's order; `all` or None takes every one.

        Raises: AvsctlError: If there is no such subset, or the csv files have problems.
        """
        if self.problems:
            more = f" ({len(self.problems) - 1} more like it)" if len(self.problems) > 1 else ""
            raise AvsctlError(f"{self.problems[0]}{more}. Mend the file, or look at it with '{self.command} --check'.")
        if name in (None, "all"):
            return self.entries
        chosen = Entries(entry for entry in self.entries if entry.subset == name)
        if not chosen:
            held = ", ".join(sorted({entry.subset for entry in self.entries}))
            raise AvsctlError(f"{self.root} has no subset {name}. It has {held}; give one of them, or 'all'.")
        return chosen

    def listing(self, entry: Entry, *, times: bool = False) -> str:
        """A hash of an entry and of the names and sizes (and times) of its files, without reading them."""
        parts = [repr((entry.uid, entry.video, entry.subset, entry.split, entry.labelled, entry.frames))]
        for path in self.files(entry):
            try:
                status = path.stat()
            except OSError:
                continue
            parts.append(f"{path.relative_to(self.root).as_posix()} {status.st_size}")
            if times:
                parts.append(str(status.st_mtime_ns))
        return hash_of(*parts)


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # links in a circle; reading the file says so
        return path.absolute()


def register_dataset(name: str) -> Callable[[type[Dataset]], type[Dataset]]:
    """Make a layout known under a name; the class looks at a folder and reads its clips."""

    def decorate(cls: type[Dataset]) -> type[Dataset]:
        cls.name = name
        _LAYOUTS[name] = cls
        return cls

    return decorate


def layouts() -> dict[str, type[Dataset]]:
    """All layouts by name, in the order in which they are looked for."""
    for module in LAYOUT_MODULES:
        importlib.import_module(f"avsctl.data.{module}")
    return dict(_LAYOUTS)


def open_dataset(root: Path, *, command: str = "avsctl prepare avsbench", **settings: Any) -> Dataset:
    """The dataset in a folder, or in the only subfolder that has one (archives often unpack so).

    Args:
        command: what prepares it.
        settings: given to its layout's class.
    Raises: AvsctlError: If there is none, or if it is one that another command prepares.
    """
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise AvsctlError(f"{root} {what}. Give a dataset's folder.")
    found = _layouts_in([root]) or _layouts_in(sorted(path for path in root.iterdir() if path.is_dir()))
    if len({path for _, path in found}) > 1:
        names = ", ".join(path.name for _, path in found)
        raise AvsctlError(f"{root} holds several datasets ({names}). Give one of those folders.")
    for cls, path in found:
        if cls.command == command:
            return cls(path, **settings)
    if found:
        cls, path = found[0]
        raise AvsctlError(f"{path} has the layout {cls.name}. Prepare it with '{cls.command}'.")
    raise AvsctlError(
        f"{root} holds no dataset that '{command}' reads: neither metadata.csv (AVSBench-semantic) nor "
        f"Single-source/ or Multi-sources/ with their csv files (AVSBench-object). "
        f"Give the folder that holds them, or draw one with 'avsctl prepare synthetic'."
        if command.endswith("avsbench")
        else f"{root} holds no clips.csv. Give a folder in the neutral layout (see '{command} --help')."
    )


def _layouts_in(folders: list[Path]) -> list[tuple[type[Dataset], Path]]:
    return [(cls, folder) for folder in folders for cls in layouts().values() if cls.found(folder)]


def find_avsbench(workspace: Path, root: Path | None = None, environment: Mapping[str, str] | None = None) -> Dataset:
    """AVSBench at `root`, else at $AVSBENCH_ROOT, else under a well-known name below the workspace.

    Raises: AvsctlError: If the place that was named has none, or if there is none anywhere.
    """
    named = (os.environ if environment is None else environment).get(ROOT_VARIABLE)
    if root is not None:
        return open_dataset(root)
    if named:
        return open_dataset(Path(named))
    for name in WELL_KNOWN:
        if (workspace / name).is_dir():
            return open_dataset(workspace / name)
    raise AvsctlError(
        f"No AVSBench found: no folder {', '.join(WELL_KNOWN)} in {workspace.resolve()}. "
        f"Name its place with --root DIR or ${ROOT_VARIABLE}, or draw a synthetic one with 'avsctl prepare synthetic'."
    )
