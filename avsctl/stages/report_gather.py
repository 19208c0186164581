"""Everything a report is made of but the clips' media: read, checked, chosen; what is missing is a finding."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.errors import AvsctlError
from avsctl.stages.evaluation_plan import NamedPrior
from avsctl.stages.inputs import find_prior, load_run
from avsctl.stages.report_clips import Panel, choose_clips
from avsctl.stages.report_data import Caches, Missing, open_caches, what_is_missing
from avsctl.stages.report_runs import RunFacts, find_runs
from avsctl.stages.report_scores import WORST_BY, ClipScores, Evaluation, main_evaluation, read_evaluations
from avsctl.workspace import Workspace


@dataclass(frozen=True)
class ReportConfig:
    """What a report shows.

    Args:
        runs: names or folders of runs to show side by side; empty for the whole workspace, whose newest run of stage
            2 (or 1) then shows its clips.
        split, subset: of clips and scores.
        clips: how many of each subset, half of them the worst and half the best; None shows all.
        prior: what runs of two stages are given for the clips; None takes the first that was scored of predicted,
            oracle, high, low, empty.
        out: the page; None is `report.html` in the workspace.
        single_file: put the media into the page however large they are.
    """

    runs: tuple[str, ...] = ()
    split: str = "test"
    subset: str = "all"
    clips: int | None = 16
    prior: str | None = None
    out: Path | None = None
    single_file: bool = False
    device: str = "auto"
    precision: str = "fp32"


@dataclass
class Gathered:
    """What was found.

    Attributes:
        mains: by run, the evaluation that stands for it.
        panels: the runs whose results are shown on clips.
        chosen: clips to show and why; of: how many the split has.
        scores: by run, of the clips.
    """

    config: ReportConfig
    title: str
    caches: Caches
    runs: list[RunFacts]
    evaluations: list[Evaluation]
    mains: dict[str, Evaluation]
    missing: list[Missing]
    problems: list[str]
    panels: list[Panel] = field(default_factory=list)
    chosen: dict[int, str] = field(default_factory=dict)
    of: int = 0
    scores: dict[str, ClipScores] = field(default_factory=dict)

    def worst_first(self) -> list[int]:
        """The chosen clips in the order in which the page lists them at first."""
        clips = self.caches.clips
        if clips is None or not self.panels:
            return list(self.chosen)
        run = self.panels[0].run
        scores, by = self.scores.get(run.key, {}), WORST_BY[run.task]
        values = {clip: scores.get((clips.subsets[clip], clips.uids[clip]), {}).get(by) for clip in self.chosen}
        return sorted(self.chosen, key=lambda clip: (values[clip] is None, values[clip] or 0.0))


def gather(workspace: Workspace, config: ReportConfig) -> Gathered:
    """Read all there is; what can't be read or is missing is a finding.

    Raises: AvsctlError: If there is nothing at all, or a named run or prior is missing.
    """
    caches, runs = open_caches(workspace), find_runs(workspace, config.runs)
    evaluations, left_out = read_evaluations(
        workspace.reports / config.split,
        runs,
        None if caches.clips is None else caches.clips.fingerprint,
        subset=config.subset,
        only=bool(config.runs),
    )
    if not (workspace.clips.exists() or runs or evaluations):
        raise AvsctlError(f"Nothing to report in {workspace.root}. Run 'avsctl prepare avsbench' first.")
    mains = {run.key: main_evaluation(evaluations, run, config.prior) for run in runs}
    found = Gathered(
        config,
        workspace.root.resolve().name,
        caches,
        runs,
        evaluations,
        {key: evaluation for key, evaluation in mains.items() if evaluation is not None},
        what_is_missing(caches, runs, evaluations, config.split, chosen=bool(config.runs)),
        [*caches.problems, *(run.problem for run in runs if run.problem), *dict.fromkeys(left_out)],
    )
    if caches.clips is not None:
        if caches.audio is not None:
            found.panels = _choose_panels(workspace, found, caches.clips, caches.audio)
        _read_clip_scores(found)
        _choose_clips(found, caches.clips)
    return found


def _choose_panels(workspace: Workspace, found: Gathered, clips: ClipCache, audio: AudioCache) -> list[Panel]:
    """The runs whose results are shown; those that can't be used are named."""
    complete = [run for run in found.runs if run.complete and (run.task == "avs" or clips.label_kind == "semantic")]
    if not found.config.runs:
        # The newest of two stages comes first; stage 1 where there is no stage 2.
        complete.sort(key=lambda run: (run.task != "avss", not run.takes_prior))
    panels: list[Panel] = []
    for run in complete:
        # A prior that was asked for and is missing is an error; one that was not is a finding.
        prior = _prior(workspace, found, run, clips) if run.takes_prior and found.config.prior else None
        try:
            if run.takes_prior and prior is None:
                prior = _prior(workspace, found, run, clips)
            load_run(run.run, clips, audio)  # refuses what doesn't fit before anything is computed
        except (AvsctlError, KeyError, TypeError, AttributeError) as error:
            reason = error if isinstance(error, AvsctlError) else f"its record is damaged ({error})."
            found.problems.append(f"{run.key} is not shown on clips: {reason}")
            continue
        panels.append(Panel(run, prior))
        if not found.config.runs:
            break
    return panels


def _prior(workspace: Workspace, found: Gathered, run: RunFacts, clips: ClipCache) -> NamedPrior:
    main = found.mains.get(run.key)
    name = found.config.prior or (main and main.prior) or "predicted"
    form = run.options.get("prior_form", "hard")
    return NamedPrior(name, find_prior(workspace, name.removesuffix(f"-{form}"), form, clips))


def _read_clip_scores(found: Gathered) -> None:
    for panel in found.panels:
        main = found.mains.get(panel.run.key)
        if main is None:
            continue
        try:
            found.scores[panel.run.key] = main.clip_scores()
        except AvsctlError as error:
            found.problems.append(str(error))


def _choose_clips(found: Gathered, clips: ClipCache) -> None:
    config = found.config
    try:
        found.of = len(clips.select(split=config.split, subset=config.subset))
    except AvsctlError as error:
        found.problems.append(str(error))
        return
    if config.clips == 0:
        return
    first = found.panels[0].run if found.panels else None
    scores, by = (found.scores.get(first.key, {}), WORST_BY[first.task]) if first else ({}, "")
    found.chosen = choose_clips(clips, config.split, config.subset, config.clips, scores, by)
