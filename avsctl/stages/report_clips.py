"""The clips of a report: which ones, and their pictures, layers and sound, made once and kept until they change."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avsctl import __version__
from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.files import hash_of, read_json, write_json
from avsctl.caches.priors import PriorCache, to_bytes
from avsctl.data.labels import read_label
from avsctl.data.samples import Batch, ClipSamples
from avsctl.errors import AvsctlError
from avsctl.inference import class_maps, decide, decided_classes, sounding_probability
from avsctl.rendering.images import decode_rgb
from avsctl.rendering.overlay import vivid
from avsctl.rendering.report.layers import class_strip, frame_strip, probability_strip, shown_size, sound_file
from avsctl.stages.evaluation_plan import NamedPrior
from avsctl.stages.extract_audio import read_wave
from avsctl.stages.inputs import load_run
from avsctl.stages.report_runs import RunFacts
from avsctl.stages.report_scores import ClipScores
from avsctl.training.devices import choose_device
from avsctl_models import SegmentationModel

SOUNDING_COLOURS = np.array([[0, 0, 0], [255, 128, 0]], np.uint8)
MIN_AREA = 0.001
"""A class that covers less of a second is not named there."""
MEDIA_FORMAT = 1


@dataclass(frozen=True)
class Panel:
    """A run whose results are shown, with the prior it gets (None for stage 1 and a single-stage model)."""

    run: RunFacts
    prior: NamedPrior | None = None

    @property
    def plan(self) -> dict[str, Any]:
        """What decides its pictures."""
        prior = self.prior and [self.prior.source.fingerprint, self.prior.source.form]
        return {"task": self.run.task, "weights": self.run.weights, "prior": prior}


def choose_clips(
    clips: ClipCache, split: str, subset: str, count: int | None, scores: ClipScores, by: str
) -> dict[int, str]:
    """The clips to show, in file order, and why: `worst`, `best`, `sample` (without scores) or `all`.

    Args:
        count: of each subset, half of them worst and half best, the odd one worst; None shows all.
        scores: of the clips; those without the score `by` are never worst or best.
    Raises: AvsctlError: If the split has no such clip.
    """
    indices = clips.select(split=split, subset=subset)
    if count is None:
        return dict.fromkeys(indices, "all")
    chosen: dict[int, str] = {}
    for name in dict.fromkeys(clips.subsets[clip] for clip in indices):
        mine = [clip for clip in indices if clips.subsets[clip] == name]
        if len(mine) <= count:
            chosen |= dict.fromkeys(mine, "all")
            continue
        known = {clip: scores.get((name, clips.uids[clip]), {}).get(by) for clip in mine}
        order = sorted((clip for clip in mine if known[clip] is not None), key=lambda clip: (known[clip], clip))
        if len(order) < count:
            places = np.linspace(0, len(mine) - 1, count).round().astype(int)
            chosen |= {mine[place]: "sample" for place in places}
            continue
        best = count // 2
        chosen |= dict.fromkeys(order[: count - best], "worst") | dict.fromkeys(order[len(order) - best :], "best")
    return dict(sorted(chosen.items()))


@dataclass(frozen=True)
class Media:
    """The folder of clips made by one plan: `<home>/<plan>/<clip>/` with the files and a `clip.json` each.

    A clip's folder appears by renaming when it is whole, so that a stopped report goes on where it was.
    """

    home: Path
    plan: str

    @property
    def folder(self) -> Path:
        """Where this plan's clips lie."""
        return self.home / self.plan

    def clip(self, clip: int) -> Path:
        """A clip's folder."""
        return self.folder / f"{clip:06d}"

    def missing(self, clips: Sequence[int]) -> list[int]:
        """The clips that are not made yet."""
        return [clip for clip in clips if not (self.clip(clip) / "clip.json").is_file()]

    def facts(self, clip: int) -> dict[str, Any]:
        """What `clip.json` says."""
        return read_json(self.clip(clip) / "clip.json")

    def files(self, clip: int) -> dict[str, bytes]:
        """The contents of a clip's files, by name."""
        return {name: (self.clip(clip) / name).read_bytes() for name in sorted(self.facts(clip)["files"])}

    def write(self, clip: int, files: Mapping[str, bytes], facts: dict[str, Any]) -> None:
        """Write a clip's folder, whole or not at all."""
        hidden = self.folder / f".{clip:06d}.{os.getpid()}.part"
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir(parents=True)
        try:
            for name, data in files.items():
                (hidden / name).write_bytes(data)
            write_json(hidden / "clip.json", {**facts, "files": {name: len(data) for name, data in files.items()}})
            shutil.rmtree(self.clip(clip), ignore_errors=True)
            os.replace(hidden, self.clip(clip))
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


def media_plan(clips: ClipCache, audio: AudioCache | None, panels: Sequence[Panel], precision: str) -> str:
    """A hash of everything that decides the clips' files."""
    content = {
        "format": MEDIA_FORMAT,
        "avsctl": __version__,
        "clips": clips.fingerprint,
        "audio": audio and audio.fingerprint,
        "panels": [panel.plan for panel in panels],
        "precision": precision,
    }
    return hash_of(json.dumps(content, sort_keys=True))


def make_media(
    media: Media,
    clips: ClipCache,
    audio: AudioCache | None,
    panels: Sequence[Panel],
    missing: Sequence[int],
    *,
    device: str,
    precision: str,
) -> Iterator[int]:
    """Predict and write the missing clips one by one; yields each when it is written.

    Raises: AvsctlError: If a run doesn't fit the caches or predicts NaN, or a clip can't be decoded.
    """
    if not missing:
        return
    target = choose_device(device)
    shows = []
    if audio is not None:
        for panel in panels:
            model = load_run(panel.run.run, clips, audio, target)
            size = model.image_size
            shows.append((panel, model, ClipSamples(clips, audio, missing, task=panel.run.task, image_size=size)))
    for number, clip in enumerate(missing):
        files, facts = _clip_files(clips, clip)
        shown = (facts["width"], facts["height"])
        for place, (panel, model, samples) in enumerate(shows):
            prior, result = _predict(panel, model, samples[number], precision)
            if prior is not None:
                files[f"prior-{place}.png"] = probability_strip(prior, shown)
            colours = SOUNDING_COLOURS if panel.run.task == "avs" else vivid(clips.palette)
            files[f"result-{place}.png"] = class_strip(list(result), colours, shown)
            facts["results"].append([_areas(mask) for mask in result])
        media.write(clip, files, facts)
        yield clip


def _clip_files(clips: ClipCache, clip: int) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Frames, ground truth and sound: what needs no model."""
    try:
        pictures = [decode_rgb(data) for data in clips.frame_bytes(clip)]
        truth = [read_label(data) if data else None for data in clips.label_bytes(clip)]
    except (ValueError, OSError) as error:
        raise AvsctlError(f"Clip {clips.uids[clip]} of {clips.path} can't be decoded ({error}).") from None
    size = shown_size(*pictures[0].shape[1::-1])
    colours = SOUNDING_COLOURS if clips.label_kind == "binary" else vivid(clips.palette)
    files = {"frames.jpg": frame_strip(pictures, size)}
    if any(mask is not None for mask in truth):
        files["truth.png"] = class_strip(truth, colours, size)
    wav = clips.audio_bytes(clip)
    if wav:
        wave, rate = read_wave(wav, clips.uids[clip])
        data, ending = sound_file(wave[: rate * len(pictures)], rate)
        files[f"sound.{ending}"] = data
    facts = {
        "seconds": len(pictures),
        "width": size[0],
        "height": size[1],
        "truth": [None if mask is None else _areas(mask) for mask in truth],
        "results": [],
    }
    return files, facts


def _predict(
    panel: Panel, model: SegmentationModel, clip: Batch, precision: str
) -> tuple[np.ndarray | None, np.ndarray]:
    """The prior as bytes (T, p, p), None without one, and the decided classes (T, h, w)."""
    if panel.run.task == "avs":
        maps = class_maps(model, clip.frames, clip.audio, precision=precision)
        if not torch.isfinite(maps).all():
            raise AvsctlError(f"{panel.run.run.folder} predicts NaN for clip {clip.uids[0]}. Train it again.")
        return to_bytes(sounding_probability(maps).numpy()), decide(maps).numpy()
    if panel.prior is None:
        return None, decided_classes(model, clip.frames, clip.audio, precision=precision).numpy()
    source = panel.prior.source
    given = source.read(clip.uids[0], clip.labels.numpy())
    shown = source.kind.maps(clip.uids[0]) if isinstance(source.kind, PriorCache) else to_bytes(given)
    decided = decided_classes(model, clip.frames, clip.audio, torch.from_numpy(given), precision=precision)
    return shown, decided.numpy()


def _areas(mask: np.ndarray) -> list[list[float]]:
    """[class index, share of the picture] of each class in a second, the largest first."""
    found, counts = np.unique(mask, return_counts=True)
    shares = [(int(index), float(count) / mask.size) for index, count in zip(found, counts, strict=True)]
    named = [pair for pair in shares if 0 < pair[0] < 255 and pair[1] >= MIN_AREA]
    return [[index, round(share, 4)] for index, share in sorted(named, key=lambda pair: (-pair[1], pair[0]))]
