"""Which runs, priors and clips an evaluation takes; everything is checked before anything is computed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avsctl.caches.clips import ClipCache
from avsctl.caches.priors import PriorCache
from avsctl.data.samples import PriorSource
from avsctl.errors import AvsctlError
from avsctl.stages.evaluation_clips import labelled_clips
from avsctl.stages.inputs import find_prior
from avsctl.workspace import TASKS, Run, Workspace

log = logging.getLogger(__name__)

ALL_PRIORS = ("oracle", "high", "low", "predicted", "empty")
"""What `--prior all` scores, from the best to none."""


@dataclass(frozen=True)
class EvaluateConfig:
    """What `evaluate` scores.

    Args:
        split: `train`, `val`, `test` or `all`; subset: one of the cache's, or `all`.
        task: `avs` or `avss`; None takes those that have a completed run (only avss where a prior is given).
        run: name or folder; None takes the newest that fits.
        prior: `predicted`, `oracle`, `low`, `high`, `empty`, `none` (the single-stage model), a cache's name or file,
            or `all`; None is `predicted` for a run that takes a prior.
        prior_form: `hard` or `soft`; None is the form the run was trained with.
        audio: a change of `avsctl.data.changed_audio`; seed: of its noise and choices.
        weights: the audio encoder's file, for changed sound.
        binary_labels: how labels of the task avs shrink, `bilinear` (released) or `nearest`.
        out: folder of the reports; None is the workspace's.
    """

    split: str = "test"
    subset: str = "all"
    task: str | None = None
    run: str | None = None
    prior: str | None = None
    prior_form: str | None = None
    audio: str = "original"
    seed: int = 0
    weights: Path | None = None
    binary_labels: str = "bilinear"
    device: str = "auto"
    precision: str = "fp32"
    out: Path | None = None


@dataclass(frozen=True)
class NamedPrior:
    """A prior under the name it has in reports: `predicted`, `predicted-soft`, `oracle`, …"""

    name: str
    source: PriorSource


@dataclass(frozen=True)
class Job:
    """Clips to score together, each by the run of its route.

    Args:
        routes: runs with the clips each of them sees; the task avss has one run.
        priors: what the run is given in turn; None for a model without a prior.
        subset: as asked for, or the subsets that are left where no run serves the others.
    """

    task: str
    routes: tuple[tuple[Run, tuple[int, ...]], ...]
    priors: tuple[NamedPrior | None, ...]
    subset: str


def plan_evaluation(workspace: Workspace, config: EvaluateConfig, clips: ClipCache) -> list[Job]:
    """Choose runs and priors, and say which.

    Raises: AvsctlError: If there is nothing to score, or a run or prior is missing or doesn't fit.
    """
    labelled = labelled_clips(clips, config.split, config.subset)
    jobs = []
    for task in _tasks(workspace, config, clips):
        jobs += [_avs_job(workspace, config, clips, labelled)] if task == "avs" else []
        jobs += _avss_jobs(workspace, config, clips, labelled) if task == "avss" else []
    for job in jobs:
        _announce(job)
    return jobs


def _tasks(workspace: Workspace, config: EvaluateConfig, clips: ClipCache) -> list[str]:
    if config.task == "avs" and config.prior is not None:
        raise AvsctlError(f"Stage 1 takes no prior: leave out --prior {config.prior}, or use --task avss.")
    if config.task is not None:
        return [config.task]
    if config.run is not None:
        return [_task_of(workspace, config.run)]
    if config.prior is not None:
        return ["avss"]
    scorable = TASKS if clips.label_kind == "semantic" else ("avs",)
    done = [task for task in scorable if any(run.complete for run in workspace.runs(task))]
    if not done:
        raise AvsctlError(f"No completed run in {workspace.root / 'runs'}. Run 'avsctl train-avs' first.")
    return done


def _task_of(workspace: Workspace, name: str) -> str:
    if Path(name).is_file():
        raise AvsctlError(f"{name} is a checkpoint without a run's record. Add --task avs or --task avss.")
    return workspace.task_of(name)


def _avs_job(workspace: Workspace, config: EvaluateConfig, clips: ClipCache, indices: list[int]) -> Job:
    if config.run is not None:
        run = workspace.find_run("avs", config.run)
        return Job("avs", ((run, tuple(indices)),), (None,), config.subset)
    routes: dict[Path, tuple[Run, list[int]]] = {}
    missing: dict[str, AvsctlError] = {}
    for subset in sorted({clips.subsets[clip] for clip in indices}):
        try:
            run = workspace.find_run("avs", subset=subset)
        except AvsctlError as error:
            missing[subset] = error
            continue
        routes.setdefault(run.folder, (run, []))[1].extend(i for i in indices if clips.subsets[i] == subset)
    if not routes:
        raise next(iter(missing.values()))
    for subset in missing:
        log.warning("subset %s is left out: no stage-1 run serves it (avsctl train-avs --subset %s)", subset, subset)
    chosen = tuple((run, tuple(sorted(part))) for run, part in routes.values())
    scored = [clip for _, part in chosen for clip in part]
    return Job("avs", chosen, (None,), _subset_label(clips, scored, indices, config.subset))


def _avss_jobs(workspace: Workspace, config: EvaluateConfig, clips: ClipCache, indices: list[int]) -> list[Job]:
    run = _newest_avss(workspace, config) if config.run is None else workspace.find_run("avss", config.run)
    scored = _serve(run, config, clips, indices) if config.run is None else indices
    label = _subset_label(clips, scored, indices, config.subset)
    job = Job("avss", ((run, tuple(scored)),), _priors(workspace, config, clips, scored, run), label)
    single = _pool(workspace, "none", config.subset) if config.prior == "all" else []
    if config.prior == "all" and not single:
        log.warning("there is no single-stage run to compare with (avsctl train-avss --prior none)")
    return [job, *(Job("avss", ((other, tuple(scored)),), (None,), label) for other in single[:1])]


def takes_prior(run: Run) -> bool:
    """Whether a run of the task avss is of two stages."""
    return run.options.get("prior", "none") != "none"


def _pool(workspace: Workspace, prior: str | None, subset: str) -> list[Run]:
    """Completed runs that a prior fits, those that serve the subset first, the newest of these first."""
    runs = [run for run in workspace.runs("avss") if run.complete]
    two_stage = [run for run in runs if takes_prior(run)]
    single = [run for run in runs if not takes_prior(run)]
    pool = {"none": single, None: two_stage or single}.get(prior, two_stage)
    rank = {subset: 0, "all": 1}
    return sorted(pool, key=lambda run: rank.get(run.options["subset"], 2))


def _newest_avss(workspace: Workspace, config: EvaluateConfig) -> Run:
    pool = _pool(workspace, config.prior, config.subset)
    if pool:
        return pool[0]
    kind, command = {"none": ("single-stage", " --prior none"), None: ("avss", "")}.get(config.prior, ("two-stage", ""))
    place = workspace.root / "runs" / "avss"
    raise AvsctlError(f"No completed {kind} run in {place}. Run 'avsctl train-avss{command}' first.")


def _serve(run: Run, config: EvaluateConfig, clips: ClipCache, indices: list[int]) -> list[int]:
    """The clips of the subset that a run was trained on."""
    subset = run.options["subset"]
    if subset in ("all", config.subset):
        return indices
    served = [clip for clip in indices if clips.subsets[clip] == subset]
    if not served:
        raise AvsctlError(
            f"No completed avss run serves subset {config.subset}, split {config.split}. "
            f"Run 'avsctl train-avss --subset {config.subset}' first, or choose a run with --run."
        )
    log.warning("only clips of subset %s are scored, on which %s was trained; --run scores it on all", subset, run.name)
    return served


def _priors(
    workspace: Workspace, config: EvaluateConfig, clips: ClipCache, indices: Sequence[int], run: Run
) -> tuple[NamedPrior | None, ...]:
    if not takes_prior(run):
        if config.prior not in (None, "none"):
            raise AvsctlError(f"{run.folder} is a single-stage run, which takes no prior. Leave out --prior.")
        return (None,)
    if config.prior == "none":
        raise AvsctlError(f"{run.folder} takes a prior. Use --prior empty for one in which nothing sounds.")
    form = config.prior_form or run.options.get("prior_form", "hard")
    if config.prior != "all":
        return (_named_prior(workspace, config.prior or "predicted", form, clips, indices),)
    found = []
    for name in ALL_PRIORS:
        try:
            found.append(_named_prior(workspace, name, form, clips, indices))
        except AvsctlError as error:
            log.warning("prior %s is left out: %s", name, error)
    return tuple(found)


def _named_prior(workspace: Workspace, name: str, form: str, clips: ClipCache, indices: Sequence[int]) -> NamedPrior:
    source = find_prior(workspace, name, form, clips)
    if not isinstance(source.kind, PriorCache):
        return NamedPrior(name, source)
    lacking = [clips.uids[clip] for clip in indices if clips.uids[clip] not in source.kind]
    if lacking:
        raise AvsctlError(
            f"{source.kind.path} has no prior for {len(lacking)} of the {len(indices)} clips, {lacking[0]} among them. "
            f"Run 'avsctl predict-priors --overwrite' for all splits."
        )
    if name.endswith(".h5"):
        name = f"{Path(name).stem}-{source.fingerprint[:8]}"
    return NamedPrior(name if form == "hard" else f"{name}-{form}", source)


def _subset_label(clips: ClipCache, scored: Sequence[int], wanted: Sequence[int], asked: str) -> str:
    if len(scored) == len(wanted):
        return asked
    return "+".join(sorted({clips.subsets[clip] for clip in scored}))


def _announce(job: Job) -> None:
    for run, indices in job.routes:
        log.info("%s run: %s (%d clips)", job.task, run.folder, len(indices))
    for prior in job.priors:
        if prior is not None and isinstance(prior.source.kind, PriorCache):
            log.info("prior %s: %s", prior.name, prior.source.kind.path)
