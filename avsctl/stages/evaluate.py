"""Score runs on a split, with any prior and any change of the sound: caches and runs in, reports out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.files import hash_of
from avsctl.caches.header import check_made_from
from avsctl.caches.priors import PriorCache
from avsctl.configs import LABEL_SIZE
from avsctl.data.changed_audio import SoundChange
from avsctl.data.samples import Batch, ClipSamples, loader
from avsctl.distributed import on_main, own_turns, together
from avsctl.inference import class_maps, decide, decided_classes, sounding_probability
from avsctl.metrics import BinaryScores, SemanticScores
from avsctl.metrics.binary import stepping_stones_score
from avsctl.progress import Track, silent
from avsctl.stages.evaluation_plan import EvaluateConfig, Job, NamedPrior, plan_evaluation
from avsctl.stages.evaluation_report import Report, per_class, report_name, write_report
from avsctl.stages.inputs import load_run
from avsctl.stages.scoring import groups, of_all_processes
from avsctl.stages.sound_changes import change_sound, check_change
from avsctl.training.devices import choose_device
from avsctl.workspace import Workspace
from avsctl_models import SegmentationModel

COMPARED = ("miou", "f_score", "miou_foreground", "miou_foreground_present", "avs_miou")
"""The scores by which priors are compared."""


def evaluate(
    workspace: Workspace,
    config: EvaluateConfig,
    *,
    clips_at_once: int = 1,
    workers: int = 0,
    track: Track = silent,
) -> list[Report]:
    """Score what the configuration asks for, and write a report of each evaluation.

    Inside `distributed.joined()`, the processes share the clips, and the main one writes.

    Reports lie at `<reports>/<split>/<task>-<run>-<prior>-<subset>-<sound>.json`; one of the same name is replaced.

    Args:
        clips_at_once: clips read together; the scores are the same to the last bit whatever it is.
        workers: processes that read clips; 0 reads in this one.
    Raises: AvsctlError: If a cache, run or prior is missing or doesn't fit, or nothing is there to score.
    """
    clips, audio = ClipCache(workspace.clips), AudioCache(workspace.audio)
    check_made_from(audio.path, audio.header["inputs"], "clips", clips.fingerprint)
    change, device = SoundChange.parse(config.audio), choose_device(config.device)
    check_change(audio, change, config.weights)
    jobs = plan_evaluation(workspace, config, clips)
    for job in jobs:
        for run, _ in job.routes:
            load_run(run, clips, audio)  # refuses what doesn't fit before anything is computed
    scored = sorted({clip for job in jobs for _, part in job.routes for clip in part})
    sound = change_sound(clips, audio, scored, change, seed=config.seed, weights=config.weights, track=track)
    folder = (config.out or workspace.reports) / config.split
    reports = []
    for job in jobs:
        sheets = [_Sheet(job.task, prior, len(clips.classes)) for prior in job.priors]
        for run, part in job.routes:
            model = load_run(run, clips, audio, device)
            samples = ClipSamples(
                clips, sound, part, task=job.task, image_size=model.image_size, binary_labels=config.binary_labels
            )
            batches = own_turns(groups(len(samples), clips_at_once))
            shown = partial(track, description=f"scoring {run.name}", total=sum(map(len, batches)))
            together(partial(_score, model, loader(samples, batches, workers), sheets, clips, config.precision, shown))
        for sheet in sheets:
            sheet.take_all()
            content = _content(job, sheet, config, change, clips, audio)
            name = _name(job, sheet, config, change)
            reports.append(on_main(partial(write_report, folder, name, content, sheet.scores)))
    return reports


def _score(
    model: SegmentationModel,
    batches: Iterable[Batch],
    sheets: Sequence[_Sheet],
    clips: ClipCache,
    precision: str,
    shown: Track,
) -> None:
    for clip in shown(_single_clips(batches)):
        _score_clip(model, clip, sheets, clips.position[clip.uids[0]], precision)


class _Sheet:
    """The scores of one prior, and of the prior itself."""

    def __init__(self, task: str, prior: NamedPrior | None, classes: int):
        self.prior = prior
        self.scores = BinaryScores() if task == "avs" else SemanticScores(classes)
        self.prior_scores = BinaryScores()

    def take_all(self) -> None:
        """Take over what other processes of the command scored."""
        self.scores, self.prior_scores = of_all_processes(self.scores), of_all_processes(self.prior_scores)


def _single_clips(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The clips of batches one by one: the network never sees two together, whose company could change a last bit."""
    for batch in batches:
        start = 0
        for uid, subset, length in zip(batch.uids, batch.subsets, batch.lengths, strict=True):
            part = slice(start, start + length)
            start += length
            tensors = (batch.frames[part], batch.audio[part], batch.labels[part], batch.labelled[part])
            yield Batch([uid], [subset], [length], *tensors, prior=None)


def _score_clip(model: SegmentationModel, clip: Batch, sheets: Sequence[_Sheet], position: int, precision: str) -> None:
    keep = clip.labelled.numpy()
    uid, subset, labels = clip.uids[0], clip.subsets[0], clip.labels.numpy()
    for sheet in sheets:
        prior = None if sheet.prior is None else sheet.prior.source.read(uid, labels)
        if isinstance(sheet.scores, SemanticScores):
            decided = _decide_classes(model, clip, prior, precision)
            sheet.scores.add(uid, subset, decided[keep], labels[keep], position=position)
        else:
            decided, sounding, theirs = _predict_sounding(model, clip, precision)
            given = {"scores": sounding[keep], "stepping_stones_scores": theirs[keep], "position": position}
            sheet.scores.add(uid, subset, decided[keep], labels[keep], **given)
        if prior is not None:
            masks = np.stack([_at_label_size(one > 0.5) for one in prior[keep]])
            sheet.prior_scores.add(uid, subset, masks, labels[keep] != 0, position=position)


def _predict_sounding(
    model: SegmentationModel, clip: Batch, precision: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decided masks (T, h, w), sounding probabilities (T, h, w) and Stepping Stones' scores of a clip's frames."""
    maps = class_maps(model, clip.frames, clip.audio, precision=precision)
    theirs = stepping_stones_score(maps[:, 0].numpy(), maps[:, 1].numpy())
    return decide(maps).numpy(), sounding_probability(maps).numpy(), theirs


def _decide_classes(model: SegmentationModel, clip: Batch, prior: np.ndarray | None, precision: str) -> np.ndarray:
    """The class of every pixel of a clip's frames, (T, h, w) uint8."""
    given = None if prior is None else torch.from_numpy(prior)
    return decided_classes(model, clip.frames, clip.audio, given, precision=precision).numpy()


def _at_label_size(mask: np.ndarray) -> np.ndarray:
    if mask.shape == (LABEL_SIZE, LABEL_SIZE):
        return mask
    return np.asarray(Image.fromarray(mask).resize((LABEL_SIZE, LABEL_SIZE), Image.Resampling.NEAREST))


def _content(
    job: Job, sheet: _Sheet, config: EvaluateConfig, change: SoundChange, clips: ClipCache, audio: AudioCache
) -> dict[str, Any]:
    result = sheet.scores.result()
    content: dict[str, Any] = {
        "task": job.task,
        "split": config.split,
        "subset": job.subset,
        "runs": [
            {
                "name": run.name,
                "folder": str(run.folder),
                "weights": hash_of(run.weights.read_bytes()),
                "subsets": sorted({clips.subsets[clip] for clip in part}),
            }
            for run, part in job.routes
        ],
        "prior": None if sheet.prior is None else _prior_content(sheet, sheet.prior),
        "audio": {
            "change": change.name,
            "seed": config.seed if change.random else None,
            "encoder": audio.encoder,
            "path": str(audio.path),
            "fingerprint": audio.fingerprint,
        },
        "clips": {"path": str(clips.path), "fingerprint": clips.fingerprint, "classes": len(clips.classes)},
        "label_size": LABEL_SIZE,
        "precision": config.precision,
        "scores": result,
    }
    if isinstance(sheet.scores, SemanticScores):
        content["per_class"] = per_class(sheet.scores, list(result["subsets"]), clips.classes)
    else:
        content["binary_labels"] = config.binary_labels
    return content


def _prior_content(sheet: _Sheet, prior: NamedPrior) -> dict[str, Any]:
    source = prior.source
    own = sheet.prior_scores.result()
    return {
        "name": prior.name,
        "form": source.form if isinstance(source.kind, PriorCache) else "hard",
        "path": str(source.kind.path) if isinstance(source.kind, PriorCache) else None,
        "fingerprint": source.fingerprint,
        "audio": "original",
        "miou": {"all": own["all"]["miou"], "subsets": {name: one["miou"] for name, one in own["subsets"].items()}},
    }


def _name(job: Job, sheet: _Sheet, config: EvaluateConfig, change: SoundChange) -> str:
    return report_name(
        job.task,
        [run.name for run, _ in job.routes],
        None if sheet.prior is None else sheet.prior.name,
        job.subset,
        change.name.replace(":", "") + (f"-s{config.seed}" if change.random else ""),
        binary_labels=config.binary_labels if job.task == "avs" else EvaluateConfig.binary_labels,
        precision=config.precision,
    )


def compare_priors(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """One row per evaluation of the task avss, with what its mIoU lacks to the oracle's.

    Returns: rows with `run`, `prior` (None for a single-stage run), the scores of `COMPARED`, `prior_miou` (the
        prior's own, None without one) and `gap_to_oracle` (oracle's mIoU minus this, None where the oracle was not
        scored); all fractions.
    """
    rows = []
    for report in reports:
        content = report.content
        if content["task"] != "avss":
            continue
        prior, scores = content["prior"], content["scores"]["all"]
        rows.append(
            {
                "run": content["runs"][0]["name"],
                "prior": None if prior is None else prior["name"],
                **{name: scores[name] for name in COMPARED},
                "prior_miou": None if prior is None else prior["miou"]["all"],
            }
        )
    oracle = next((row["miou"] for row in rows if row["prior"] == "oracle"), None)
    return [{**row, "gap_to_oracle": None if oracle is None else oracle - row["miou"]} for row in rows]
