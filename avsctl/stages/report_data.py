"""The caches of a workspace as a report describes them, and what is missing for a whole report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import SPLITS, ClipCache
from avsctl.caches.header import check_made_from
from avsctl.caches.priors import PriorCache
from avsctl.errors import AvsctlError
from avsctl.stages.report_runs import RunFacts
from avsctl.stages.report_scores import Evaluation
from avsctl.workspace import Workspace


@dataclass(frozen=True)
class Missing:
    """What a report can't show, and the command that makes it."""

    what: str
    command: str


@dataclass
class Caches:
    """What could be opened and fits together; the rest is named in `problems`."""

    clips: ClipCache | None = None
    audio: AudioCache | None = None
    priors: dict[str, PriorCache] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def open_caches(workspace: Workspace) -> Caches:
    """Open every cache of a workspace; a damaged one, or one made from other clips, is a finding and no error."""
    found = Caches()

    def tried(path: Path, read: Callable[[Path], Any], kind: str) -> Any:
        try:
            cache = read(path)
            if kind != "clips" and found.clips is not None:
                check_made_from(path, cache.header["inputs"], "clips", found.clips.fingerprint)
            return cache
        except (AvsctlError, OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
            # HDF5 reports damage inside a file by any of these.
            found.problems.append(str(error) if isinstance(error, AvsctlError) else f"{path} is damaged ({error}).")
            return None

    found.clips = tried(workspace.clips, ClipCache, "clips") if workspace.clips.exists() else None
    found.audio = tried(workspace.audio, AudioCache, "audio") if workspace.audio.exists() else None
    for path in sorted((workspace.root / "priors").glob("*.h5")):
        cache = tried(path, PriorCache, "priors")
        if cache is not None:
            found.priors[path.stem] = cache
    return found


def describe_data(caches: Caches) -> dict[str, Any]:
    """What the page says of the data: clips by subset and split, classes, sound and priors, with fingerprints."""
    clips, audio = caches.clips, caches.audio
    content: dict[str, Any] = {"clips": None, "audio": None, "priors": []}
    if clips is not None:
        counts = Counter(zip(clips.subsets, clips.splits, strict=True))
        subsets = sorted(set(clips.subsets))
        content["clips"] = {
            "fingerprint": clips.fingerprint,
            "producer": clips.header["producer"],
            "count": len(clips),
            "frames": int(clips.first_frame[-1]),
            "classes": len(clips.classes),
            "label_kind": clips.label_kind,
            "splits": SPLITS,
            "rows": [{"subset": name, "counts": [counts[name, split] for split in SPLITS]} for name in subsets],
        }
    if audio is not None:
        content["audio"] = {"fingerprint": audio.fingerprint, "encoder": audio.encoder, "dim": audio.dim}
    for name, prior in caches.priors.items():
        known = prior.accuracy if isinstance(prior.accuracy, dict) else {}
        accuracy = [(key, value) for key, value in sorted(known.items()) if isinstance(value, (int, float))]
        content["priors"].append(
            {"name": name, "origin": prior.origin, "fingerprint": prior.fingerprint, "accuracy": accuracy}
        )
    return content


def what_is_missing(
    caches: Caches, runs: Sequence[RunFacts], evaluations: Sequence[Evaluation], split: str, *, chosen: bool
) -> list[Missing]:
    """What the report lacks, in the order of the steps.

    Args: chosen: whether the user named the runs: what other runs lack is not missed then.
    """
    missing = []
    if caches.clips is None:
        missing.append(Missing("The clips: pictures, labels and sound", "avsctl prepare avsbench"))
    if caches.audio is None:
        missing.append(Missing("The sound's embeddings, which every run needs", "avsctl extract-audio"))
    missing += _missing_runs(caches, runs) if not chosen else []
    for run in runs:
        if run.record and not run.complete:
            missing.append(Missing(f"The rest of the training of {run.key}", run.run.resume_command))
    missing += _missing_scores(runs, evaluations, split)
    return missing


def _missing_runs(caches: Caches, runs: Sequence[RunFacts]) -> list[Missing]:
    missing = []
    semantic = caches.clips is None or caches.clips.label_kind == "semantic"
    if not any(run.task == "avs" for run in runs):
        missing.append(Missing("A run of stage 1", "avsctl train-avs"))
    if "predicted" not in caches.priors and semantic:
        missing.append(Missing("Stage 1's masks for every frame, the prior of stage 2", "avsctl predict-priors"))
    if semantic and not any(run.task == "avss" for run in runs):
        missing.append(Missing("A run of stage 2", "avsctl train-avss"))
    return missing


def _missing_scores(runs: Sequence[RunFacts], evaluations: Sequence[Evaluation], split: str) -> list[Missing]:
    missing = []
    for run in runs:
        if not run.complete:
            continue
        mine = [e for e in evaluations if run.key in e.runs and e.sound == "original"]
        command = f"avsctl evaluate --split {split} --task {run.task} --run {run.name}"
        if not mine:
            missing.append(Missing(f"Scores of {run.key} on the {split} split", command))
        elif run.takes_prior and "oracle" not in {e.prior for e in mine}:
            missing.append(Missing(f"The gap of {run.key} to the oracle prior", f"{command} --prior all"))
        for evaluation in mine:
            beside = [".clips.csv"] if run.task == "avs" else [".clips.csv", ".confusion.csv"]
            if not all(evaluation.path.with_suffix(ending).is_file() for ending in beside):
                given = f" --prior {evaluation.prior}" if evaluation.prior else ""
                missing.append(Missing(f"Scores of single clips of {run.key}{given}", command + given))
    return missing
