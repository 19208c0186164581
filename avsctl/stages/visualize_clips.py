"""Clips of the workspace with their ground truth beside what is predicted: sheets, overlays and a JSON.

`clips.json`, keys that stay as they are; `models`, `versions`, `fingerprint`, `notes` and `outputs` as in the JSON of
a video (see `visualize_record`):

| key | meaning |
|---|---|
| format, format_version | `avsctl-visualization-clips`, 1 |
| options | split, subset, clips, seed, alpha, prior_form, precision |
| labelled_seconds, same_classes | seconds with a label, and those where prediction and label hold the same classes |
| clips | one per clip: uid, subset, split, overlay, sheets, classes and frames as for a video |

Each entry of a clip's frames has `truth` beside `classes`: name and area, or null where the second has no label.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.files import hash_of, write_json
from avsctl.caches.header import check_made_from
from avsctl.data.labels import read_label
from avsctl.errors import AvsctlError
from avsctl.progress import Track, silent
from avsctl.rendering.images import decode_rgb
from avsctl.rendering.overlay import draw_masks
from avsctl.rendering.sheet import SheetRow, second_row
from avsctl.rendering.video_writer import VideoWriter
from avsctl.stages.extract_audio import read_wave
from avsctl.stages.visualize_keys import FRAMES_AT_ONCE, MAX_SIDE, KeyMaps, fitted_size, key_maps, mask_between
from avsctl.stages.visualize_models import Checkpoint, Segmenter, choose_checkpoints, default_prior_form
from avsctl.stages.visualize_output import Drawn, describe, finished, whole_outputs
from avsctl.stages.visualize_record import MIN_AREA, Timeline, presences, versions
from avsctl.stages.visualize_sheets import SheetPages
from avsctl.workspace import Workspace

MIN_SIDE = 480
"""Smaller pictures are enlarged to this long side, so that names in them can be read."""


def visualize_clips(
    workspace: Workspace,
    split: str,
    *,
    count: int = 8,
    subset: str = "all",
    seed: int = 0,
    avs: str | None = None,
    avss: str | None = None,
    prior_form: str | None = None,
    out: Path | None = None,
    alpha: float = 0.5,
    device: str = "auto",
    precision: str = "fp32",
    overwrite: bool = False,
    track: Track = silent,
) -> Drawn:
    """Draw clips of the workspace: frame, ground truth, stage-1 prior and prediction of each second.

    Writes the folder `clips-<split>` (or `clips-<split>-<subset>`) into `out`, whole or not at all: for each clip
    `<uid>-sheet.png` and `<uid>-overlay.mp4` (each frame for its second, with the clip's sound), `summary.png` with a
    row per clip, and `clips.json`.

    Args:
        split, subset: of the clips; `all` takes every one. count: how many are drawn by lot with `seed`.
        The rest is as for `visualize_video`.
    Raises: AvsctlError: If a cache is missing, a run doesn't fit it, or files are in the way.
    """
    clips, audio = ClipCache(workspace.clips), AudioCache(workspace.audio)
    check_made_from(audio.path, audio.header["inputs"], "clips", clips.fingerprint)
    indices = clips.select(split=split, subset=subset)
    chosen = np.random.default_rng(seed).choice(indices, min(count, len(indices)), replace=False)
    first, second = choose_checkpoints(workspace, avs=avs, avss=avss, subset=subset)
    second = _fitting(second, clips, named=avss is not None)
    form = prior_form or default_prior_form(second)
    options = {"split": split, "subset": subset, "clips": count, "seed": seed, "alpha": alpha, "prior_form": form}
    options["precision"] = precision
    models = {"avs": describe(first), "avss": describe(second)}
    weights = {task: model and model["sha256"] for task, model in models.items()}
    plan = {"clips": clips.fingerprint, "audio": audio.fingerprint, "weights": weights, "options": options}
    fingerprint = hash_of(json.dumps(plan, sort_keys=True))
    out = out or workspace.visualizations
    name = f"clips-{split}" if subset == "all" else f"clips-{split}-{subset}"
    record = out / name / "clips.json"
    done = finished(record, fingerprint, [out / name], overwrite)
    if done is not None:
        return _drawn(record, done, fresh=False)
    segmenter = Segmenter(first, second, clips=clips, audio=audio, prior_form=form, device=device, precision=precision)
    for model in models.values():
        if model:
            model["encoder"] = audio.encoder
    with whole_outputs(out, name, [out / name]) as hidden:
        folder = hidden / name
        folder.mkdir()
        content = _Work(clips, audio, segmenter, folder, alpha, f"{name}, seed {seed}").run(sorted(chosen), track)
        if len(chosen) < count:
            content["notes"].append(f"there are only {len(chosen)} such clips")
        content |= {"fingerprint": fingerprint, "models": models, "options": options, "versions": versions()}
        write_json(folder / record.name, content)
    return _drawn(record, content, fresh=True)


def _fitting(second: Checkpoint | None, clips: ClipCache, *, named: bool) -> Checkpoint | None:
    """Stage 2 if it knows the clips' classes; labels without classes are compared with stage 1 alone."""
    if second is None or (clips.label_kind == "binary" and not named):
        return None
    if second.run and list(second.run.record["classes"]) != clips.classes:
        raise AvsctlError(
            f"{second.name} doesn't know the classes of {clips.path}. Choose another --avss, or train one on these "
            f"clips with 'avsctl train-avss'."
        )
    return second


def _drawn(record: Path, content: dict[str, Any], *, fresh: bool) -> Drawn:
    files = [record.parent / name for name in content["outputs"]]
    same, labelled = content["same_classes"], content["labelled_seconds"]
    text = f"{len(content['clips'])} clips: exactly the labelled classes in {same} of {labelled} labelled seconds"
    return Drawn(record, content, [*files, record], text, fresh)


@dataclass
class _Work:
    """Predicts and draws clip after clip."""

    clips: ClipCache
    audio: AudioCache
    segmenter: Segmenter
    folder: Path
    alpha: float
    title: str
    outputs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def run(self, chosen: list[int], track: Track) -> dict[str, Any]:
        overview = self._pages("summary", self.title)
        entries = [self._clip(clip, number, overview) for number, clip in enumerate(track(chosen, "clips"), start=1)]
        overview.flush()
        frames = [frame for entry in entries for frame in entry["frames"] if frame["truth"] is not None]
        return {
            "format": "avsctl-visualization-clips",
            "format_version": 1,
            "labelled_seconds": len(frames),
            "same_classes": sum(_names(frame["truth"]) == _names(frame["classes"]) for frame in frames),
            "clips": entries,
            "notes": self.notes,
            "outputs": [*overview.files, *self.outputs],
        }

    def _pages(self, name: str, title: str) -> SheetPages:
        last = "prediction" if self.segmenter.second else "sounding"
        titles = ["frame", "ground truth", *(["stage-1 prior"] if self.segmenter.first else []), last]
        return SheetPages(self.folder, name, titles, self.segmenter.names, self.segmenter.colours, title)

    def _clip(self, clip: int, number: int, overview: SheetPages) -> dict[str, Any]:
        uid, names = self.clips.uids[clip], self.segmenter.names
        pictures, truths = self._pictures(clip), self._truths(clip)
        prior, keys, timeline = self._predict(clip, pictures)
        file = uid.replace("/", "_")
        pages = self._pages(f"{file}-sheet", f"{uid} ({self.clips.subsets[clip]}, {self.clips.splits[clip]})")
        size = pictures[0].shape[1::-1]
        masks = [mask_between(key, size) for key in keys]
        for second, picture in enumerate(pictures):
            row = self._row(float(second), picture, truths[second], prior[second], masks[second])
            pages.add(row, [mask for mask in (truths[second], masks[second]) if mask is not None])
        pages.flush()
        shown = _telling_second(truths)
        note = f"{self.clips.subsets[clip]}\n{uid}"
        row = self._row(f"{number}", pictures[shown], truths[shown], prior[shown], masks[shown], note)
        overview.add(row, [mask for mask in (truths[shown], masks[shown]) if mask is not None])
        self._overlay(clip, self.folder / f"{file}-overlay.mp4", pictures, keys)
        self.outputs += [*pages.files, f"{file}-overlay.mp4"]
        frames = timeline.frames()
        for frame, truth in zip(frames, truths, strict=True):
            del frame["mask"]
            frame["truth"] = None if truth is None else _areas(truth, names)
        return {
            "uid": uid, "subset": self.clips.subsets[clip], "split": self.clips.splits[clip],
            "overlay": f"{file}-overlay.mp4", "sheets": pages.files, "frames": frames,
            "classes": timeline.classes(float(len(pictures))),
        }  # fmt: skip

    def _pictures(self, clip: int) -> list[np.ndarray]:
        """The clip's frames as they are stored."""
        return [decode_rgb(data) for data in self.clips.frame_bytes(clip)]

    def _truths(self, clip: int) -> list[np.ndarray | None]:
        """(H, W) class indices of each second, None where it has no label."""
        labels = [read_label(data) if data else None for data in self.clips.label_bytes(clip)]
        if self.segmenter.second:
            return labels
        return [None if label is None else (label != 0).astype(np.uint8) for label in labels]

    def _predict(self, clip: int, pictures: list[np.ndarray]) -> tuple[list, list[KeyMaps], Timeline]:
        embedding = self.audio.embedding(self.clips.uids[clip])
        if len(embedding) != len(pictures):
            raise AvsctlError(
                f"Clip {self.clips.uids[clip]} has {len(pictures)} frames but {len(embedding)} audio embeddings. "
                f"Run 'avsctl extract-audio --overwrite'."
            )
        timeline = Timeline(self.segmenter.names, self.segmenter.colours)
        priors, keys = [], []
        for start in range(0, len(pictures), FRAMES_AT_ONCE):
            part = slice(start, start + FRAMES_AT_ONCE)
            frames = [self.segmenter.shrink(picture) for picture in pictures[part]]
            seen = self.segmenter.predict(frames, {self.audio.encoder: embedding[part].astype(np.float32)})
            priors += [None] * len(frames) if seen.prior is None else list(seen.prior)
            for number, entries in enumerate(presences(seen.maps)):
                timeline.add(float(start + number), entries)
                keys.append(key_maps(float(start + number), seen.maps[number], entries))
        return priors, keys, timeline

    def _row(self, time: float | str, picture, truth, prior, mask, note: str = "") -> SheetRow:
        columns = ("frame", "truth", *(("prior",) if self.segmenter.first else ()), "prediction")
        return second_row(
            time, picture, self.segmenter.names, self.segmenter.colours,
            prior=prior, prediction=mask, truth=truth, columns=columns, note=note,
        )  # fmt: skip

    def _overlay(self, clip: int, path: Path, pictures: list[np.ndarray], keys: list[KeyMaps]) -> None:
        size = _shown_size(*pictures[0].shape[1::-1])
        with VideoWriter(path, size, 1.0, audio=self._sound(clip, len(pictures))) as writer:
            for picture, key in zip(pictures, keys, strict=True):
                large = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
                mask = mask_between(key, size)
                large = draw_masks(large, mask, self.segmenter.names, self.segmenter.colours, self.alpha)
                writer.write(large, key.time)
            writer.close(float(len(pictures)))

    def _sound(self, clip: int, seconds: int) -> tuple[np.ndarray, int] | None:
        data = self.clips.audio_bytes(clip)
        if not data:
            self.notes.append(f"{self.clips.uids[clip]} has no wave: its overlay is silent")
            return None
        wave, rate = read_wave(data, self.clips.uids[clip])
        wave = wave if wave.shape[1] <= 2 else wave.mean(1, keepdims=True)
        return wave[: seconds * rate], rate


def _names(entries: list[Mapping[str, Any]]) -> set[str]:
    return {entry["name"] for entry in entries}


def _areas(truth: np.ndarray, names: list[str]) -> list[dict[str, Any]]:
    """Name and share of each class in a label, the largest first; as few pixels as don't count in predictions don't."""
    found, counts = np.unique(truth, return_counts=True)
    shares = [(int(index), count / truth.size) for index, count in zip(found, counts, strict=True)]
    listed = sorted((pair for pair in shares if pair[0] and pair[1] >= MIN_AREA), key=lambda pair: -pair[1])
    return [{"name": names[index], "area": round(float(area), 4)} for index, area in listed]


def _telling_second(truths: list[np.ndarray | None]) -> int:
    """The second that stands for a clip: the one nearest its middle that has something in its label, if any."""
    middle = len(truths) // 2
    order = sorted(range(len(truths)), key=lambda second: abs(second - middle))
    return next((s for s in order if truths[s] is not None and truths[s].any()), middle)


def _shown_size(width: int, height: int) -> tuple[int, int]:
    scale = max(1.0, MIN_SIDE / max(width, height))
    return fitted_size(round(width * scale), round(height * scale), MAX_SIDE)
