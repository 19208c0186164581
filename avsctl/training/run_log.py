"""What a run leaves behind of every step and epoch: `log.jsonl` always, TensorBoard's files on request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from avsctl.caches.files import whole_file
from avsctl.errors import AvsctlError


class RunLog:
    """Writes one line of JSON per step and per epoch; a continued run's lines are those of an uninterrupted one.

    Args:
        folder: the run's.
        tensorboard: also write scalars and pictures into `tensorboard/`.
        writes: off where another process writes the same.
    Raises: AvsctlError: If TensorBoard is asked for and is not installed.
    """

    def __init__(self, folder: Path, *, tensorboard: bool = False, writes: bool = True):
        self.path = folder / "log.jsonl"
        self.writes = writes
        self._writer = _tensorboard(folder / "tensorboard") if tensorboard and writes else None

    def begin(self, epoch: int, step: int) -> None:
        """Drop what a stopped run wrote after its last checkpoint.

        Args:
            epoch, step: how many are done; step counts in the epoch that is in hand.
        """
        if not self.writes:
            return
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        kept = [line for line in lines if _done(line, epoch, step)]
        with whole_file(self.path) as part:
            part.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def step(self, epoch: int, step: int, number: int, values: Mapping[str, Any]) -> None:
        """Note a step: its epoch and its place there, counted from 1, and its number in the whole run."""
        self._write({"kind": "step", "epoch": epoch, "step": step, **values})
        self._scalars("train", values, number)

    def epoch(self, entry: Mapping[str, Any]) -> None:
        """Note an epoch: what the record's history says of it."""
        self._write({"kind": "epoch", **entry})
        self._scalars("epoch", entry, entry["epoch"])

    @property
    def draws(self) -> bool:
        """Whether pictures are kept."""
        return self._writer is not None

    def pictures(self, epoch: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Keep (H, W, 3) uint8 pictures of an epoch, by what they show, for TensorBoard."""
        if self._writer is None:
            return
        for name, picture in pictures.items():
            self._writer.add_image(f"validation/{name}", picture, epoch, dataformats="HWC")
        self._writer.flush()

    def _write(self, entry: Mapping[str, Any]) -> None:
        if not self.writes:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, allow_nan=False) + "\n")

    def _scalars(self, group: str, values: Mapping[str, Any], number: int) -> None:
        if self._writer is None:
            return
        for name, value in values.items():
            if isinstance(value, (int, float)) and name not in ("epoch", "step"):
                self._writer.add_scalar(f"{group}/{name}", value, number)
        self._writer.flush()


def _done(line: str, epoch: int, step: int) -> bool:
    try:
        entry = json.loads(line)
        at = entry["epoch"], entry.get("step", 0)
    except (ValueError, KeyError, TypeError):
        return False  # a kill can cut the last line short
    return at[0] <= epoch or (at[0] == epoch + 1 and entry["kind"] == "step" and at[1] <= step)


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise AvsctlError("TensorBoard is not installed. Run pip install 'avsctl[tensorboard]'.") from None
    return SummaryWriter(str(folder))
