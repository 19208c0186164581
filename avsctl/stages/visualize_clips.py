"""Clips of the workspace with their ground truth beside what is predicted: sheets, videos and a JSON.

`clips.json`, keys that stay as they are; `models`, `versions`, `fingerprint`, `notes` and `outputs` as in the JSON of
a video (see `visualize_record`):

| key | meaning |
|---|---|
| format, format_version | `avsctl-visualization-clips`, 1 |
| options | split, subset, clips, seed, classes, only, alpha, prior_form, precision |
| labelled_seconds, same_classes | seconds with a label, and those where prediction and label hold the same classes |
| clips | one per clip: uid, subset, split, overlay (or null), sheets, classes and frames as for a video |

Each entry of a clip's frames has `truth` beside `classes`: name and area, or null where the second has no label. Of a
comparison the format is `avsctl-comparison-clips`; `runs` holds the label and models of each run with its own
`same_classes`, and each clip has `video` (or null), `truth` (of each second) and `runs` (label, classes and frames of
each).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from avsctl.ahead import PREFETCH, work_ahead
from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.files import hash_of, write_json
from avsctl.caches.header import check_made_from
from avsctl.errors import AvsctlError
from avsctl.progress import Track, silent
from avsctl.stages.visualize_cast import Cast, Choice, choose
from avsctl.stages.visualize_clip import ClipPainter, has_class
from avsctl.stages.visualize_output import Drawn, finished, whole_outputs
from avsctl.stages.visualize_record import versions
from avsctl.workspace import Workspace


def visualize_clips(
    workspace: Workspace,
    split: str,
    *,
    count: int = 8,
    subset: str = "all",
    seed: int = 0,
    avs: str | None = None,
    avss: str | None = None,
    compare: Sequence[str] = (),
    classes: Sequence[str] = (),
    only: str | None = None,
    prior_form: str | None = None,
    out: Path | None = None,
    alpha: float = 0.5,
    device: str = "auto",
    precision: str = "fp32",
    compile: bool = False,
    prefetch: int = PREFETCH,
    overwrite: bool = False,
    track: Track = silent,
) -> Drawn:
    """Draw clips of the workspace: frame, ground truth, stage-1 prior and prediction of each second.

    Writes the folder `clips-<split>` (or `clips-<split>-<subset>`) into `out`, whole or not at all: for each clip
    `<uid>-sheet.png` and `<uid>-overlay.mp4` (each frame for its second, with the clip's sound), `summary.png` with a
    row per clip, and `clips.json`. Clips without a label have no column for the ground truth. A comparison writes
    `compare-<split>…` with a column for each run, its videos named `<uid>-compare.mp4`.

    Args:
        split, subset: of the clips; `all` takes every one. count: how many are drawn by lot with `seed`.
        classes: names of the classes to show; where there are labels, clips that have one of them are taken.
        compare, only, compile: as for `VideoOptions`. The rest is as for `visualize_video`.
        prefetch: clips that a thread reads and the models see ahead, while others are drawn; nothing depends on it.
    Raises: AvsctlError: If a cache is missing, a run doesn't fit it, or files are in the way.
    """
    clips, audio = ClipCache(workspace.clips), AudioCache(workspace.audio)
    check_made_from(audio.path, audio.header["inputs"], "clips", clips.fingerprint)
    chosen = _by_lot(clips, clips.select(split=split, subset=subset), count, seed, classes)
    labelled = any(clips.labelled(clip).any() for clip in chosen)
    choices = choose(workspace, avs=avs, avss=avss, compare=compare, subset=subset)
    choices = [_fitting(choice, clips, labelled, named=bool(avss or compare)) for choice in choices]
    form = prior_form if compare else choices[0].prior_form(prior_form)
    options = {
        "split": split, "subset": subset, "clips": count, "seed": seed, "classes": list(classes), "only": only,
        "alpha": alpha, "prior_form": form, "precision": precision,
    }  # fmt: skip
    models = [choice.describe() for choice in choices]
    plan = {
        "clips": clips.fingerprint, "audio": audio.fingerprint, "options": options,
        "weights": [{task: model and model["sha256"] for task, model in one.items()} for one in models],
        "labels": [choice.label for choice in choices] if compare else [],
    }  # fmt: skip
    fingerprint = hash_of(json.dumps(plan, sort_keys=True))
    out = out or workspace.visualizations
    name = "-".join(["compare" if compare else "clips", split, *([] if subset == "all" else [subset])])
    record = out / name / "clips.json"
    done = finished(record, fingerprint, [out / name], overwrite)
    if done is not None:
        return _drawn(record, done, fresh=False)
    cast = Cast(
        choices, classes=classes, clips=clips, labelled=labelled, audio=audio, prior_form=prior_form, device=device,
        precision=precision, compile=compile,
    )  # fmt: skip
    for model in (model for one in models for model in one.values() if model):
        model["encoder"] = audio.encoder
    with whole_outputs(out, name, [out / name]) as hidden:
        folder = hidden / name
        folder.mkdir()
        title = f"{name}, seed {seed}"
        painter = ClipPainter(clips, audio, cast, folder, alpha, title, only, labelled, bool(compare))
        content = _content(painter, sorted(chosen), models, prefetch, track)
        if len(chosen) < count:
            content["notes"].append(f"there are only {len(chosen)} such clips")
        content |= {"fingerprint": fingerprint, "options": options, "versions": versions()}
        write_json(folder / record.name, content)
    return _drawn(record, content, fresh=True)


def _by_lot(clips: ClipCache, indices: list[int], count: int, seed: int, classes: Sequence[str]) -> list[int]:
    lot = np.random.default_rng(seed)
    wanted = {clips.classes.index(name) for name in classes if name in clips.classes}
    if not wanted or not any(clips.labelled(clip).any() for clip in indices):
        return lot.choice(indices, min(count, len(indices)), replace=False).tolist()
    order = lot.permutation(indices).tolist()
    chosen = []
    for clip in order:
        if has_class(clips, clip, wanted):
            chosen.append(clip)
        if len(chosen) == count:
            break
    if not chosen:
        names = ", ".join(classes)
        raise AvsctlError(f"None of the {len(order)} clips is labelled with {names}. Choose other --classes.")
    return chosen


def _fitting(choice: Choice, clips: ClipCache, labelled: bool, *, named: bool) -> Choice:
    """A choice whose stage 2 knows the clips' classes; labels without classes are compared with stage 1 alone."""
    second = choice.second
    if second is None or not labelled:
        return choice
    if clips.label_kind == "binary" and not named:
        return replace(choice, second=None)
    if second.run and clips.label_kind == "semantic" and list(second.run.record["classes"]) != clips.classes:
        raise AvsctlError(
            f"{second.name} doesn't know the classes of {clips.path}. Choose another run with --avss or --compare, or "
            f"train one on these clips with 'avsctl train-avss'."
        )
    return choice


def _content(
    painter: ClipPainter, chosen: list[int], models: Sequence[Mapping[str, Any]], prefetch: int, track: Track
) -> dict[str, Any]:
    with closing(work_ahead(map(painter.see, chosen), prefetch)) as ahead:
        shown = track(zip(chosen, ahead, strict=True), "clips", total=len(chosen))
        entries = [painter.draw(clip, number, seen) for number, (clip, seen) in enumerate(shown, start=1)]
    painter.finish()
    content = {"format_version": 1, "clips": entries, "notes": painter.notes, "outputs": painter.outputs}
    if not painter.compare:
        content["labelled_seconds"], (same,) = painter.labelled_seconds, painter.same_classes
        return {"format": "avsctl-visualization-clips", "models": models[0], "same_classes": same, **content}
    runs = [
        {"label": panel.label, "models": one, "same_classes": same}
        for panel, one, same in zip(painter.cast.panels, models, painter.same_classes, strict=True)
    ]
    content |= {"labelled_seconds": painter.labelled_seconds, "runs": runs}
    return {"format": "avsctl-comparison-clips", **content}


def _drawn(record: Path, content: dict[str, Any], *, fresh: bool) -> Drawn:
    files = [record.parent / name for name in content["outputs"]]
    seconds = content["labelled_seconds"]
    what = f"exactly the labelled classes in {{}} of {seconds} labelled seconds" if seconds else "none is labelled"
    runs = content.get("runs")
    if runs and seconds:
        text = "; ".join(f"{run['label']}: {what.format(run['same_classes'])}" for run in runs)
    else:
        text = what.format(content.get("same_classes"))
    return Drawn(record, content, [*files, record], f"{len(content['clips'])} clips: {text}", fresh)
