"""What one may ask of `visualize` for a video, checked before any work is done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsctl.ahead import PREFETCH
from avsctl.errors import AvsctlError

ONLY = ("stills", "video")


@dataclass(frozen=True)
class VideoOptions:
    """Which models draw a video, and what is drawn.

    Args:
        avs, avss: stage 1 and stage 2, as for `choose_checkpoints`.
        compare: runs to show beside each other instead, each `RUN` or `LABEL=RUN`.
        prior_form: `hard` or `soft`, None for the form stage 2 was trained with.
        audio_weights: the sound encoder's file, for models that hear vggish or yamnet.
        fps: frames a second that the models see; masks of the frames between are interpolated.
        alpha: how much a mask's colour covers the picture, 0 to 1.
        classes: names of the classes to show; none shows all.
        start, end: the stretch to draw, in seconds from the first picture; None is the end of the video.
        only: `stills` (sheet, timeline, masks) or `video`; None is both.
        transparent: also write the masks and names alone, as a video with alpha.
        compile: let `torch.compile` make the networks' parts.
        prefetch: how far threads work ahead, see `look` and `project`; nothing depends on it.
    Raises: AvsctlError: If values exclude each other.
    """

    avs: str | None = None
    avss: str | None = None
    compare: tuple[str, ...] = ()
    prior_form: str | None = None
    audio_weights: Path | None = None
    fps: float = 4.0
    alpha: float = 0.5
    classes: tuple[str, ...] = ()
    start: float = 0.0
    end: float | None = None
    only: str | None = None
    transparent: bool = False
    device: str = "auto"
    precision: str = "fp32"
    compile: bool = False
    prefetch: int = PREFETCH

    def __post_init__(self) -> None:
        if self.only not in (None, *ONLY):
            raise AvsctlError(f"--only takes {' or '.join(ONLY)}, not {self.only}.")
        if self.start < 0:
            raise AvsctlError(f"--start {self.start:g} is before the video's beginning. Leave it out, or take 0.")
        if self.end is not None and self.end <= self.start:
            raise AvsctlError(f"--end {self.end:g} is not after --start {self.start:g}. Give a later --end.")
        if self.transparent and (self.only == "stills" or self.compare):
            other = "--compare, which puts runs beside each other" if self.compare else "--only stills"
            raise AvsctlError(f"--transparent is a video of one run: leave out {other}, or --transparent.")

    @property
    def stills(self) -> bool:
        """Whether pictures are written."""
        return self.only != "video"

    @property
    def video(self) -> bool:
        """Whether a video is written."""
        return self.only != "stills"

    def to_json(self) -> dict[str, Any]:
        """What of it a result's JSON records; models and weights stand there by their hashes."""
        names = ("fps", "alpha", "prior_form", "precision", "start", "end", "only", "transparent")
        return {**{name: getattr(self, name) for name in names}, "classes": list(self.classes)}
