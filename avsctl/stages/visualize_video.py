"""A video in, the same video with what sounds drawn over it out: overlay, sheet, timeline, masks and a JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from avsctl.caches.clips import ClipCache
from avsctl.caches.files import hash_of, sha256_of_file, write_json
from avsctl.errors import AvsctlError
from avsctl.progress import Track, silent
from avsctl.rendering.columns import Columns
from avsctl.rendering.images import encode_index
from avsctl.rendering.sheet import Cell, second_row
from avsctl.rendering.sound import read_audio
from avsctl.rendering.timeline import Group, draw_timeline
from avsctl.rendering.video import VideoInfo, open_video, read_frames
from avsctl.stages.visualize_cast import Cast, Choice, choose, classes_hash
from avsctl.stages.visualize_films import ColumnsFilm, Film, OverlayFilm, Sound, TransparentFilm, project
from avsctl.stages.visualize_keys import MAX_SIDE, MapSpool, fitted_size
from avsctl.stages.visualize_look import Glance, look
from avsctl.stages.visualize_options import VideoOptions
from avsctl.stages.visualize_output import Drawn, finished, whole_outputs
from avsctl.stages.visualize_record import Timeline, mask_name, summary, versions
from avsctl.stages.visualize_sheets import SheetPages
from avsctl.stages.visualize_sound import SoundWindows
from avsctl.workspace import Workspace

log = logging.getLogger(__name__)


def visualize_video(
    workspace: Workspace,
    video: Path,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    track: Track = silent,
    **options: Any,
) -> Drawn:
    """Draw what sounds over a video, at its own frame rate and with its sound.

    Writes into `out`, all or nothing: `<stem>-overlay.mp4`, `<stem>-sheet.png` (a row per second; more pages are
    numbered), `<stem>-timeline.png`, `<stem>-masks/` and `<stem>.json`, see `visualize_record`. A comparison writes
    `<stem>-compare.mp4`, `<stem>-compare-sheet.png`, `<stem>-compare-timeline.png` and `<stem>-compare.json`.

    Args:
        video: any file PyAV decodes.
        out: a folder; None is the workspace's.
        overwrite: replace the results of other work; the very same work is not done again.
        options: those of `VideoOptions`.
    Raises: AvsctlError: If the video, a checkpoint or the sound's encoder can't be used, or files are in the way.
    """
    studio = Studio(workspace, VideoOptions(**options))
    return studio.draw(video, video.stem, out=out, overwrite=overwrite, track=track)


class UnusableModels(AvsctlError):
    """The models can't draw any video."""


@contextmanager
def _about_models() -> Iterator[None]:
    try:
        yield
    except AvsctlError as error:
        raise UnusableModels(str(error)) from None


class Studio:
    """Draws one video after the other with the same models, which are chosen and loaded when one needs them."""

    def __init__(self, workspace: Workspace, options: VideoOptions):
        self.workspace, self.options = workspace, options

    @cached_property
    def choices(self) -> list[Choice]:
        """Which runs draw. Raises: UnusableModels: If one is missing."""
        options = self.options
        with _about_models():
            return choose(self.workspace, avs=options.avs, avss=options.avss, compare=options.compare)

    @cached_property
    def models(self) -> list[dict[str, Any]]:
        """As the JSON names them. Raises: UnusableModels: If a file is missing."""
        with _about_models():
            return [choice.describe() for choice in self.choices]

    @cached_property
    def clips(self) -> ClipCache | None:
        """The workspace's clips, for names and colours."""
        with _about_models():
            return ClipCache(self.workspace.clips) if self.workspace.clips.exists() else None

    @cached_property
    def recorded(self) -> dict[str, Any]:
        """The options as the JSON has them."""
        options, weights = self.options, self.options.audio_weights
        recorded = options.to_json() | {"audio_weights": None}
        if not options.compare:
            recorded["prior_form"] = self.choices[0].prior_form(options.prior_form)
        if weights is not None and weights.is_file():
            recorded["audio_weights"] = sha256_of_file(weights)
        return recorded

    @cached_property
    def cast(self) -> Cast:
        """The models, loaded. Raises: UnusableModels: If they don't fit, or don't know a class."""
        options = self.options
        with _about_models():
            cast = Cast(
                self.choices, classes=options.classes, clips=self.clips, audio_weights=options.audio_weights,
                prior_form=options.prior_form, device=options.device, precision=options.precision,
                compile=options.compile,
            )  # fmt: skip
        for models, heard in zip(self.models, cast.heard(), strict=True):
            for task, encoder in heard.items():
                models[task]["encoder"] = encoder
        return cast

    def draw(
        self, video: Path, name: str, *, out: Path | None = None, overwrite: bool = False, track: Track = silent
    ) -> Drawn:
        """Draw a video under a name, see `visualize_video`."""
        info = open_video(video)
        if self.options.start >= info.duration:
            raise AvsctlError(f"{video} is {info.duration:.1f} s long: there is nothing from --start on. Choose less.")
        base = f"{name}-compare" if self.options.compare else name
        out = out or self.workspace.visualizations
        record, old = out / f"{base}.json", outputs_of(out, base)
        fingerprint = self._fingerprint(video)
        done = finished(record, fingerprint, old, overwrite)
        if done is not None:
            return drawn(record, done, fresh=False)
        cast = self.cast
        with whole_outputs(out, base, old) as folder:
            content = _Work(info, cast, self.options, folder, base, track).run()
            if self.options.compare:
                for run, models in zip(content["runs"], self.models, strict=True):
                    run["models"] = models
            else:
                content["models"] = self.models[0]
            content |= {"fingerprint": fingerprint, "options": self.recorded, "versions": versions()}
            write_json(folder / record.name, content)
        return drawn(record, content, fresh=True)

    def _fingerprint(self, video: Path) -> str:
        weights = [{task: model and model["sha256"] for task, model in models.items()} for models in self.models]
        labels = [choice.label for choice in self.choices] if self.options.compare else []
        plan = {"video": sha256_of_file(video), "weights": weights, "labels": labels, "options": self.recorded}
        return hash_of(json.dumps({**plan, "colours": classes_hash(self.clips)}, sort_keys=True))


def outputs_of(out: Path, base: str) -> list[Path]:
    """What a video of this name has, or would have, in `out`."""
    pages = [path for path in out.glob("*.png") if _is_page(path.stem, f"{base}-sheet")] if out.is_dir() else []
    endings = [".json", "-timeline.png"]
    endings += [".mp4"] if base.endswith("-compare") else ["-overlay.mp4", "-overlay.webm", "-masks"]
    return [*(out / f"{base}{ending}" for ending in endings), *sorted(pages)]


def drawn(record: Path, content: dict[str, Any], *, fresh: bool) -> Drawn:
    """The result of a finished record."""
    files = [record.parent / name for name in content["outputs"]]
    runs = content.get("runs")
    text = "; ".join(f"{run['label']}: {summary(run['classes'])}" for run in runs) if runs else None
    return Drawn(record, content, [*files, record], text or summary(content["classes"]), fresh)


def _is_page(name: str, sheet: str) -> bool:
    return name == sheet or (name.startswith(f"{sheet}-") and name[len(sheet) + 1 :].isdigit())


@dataclass
class _Work:
    """Two passes over one video: first the models look and listen, then all frames are drawn."""

    info: VideoInfo
    cast: Cast
    options: VideoOptions
    folder: Path
    base: str
    track: Track
    notes: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    @property
    def end(self) -> float:
        """Where the stretch ends, in seconds."""
        return min(self.info.duration, self.options.end or self.info.duration)

    def run(self) -> dict[str, Any]:
        info, options = self.info, self.options
        sound = self._read_sound()
        wave, rate = sound or (None, 1)
        windows = SoundWindows(wave, rate, info.duration)
        stream = read_frames(info, begin=options.start, end=options.end)
        timelines = [Timeline(self.cast.names, self.cast.colours, masks=self._has_masks) for _ in self.cast.panels]
        with ExitStack() as spooled:
            spools = [spooled.enter_context(MapSpool(self.folder)) for _ in self.cast.panels]
            ahead: dict[str, Any] = {"prefetch": options.prefetch, "track": self.track}
            with closing(look(stream, self.cast, windows, fps=options.fps, **ahead)) as glances:
                self._look(glances, spools, timelines)
            if options.video:
                films = self._films(_part(sound, options.start, self.end))
                project(stream, self.cast, spools, films, duration=stream.span, **ahead)
        if stream.lost:
            self.notes.append(f"{stream.lost} of {stream.lost + stream.shown} frames could not be decoded")
        found: list[dict[str, Any]] = [
            {"classes": timeline.classes(self.end), "frames": timeline.frames()} for timeline in timelines
        ]
        if options.stills:
            self._draw_timeline([one["classes"] for one in found], sound)
        video = {
            "path": str(info.path), "width": info.width, "height": info.height, "duration": round(info.duration, 3),
            "fps": round(info.fps, 3), "rotation": info.rotation, "has_audio": sound is not None,
            "frames_shown": stream.shown, "frames_lost": stream.lost,
            "start": round(options.start, 3), "end": round(self.end, 3),
        }  # fmt: skip
        outputs = sorted(self.outputs, key=lambda name: (not name.endswith((".mp4", ".webm")), name.endswith("-masks")))
        common = {"format_version": 1, "video": video, "notes": self.notes, "outputs": outputs}
        if not options.compare:
            return {"format": "avsctl-visualization", **common, **found[0]}
        runs = [{"label": panel.label, **one} for panel, one in zip(self.cast.panels, found, strict=True)]
        return {"format": "avsctl-comparison", **common, "runs": runs}

    @property
    def _has_masks(self) -> bool:
        return self.options.stills and not self.options.compare

    @property
    def _size(self) -> tuple[int, int]:
        return fitted_size(self.info.width, self.info.height, MAX_SIDE)

    def _read_sound(self) -> Sound:
        found = read_audio(self.info)
        if found is None:
            kind = "its sound can't be decoded" if self.info.has_audio else "it has no sound"
            self.notes.append(f"{kind}: the model hears silence")
            return None
        wave, rate, _ = found
        return wave, rate

    def _look(self, glances, spools: Sequence[MapSpool], timelines: Sequence[Timeline]) -> None:
        """Pass 1: keep what the models say, and write what stands still."""
        pages = SheetPages(
            self.folder, f"{self.base}-sheet", self._titles(), self.cast.names, self.cast.colours, self.info.path.name
        )
        masks = self.folder / f"{self.base}-masks"
        if self._has_masks:
            masks.mkdir()
        for glance in glances:
            for spool, timeline, key, entries in zip(spools, timelines, glance.keys, glance.entries, strict=True):
                spool.add(key)
                timeline.add(glance.time, entries)
            if self._has_masks:
                mask = self.cast.panels[0].mask(glance.keys[0], self._size)
                (masks / mask_name(glance.time)).write_bytes(encode_index(mask, self.cast.colours))
            if self.options.stills and glance.thumbnail is not None:
                self._add_row(pages, glance, glance.thumbnail)
        if not timelines[0].times:
            raise AvsctlError(
                f"{self.info.path} has no frame between {self.options.start:g} and {self.end:g} s that can be "
                f"decoded: choose another stretch, or get the file again if it is damaged"
            )
        pages.flush()
        self.outputs += [*pages.files, *([masks.name] if self._has_masks else [])]

    def _titles(self) -> list[str]:
        prior = ["stage-1 prior"] if self.cast.has_prior else []
        last = "semantic result" if self.cast.semantic else "sounding"
        return ["frame", *prior, *([panel.label for panel in self.cast.panels] if self.options.compare else [last])]

    def _add_row(self, pages: SheetPages, glance: Glance, frame: np.ndarray) -> None:
        masks = [
            panel.mask(key, frame.shape[1::-1]) for panel, key in zip(self.cast.panels, glance.keys, strict=True)
        ]
        cells = [Cell(), *([Cell.of_heat(glance.prior)] if self.cast.has_prior else []), *map(Cell.of_mask, masks)]
        time = glance.time if glance.time % 1 > 0.05 else float(round(glance.time))
        pages.add(second_row(time, frame, cells, self.cast.names, self.cast.colours), masks)

    def _films(self, sound: Sound) -> list[Film]:
        """The videos to draw, their files begun."""
        fps, alpha = min(max(self.info.fps, 1.0), 240.0), self.options.alpha
        if self.options.compare:
            columns = Columns(["frame", *(panel.label for panel in self.cast.panels)], self._size)
            return [ColumnsFilm(self._new(f"{self.base}.mp4"), columns, fps, alpha, sound)]
        if self._size != (self.info.width, self.info.height):
            size = "{} x {}".format(*self._size)
            self.notes.append(f"drawn at {size} instead of {self.info.width} x {self.info.height}")
        films: list[Film] = [OverlayFilm(self._new(f"{self.base}-overlay.mp4"), self._size, fps, alpha, sound)]
        if self.options.transparent:
            films.append(TransparentFilm(self._new(f"{self.base}-overlay.webm"), self._size, fps, alpha))
        return films

    def _draw_timeline(self, found: Sequence[dict[str, Any]], sound: Sound) -> None:
        labels = [panel.label if self.options.compare else "" for panel in self.cast.panels]
        groups = [Group(label, classes) for label, classes in zip(labels, found, strict=True)]
        path, span = self._new(f"{self.base}-timeline.png"), (self.options.start, self.end)
        draw_timeline(groups, span, path, sound=sound, title=self.info.path.name)

    def _new(self, name: str) -> Path:
        """The place of a file, which is named in the JSON."""
        self.outputs.append(name)
        return self.folder / name


def _part(sound: Sound, start: float, end: float) -> Sound:
    """The sound of [start, end) seconds."""
    if sound is None:
        return None
    wave, rate = sound
    part: np.ndarray = wave[round(start * rate) : round(end * rate)]
    return (part, rate) if len(part) else None
