"""A video in, the same video with what sounds drawn over it out: overlay, sheets, masks and a JSON."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from avsctl.caches.clips import ClipCache
from avsctl.caches.files import hash_of, write_json
from avsctl.errors import AvsctlError
from avsctl.progress import Track, silent
from avsctl.rendering.images import encode_index
from avsctl.rendering.overlay import draw_masks
from avsctl.rendering.sheet import CELL_WIDTH, second_row
from avsctl.rendering.sound import read_audio
from avsctl.rendering.video import VideoInfo, open_video, read_frames
from avsctl.rendering.video_writer import VideoWriter
from avsctl.stages.visualize_keys import FRAMES_AT_ONCE, MAX_SIDE, MapSpool, fitted, fitted_size, key_maps, mask_between
from avsctl.stages.visualize_models import Segmenter, choose_checkpoints, default_prior_form
from avsctl.stages.visualize_output import Drawn, colours_hash, describe, file_hash, finished, whole_outputs
from avsctl.stages.visualize_record import Timeline, mask_name, presences, summary, versions
from avsctl.stages.visualize_sheets import SheetPages
from avsctl.stages.visualize_sound import SoundWindows
from avsctl.workspace import Workspace

log = logging.getLogger(__name__)


def visualize_video(
    workspace: Workspace,
    video: Path,
    *,
    avs: str | None = None,
    avss: str | None = None,
    prior_form: str | None = None,
    out: Path | None = None,
    fps: float = 4.0,
    audio_weights: Path | None = None,
    alpha: float = 0.5,
    device: str = "auto",
    precision: str = "fp32",
    overwrite: bool = False,
    track: Track = silent,
) -> Drawn:
    """Draw what sounds over a whole video, at its own frame rate and with its sound.

    Writes `<stem>-overlay.mp4`, `<stem>-sheet.png` (a row per second; more pages are numbered), `<stem>-masks/` and
    `<stem>.json` into `out`: all of them or none.

    Args:
        video: any file PyAV decodes.
        avs, avss: as for `choose_checkpoints`.
        prior_form: `hard` or `soft`, None for the form stage 2 was trained with.
        out: a folder; None is the workspace's.
        fps: frames a second that the model sees; masks of the frames between are interpolated.
        alpha: how much a mask's colour covers the picture, 0 to 1.
        overwrite: replace the results of other work; the very same work is not done again.
    Raises: AvsctlError: If the video, a checkpoint or the sound's encoder can't be used, or files are in the way.
    """
    info = open_video(video)
    first, second = choose_checkpoints(workspace, avs=avs, avss=avss)
    form = prior_form or default_prior_form(second)
    options = {"fps": fps, "alpha": alpha, "prior_form": form, "precision": precision, "audio_weights": None}
    if audio_weights is not None and audio_weights.is_file():
        options["audio_weights"] = file_hash(audio_weights)
    models = {"avs": describe(first), "avss": describe(second)}
    clips = ClipCache(workspace.clips) if workspace.clips.exists() else None
    weights = {task: model and model["sha256"] for task, model in models.items()}
    plan = {"video": file_hash(video), "weights": weights, "options": options, "colours": colours_hash(clips)}
    fingerprint = hash_of(json.dumps(plan, sort_keys=True))
    out, stem = out or workspace.visualizations, video.stem
    record, old = out / f"{stem}.json", outputs_of(out, stem)
    done = finished(record, fingerprint, old, overwrite)
    if done is not None:
        return drawn(record, done, fresh=False)
    segmenter = Segmenter(
        first, second, clips=clips, audio_weights=audio_weights, prior_form=form, device=device, precision=precision
    )
    for name, checkpoint in (("avs", first), ("avss", second)):
        if checkpoint:
            models[name]["encoder"] = segmenter.heard[name]
    with whole_outputs(out, stem, old) as folder:
        work = _Work(info, segmenter, folder, stem, fps, alpha, track)
        content = work.run()
        content |= {"fingerprint": fingerprint, "models": models, "options": options, "versions": versions()}
        write_json(folder / record.name, content)
    return drawn(record, content, fresh=True)


def outputs_of(out: Path, stem: str) -> list[Path]:
    """What a video of this name has, or would have, in `out`."""
    pages = [path for path in out.glob("*.png") if _is_page(path.stem, f"{stem}-sheet")] if out.is_dir() else []
    return [out / f"{stem}.json", out / f"{stem}-overlay.mp4", out / f"{stem}-masks", *sorted(pages)]


def drawn(record: Path, content: dict[str, Any], *, fresh: bool) -> Drawn:
    """The result of a finished record."""
    files = [record.parent / name for name in content["outputs"]]
    return Drawn(record, content, [*files, record], summary(content["classes"]), fresh)


def _is_page(name: str, sheet: str) -> bool:
    return name == sheet or (name.startswith(f"{sheet}-") and name[len(sheet) + 1 :].isdigit())


@dataclass
class _Sight:
    """A frame that the model is to see."""

    time: float
    inputs: dict[int, np.ndarray]
    thumbnail: np.ndarray | None  # where it stands for a second on the sheet


@dataclass
class _Work:
    """Two passes over one video: first the model looks and listens, then all frames are drawn."""

    info: VideoInfo
    segmenter: Segmenter
    folder: Path
    stem: str
    fps: float
    alpha: float
    track: Track
    notes: list[str] = field(default_factory=list)

    def run(self) -> dict[str, Any]:
        info, segmenter = self.info, self.segmenter
        sound = self._read_sound()
        timeline = Timeline(segmenter.names, segmenter.colours)
        spool = MapSpool(self.folder)
        try:
            sheets = self._look(SoundWindows(*(sound or (None, 1)), info.duration), spool, timeline)
            shown, lost = self._draw(spool, sound)
        finally:
            spool.close()
        if lost:
            self.notes.append(f"{lost} of {lost + shown} frames could not be decoded")
        video = {
            "path": str(info.path), "width": info.width, "height": info.height, "duration": round(info.duration, 3),
            "fps": round(info.fps, 3), "rotation": info.rotation, "has_audio": sound is not None,
            "frames_shown": shown, "frames_lost": lost,
        }  # fmt: skip
        return {
            "format": "avsctl-visualization",
            "format_version": 1,
            "video": video,
            "classes": timeline.classes(info.duration),
            "frames": timeline.frames(),
            "notes": self.notes,
            "outputs": [f"{self.stem}-overlay.mp4", *sheets, f"{self.stem}-masks"],
        }

    def _read_sound(self) -> tuple[np.ndarray, int] | None:
        found = read_audio(self.info)
        if found is None:
            kind = "its sound can't be decoded" if self.info.has_audio else "it has no sound"
            self.notes.append(f"{kind}: the model hears silence")
            return None
        wave, rate, _ = found
        return wave, rate

    def _look(self, windows: SoundWindows, spool: MapSpool, timeline: Timeline) -> list[str]:
        """Pass 1: what the models see and hear; returns the sheets' names."""
        titles = [title for title, has in zip(*self._columns(), strict=True) if has]
        names, colours = self.segmenter.names, self.segmenter.colours
        pages = SheetPages(self.folder, f"{self.stem}-sheet", titles, names, colours, self.info.path.name)
        batch: list[_Sight] = []
        for sight in self._sights():
            batch.append(sight)
            if len(batch) == FRAMES_AT_ONCE:
                self._predict(batch, windows, spool, timeline, pages)
                batch = []
        if batch:
            self._predict(batch, windows, spool, timeline, pages)
        if not timeline.times:
            raise AvsctlError(f"{self.info.path} has no frame that can be decoded: the file is damaged; get it again")
        pages.flush()
        return pages.files

    def _columns(self) -> tuple[tuple[str, ...], tuple[bool, ...]]:
        last = "semantic result" if self.segmenter.second else "sounding"
        return ("frame", "stage-1 prior", last), (True, self.segmenter.first is not None, True)

    def _sights(self) -> Iterator[_Sight]:
        """The frames that the model sees: the first at or after each multiple of 1 / fps."""
        step, due, second, last = 1.0 / self.fps, 0.0, 0, -1.0
        frames = self.track(read_frames(self.info), "looking and listening", len(self.info.times))
        for seconds, picture in frames:
            # A late frame must not be followed at once by the next one.
            if seconds < due - 1e-6 or (last >= 0 and seconds - last < step / 2):
                continue
            last, due = seconds, (math.floor(seconds * self.fps + 1e-6) + 1) * step
            thumbnail = None
            if seconds >= second - 1e-6:
                second = math.floor(seconds + 1e-6) + 1
                thumbnail = fitted(picture, 2 * CELL_WIDTH)
            yield _Sight(seconds, self.segmenter.shrink(picture), thumbnail)

    def _predict(
        self, batch: list[_Sight], windows: SoundWindows, spool: MapSpool, timeline: Timeline, pages: SheetPages
    ) -> None:
        times = np.array([sight.time for sight in batch])
        sounds = {name: windows.embed(encoder, times) for name, encoder in self.segmenter.encoders.items()}
        seen = self.segmenter.predict([sight.inputs for sight in batch], sounds)
        for number, (sight, entries) in enumerate(zip(batch, presences(seen.maps), strict=True)):
            key = key_maps(sight.time, seen.maps[number], entries)
            spool.add(key)
            timeline.add(sight.time, entries)
            if sight.thumbnail is None:
                continue
            mask = mask_between(key, sight.thumbnail.shape[1::-1])
            has_prior = seen.prior is not None
            row = second_row(
                sight.time if sight.time % 1 > 0.05 else float(round(sight.time)),
                sight.thumbnail,
                self.segmenter.names,
                self.segmenter.colours,
                prior=seen.prior[number] if has_prior else None,
                prediction=mask,
                columns=("frame", "prior", "prediction") if has_prior else ("frame", "prediction"),
            )
            pages.add(row, [mask])

    def _draw(self, spool: MapSpool, sound: tuple[np.ndarray, int] | None) -> tuple[int, int]:
        """Pass 2: draw over every frame; returns how many were shown and lost."""
        info, masks = self.info, self.folder / f"{self.stem}-masks"
        masks.mkdir()
        width, height = fitted_size(info.width, info.height, MAX_SIDE)
        if (width, height) != (info.width, info.height):
            self.notes.append(f"drawn at {width} x {height} instead of {info.width} x {info.height}")
        keys = iter(spool)
        here, after = next(keys), next(keys, None)
        saved, stream = None, read_frames(info)
        overlay = self.folder / f"{self.stem}-overlay.mp4"
        with VideoWriter(overlay, (width, height), min(max(info.fps, 1.0), 240.0), audio=sound) as writer:
            for seconds, picture in self.track(stream, "drawing", len(info.times)):
                while after is not None and seconds >= after.time:
                    here, after = after, next(keys, None)
                mask = mask_between(here, (width, height), after, seconds)
                if saved is not here:
                    (masks / mask_name(here.time)).write_bytes(encode_index(mask, self.segmenter.colours))
                    saved = here
                picture = fitted(picture, MAX_SIDE)
                picture = draw_masks(picture, mask, self.segmenter.names, self.segmenter.colours, self.alpha)
                writer.write(picture, seconds)
            writer.close(info.duration)
        return stream.shown, stream.lost
