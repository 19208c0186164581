"""One clip of the workspace after the other: predicted, drawn as a sheet and a video, compared with its labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.data.decoding import decode_frames, decode_labels
from avsctl.errors import AvsctlError
from avsctl.rendering.columns import Columns
from avsctl.rendering.overlay import draw_masks
from avsctl.rendering.sheet import Cell, SheetRow, second_row
from avsctl.rendering.video_writer import VideoWriter
from avsctl.stages.extract_audio import read_wave
from avsctl.stages.visualize_cast import Cast
from avsctl.stages.visualize_keys import FRAMES_AT_ONCE, MAX_SIDE, KeyMaps, fitted_size, key_maps
from avsctl.stages.visualize_models import shrink
from avsctl.stages.visualize_record import MIN_AREA, Timeline, presences
from avsctl.stages.visualize_sheets import SheetPages

MIN_SIDE = 480
"""Smaller pictures are enlarged to this long side, so that names in them can be read."""


@dataclass(frozen=True)
class SeenClip:
    """A clip second by second: pictures, labels (None where there is none), prior, and each panel's masks and keys."""

    pictures: list[np.ndarray]
    truths: list[np.ndarray | None]
    priors: list[np.ndarray | None]
    keys: list[list[KeyMaps]]
    timelines: list[Timeline]


@dataclass
class ClipPainter:
    """Draws clips into a folder, and a row of each on the sheet `summary.png`.

    Args:
        title: of that sheet.
        only: `stills` or `video`; None is both.
        labelled: whether there is a column for the ground truth.
        compare: whether the videos show columns.
    Attributes:
        labelled_seconds: seconds with a label so far.
        same_classes: of each panel, how many of these have just the labelled classes.
    """

    clips: ClipCache
    audio: AudioCache
    cast: Cast
    folder: Path
    alpha: float
    title: str
    only: str | None
    labelled: bool
    compare: bool
    outputs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    labelled_seconds: int = 0

    def __post_init__(self) -> None:
        self.same_classes = [0] * len(self.cast.panels)
        self._overview = self._pages("summary", self.title)

    def draw(self, clip: int, number: int, seen: SeenClip) -> dict[str, Any]:
        """Draw a clip, the `number`th, as `see` found it; returns its entry in the JSON."""
        uid = self.clips.uids[clip]
        file = uid.replace("/", "_")
        sheets, video = [], None
        if self.only != "video":
            sheets = self._sheet(clip, seen, f"{file}-sheet")
            shown = _telling_second(seen.truths)
            self._overview.add(*self._row(f"{number}", seen, shown, f"{self.clips.subsets[clip]}\n{uid}"))
        if self.only != "stills":
            video = f"{file}-{'compare' if self.compare else 'overlay'}.mp4"
            self._film(clip, self.folder / video, seen)
        self.outputs += [*sheets, *([video] if video else [])]
        subset, split = self.clips.subsets[clip], self.clips.splits[clip]
        return {"uid": uid, "subset": subset, "split": split, "sheets": sheets, **self._entry(seen, video)}

    def finish(self) -> None:
        """Write what is left of the sheet of all clips."""
        self._overview.flush()
        self.outputs[:0] = self._overview.files

    def _pages(self, name: str, title: str) -> SheetPages:
        last = ["semantic result" if self.cast.semantic else "sounding"]
        titles = [
            "frame",
            *(["ground truth"] if self.labelled else []),
            *(["stage-1 prior"] if self.cast.has_prior else []),
            *([panel.label for panel in self.cast.panels] if self.compare else last),
        ]
        return SheetPages(self.folder, name, titles, self.cast.names, self.cast.colours, title)

    def see(self, clip: int) -> SeenClip:
        """Read a clip and let the models see it; this may be done ahead."""
        pictures = decode_frames(self.clips, clip)
        embedding = self.audio.embedding(self.clips.uids[clip])
        if len(embedding) != len(pictures):
            raise AvsctlError(
                f"Clip {self.clips.uids[clip]} has {len(pictures)} frames but {len(embedding)} audio embeddings. "
                f"Run 'avsctl extract-audio --overwrite'."
            )
        labels = decode_labels(self.clips, clip)
        truths = [None if label is None else self.cast.truth_lookup[label] for label in labels]
        timelines = [Timeline(self.cast.names, self.cast.colours, masks=False) for _ in self.cast.panels]
        seen = SeenClip(pictures, truths, [], [[] for _ in self.cast.panels], timelines)
        for start in range(0, len(pictures), FRAMES_AT_ONCE):
            self._predict(seen, start, embedding[start : start + FRAMES_AT_ONCE].astype(np.float32))
        return seen

    def _predict(self, seen: SeenClip, start: int, embedding: np.ndarray) -> None:
        """Add what the runs say of the seconds from `start` on."""
        frames = [shrink(picture, self.cast.sizes) for picture in seen.pictures[start : start + len(embedding)]]
        prior, maps = self.cast.predict(frames, {self.audio.encoder: embedding})
        seen.priors.extend([None] * len(frames) if prior is None else list(prior))
        for panel, own, keys, timeline in zip(self.cast.panels, maps, seen.keys, seen.timelines, strict=True):
            for number, entries in enumerate(presences(own)):
                timeline.add(float(start + number), panel.shown(entries))
                keys.append(key_maps(float(start + number), own[number], entries))

    def _masks(self, seen: SeenClip, second: int, size: tuple[int, int]) -> list[np.ndarray]:
        return [panel.mask(keys[second], size) for panel, keys in zip(self.cast.panels, seen.keys, strict=True)]

    def _row(self, time: float | str, seen: SeenClip, second: int, note: str = "") -> tuple[SheetRow, list[np.ndarray]]:
        """A row of a sheet, and the masks in it."""
        picture, truth = seen.pictures[second], seen.truths[second]
        masks = self._masks(seen, second, picture.shape[1::-1])
        cells = [
            Cell(),
            *([Cell.of_mask(truth)] if self.labelled else []),
            *([Cell.of_heat(seen.priors[second])] if self.cast.has_prior else []),
            *map(Cell.of_mask, masks),
        ]
        row = second_row(time, picture, cells, self.cast.names, self.cast.colours, note=note)
        return row, [mask for mask in (truth, *masks) if mask is not None]

    def _sheet(self, clip: int, seen: SeenClip, name: str) -> list[str]:
        pages = self._pages(name, f"{self.clips.uids[clip]} ({self.clips.subsets[clip]}, {self.clips.splits[clip]})")
        for second in range(len(seen.pictures)):
            pages.add(*self._row(float(second), seen, second))
        pages.flush()
        return pages.files

    def _film(self, clip: int, path: Path, seen: SeenClip) -> None:
        size = _shown_size(*seen.pictures[0].shape[1::-1])
        labels = ["frame", *(["ground truth"] if self.labelled else []), *(p.label for p in self.cast.panels)]
        columns = Columns(labels, size) if self.compare else None
        sound = self._sound(clip, len(seen.pictures))
        with VideoWriter(path, columns.size if columns else size, 1.0, audio=sound) as writer:
            for second, picture in enumerate(seen.pictures):
                drawn = self._columns(seen, second, columns) if columns else self._over(seen, second, picture, size)
                writer.write(drawn, float(second))
            writer.close(float(len(seen.pictures)))

    def _over(self, seen: SeenClip, second: int, picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        large = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
        (mask,) = self._masks(seen, second, size)
        return draw_masks(large, mask, self.cast.names, self.cast.colours, self.alpha)

    def _columns(self, seen: SeenClip, second: int, columns: Columns) -> np.ndarray:
        picture = columns.fit(seen.pictures[second])
        truth = [seen.truths[second]] if self.labelled else []
        masks = [*truth, *self._masks(seen, second, columns.cell)]
        drawn = [
            None if mask is None else draw_masks(picture, mask, self.cast.names, self.cast.colours, self.alpha)
            for mask in masks
        ]
        return columns.draw([picture, *drawn])

    def _sound(self, clip: int, seconds: int) -> tuple[np.ndarray, int] | None:
        data = self.clips.audio_bytes(clip)
        if not data:
            self.notes.append(f"{self.clips.uids[clip]} has no wave: its video is silent")
            return None
        wave, rate = read_wave(data, self.clips.uids[clip])
        wave = wave if wave.shape[1] <= 2 else wave.mean(1, keepdims=True)
        return wave[: seconds * rate], rate

    def _entry(self, seen: SeenClip, video: str | None) -> dict[str, Any]:
        """What the runs and the labels say, for the JSON; counts where they agree."""
        truth = [None if label is None else _areas(label, self.cast.names) for label in seen.truths]
        self.labelled_seconds += sum(one is not None for one in truth)
        duration = float(len(truth))
        runs: list[dict[str, Any]] = []
        for number, (panel, timeline) in enumerate(zip(self.cast.panels, seen.timelines, strict=True)):
            frames = timeline.frames()
            for frame in frames:
                del frame["mask"]
            pairs = zip(frames, truth, strict=True)
            self.same_classes[number] += sum(t is not None and _names(f["classes"]) == _names(t) for f, t in pairs)
            runs.append({"label": panel.label, "classes": timeline.classes(duration), "frames": frames})
        if self.compare:
            return {"video": video, "truth": truth, "runs": runs}
        (run,) = runs
        for frame, one in zip(run["frames"], truth, strict=True):
            frame["truth"] = one
        return {"overlay": video, "classes": run["classes"], "frames": run["frames"]}


def has_class(clips: ClipCache, clip: int, classes: set[int]) -> bool:
    """Whether one of the clip's labels holds one of the class indices."""
    return any(label is not None and classes & set(np.unique(label).tolist()) for label in decode_labels(clips, clip))


def _names(entries: Iterable[Mapping[str, Any]]) -> set[str]:
    return {entry["name"] for entry in entries}


def _areas(truth: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """Name and share of each class in a label, the largest first; as few pixels as don't count in predictions don't."""
    found, counts = np.unique(truth, return_counts=True)
    shares = [(int(index), count / truth.size) for index, count in zip(found, counts, strict=True)]
    listed = sorted((pair for pair in shares if pair[0] and pair[1] >= MIN_AREA), key=lambda pair: -pair[1])
    return [{"name": names[index], "area": round(float(area), 4)} for index, area in listed]


def _telling_second(truths: list[np.ndarray | None]) -> int:
    """The second that stands for a clip: the one nearest its middle that has something in its label, if any."""
    middle = len(truths) // 2
    telling = [second for second, truth in enumerate(truths) if truth is not None and truth.any()]
    return min(telling, key=lambda second: abs(second - middle), default=middle)


def _shown_size(width: int, height: int) -> tuple[int, int]:
    scale = max(1.0, MIN_SIDE / max(width, height))
    return fitted_size(round(width * scale), round(height * scale), MAX_SIDE)
