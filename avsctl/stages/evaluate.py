"""Score runs on a split, with any prior and any change of the sound: caches and runs in, reports out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from avsctl.ahead import PREFETCH, work_ahead
from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.files import hash_of_file
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
from avsctl.training.compiling import compile_parts
from avsctl.training.devices import choose_device
from avsctl.workspace import Workspace
from avsctl_models import SegmentationModel

COMPARED = ("miou", "f_score", "miou_foreground", "miou_foreground_present", "avs_miou")
"""The scores by which priors are compared."""


def evaluate(
    workspace: Workspace,
    config: EvaluateConfig,
    *,
    batch_clips: int = 1,
    compile: bool = False,
    workers: int = 0,
    prefetch: int = PREFETCH,
    track: Track = silent,
) -> list[Report]:
    """Score what the configuration asks for, and write a report of each evaluation.

    Inside `distributed.joined()`, the processes share the clips, and the main one writes.

    Reports lie at `<reports>/<split>/<task>-<run>-<prior>-<subset>-<sound>.json`; one of the same name is replaced.

    Args:
        batch_clips: clips that the network sees together; whose company a clip has can change the last bits of maps.
        compile: let `torch.compile` make the network's parts.
        workers, prefetch: processes that read clips (0 reads in this one), and batches read ahead; nothing depends on
            them.
    Raises: AvsctlError: If a cache, run or prior is missing or doesn't fit, or nothing is there to score.
    """
    clips, audio = ClipCache(workspace.clips), AudioCache(workspace.audio)
    check_made_from(audio.path, audio.header["inputs"], "clips", clips.fingerprint)
    change, device = SoundChange.parse(config.audio), choose_device(config.device)
    check_change(audio, change, config.weights)
    jobs = plan_evaluation(workspace, config, clips)
    served = {run.weights: run for job in jobs for run, _ in job.routes}
    # All of them now: what doesn't fit is refused before anything is computed.
    models = {weights: load_run(run, clips, audio) for weights, run in served.items()}
    scored = sorted({clip for job in jobs for _, part in job.routes for clip in part})
    sound = change_sound(clips, audio, scored, change, seed=config.seed, weights=config.weights, track=track)
    folder = (config.out or workspace.reports) / config.split
    reports = []
    for job in jobs:
        sheets = [_Sheet(job.task, prior, len(clips.classes)) for prior in job.priors]
        for run, part in job.routes:
            model = compile_parts(models[run.weights].to(device), compile)
            samples = ClipSamples(
                clips, sound, part, task=job.task, image_size=model.image_size, binary_labels=config.binary_labels
            )
            batches = own_turns(groups(len(samples), batch_clips))
            reading = loader(samples, batches, workers, prefetch=prefetch, pin=device.type == "cuda")
            # The network works on the next clips while these are scored.
            predicted = work_ahead(_predict(model, reading, sheets, config.precision), 1 if prefetch else 0)
            shown = partial(track, description=f"scoring {run.name}", total=sum(map(len, batches)))
            together(partial(_score, predicted, sheets, clips, shown))
        for sheet in sheets:
            sheet.take_all()
            content = _content(job, sheet, config, change, clips, audio)
            name = _name(job, sheet, config, change)
            reports.append(on_main(partial(write_report, folder, name, content, sheet.scores)))
    return reports


@dataclass(frozen=True)
class _Clip:
    """A clip's labels, and for each prior in turn (None without one) what the model predicts.

    Args:
        predicted: (T, h, w) classes of the task avss, (T, 2, h, w) class maps of the task avs.
    """

    uid: str
    subset: str
    labels: np.ndarray
    labelled: np.ndarray
    predicted: list[tuple[Tensor | None, Tensor]]


def _score(batches: Iterable[list[_Clip]], sheets: Sequence[_Sheet], clips: ClipCache, shown: Track) -> None:
    for clip in shown(clip for batch in batches for clip in batch):
        for sheet, (prior, predicted) in zip(sheets, clip.predicted, strict=True):
            sheet.add(clip, prior, predicted, clips.position[clip.uid])


class _Sheet:
    """The scores of one prior, and of the prior itself."""

    def __init__(self, task: str, prior: NamedPrior | None, classes: int):
        self.prior = prior
        self.scores = BinaryScores() if task == "avs" else SemanticScores(classes)
        self.prior_scores = BinaryScores()

    def take_all(self) -> None:
        """Take over what other processes of the command scored."""
        self.scores, self.prior_scores = of_all_processes(self.scores), of_all_processes(self.prior_scores)

    def add(self, clip: _Clip, prior: Tensor | None, predicted: Tensor, position: int) -> None:
        """Score the labelled frames of a clip, which lies at `position` in the cache."""
        keep, labels = clip.labelled, clip.labels[clip.labelled]
        if isinstance(self.scores, SemanticScores):
            self.scores.add(clip.uid, clip.subset, predicted.numpy()[keep], labels, position=position)
        else:
            decided, sounding, theirs = _binary_predictions(predicted)
            given = {"scores": sounding[keep], "stepping_stones_scores": theirs[keep], "position": position}
            self.scores.add(clip.uid, clip.subset, decided[keep], labels, **given)
        if prior is not None:
            masks = np.stack([_at_label_size(one > 0.5) for one in prior.numpy()[keep]])
            self.prior_scores.add(clip.uid, clip.subset, masks, labels != 0, position=position)


def _binary_predictions(maps: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decided masks (T, h, w), sounding probabilities (T, h, w) and Stepping Stones' scores of a clip's frames."""
    theirs = stepping_stones_score(maps[:, 0].numpy(), maps[:, 1].numpy())
    return decide(maps).numpy(), sounding_probability(maps).numpy(), theirs


def _predict(
    model: SegmentationModel, batches: Iterable[Batch], sheets: Sequence[_Sheet], precision: str
) -> Iterator[list[_Clip]]:
    """The clips of each batch, with what the model sees in them, given each sheet's prior in turn."""
    for batch in batches:
        labels, parts = batch.labels.numpy(), batch.clips()
        priors = [_read_priors(sheet.prior, batch.uids, [labels[part] for part in parts]) for sheet in sheets]
        given: dict[str, Any] = {"lengths": batch.lengths, "precision": precision}
        seen = [
            decided_classes(model, batch.frames, batch.audio, prior, **given)
            if isinstance(sheet.scores, SemanticScores)
            else class_maps(model, batch.frames, batch.audio, **given)
            for sheet, prior in zip(sheets, priors, strict=True)
        ]
        yield [
            _Clip(
                uid,
                subset,
                labels[part],
                batch.labelled[part].numpy(),
                [(None if p is None else p[part], one[part]) for p, one in zip(priors, seen, strict=True)],
            )
            for uid, subset, part in zip(batch.uids, batch.subsets, parts, strict=True)
        ]


def _read_priors(prior: NamedPrior | None, uids: Sequence[str], labels: Sequence[np.ndarray]) -> Tensor | None:
    if prior is None:
        return None
    return torch.from_numpy(np.concatenate([prior.source.read(*clip) for clip in zip(uids, labels, strict=True)]))


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
                "weights": hash_of_file(run.weights),
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
