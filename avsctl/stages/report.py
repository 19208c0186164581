"""One page on a workspace or on chosen runs: caches, runs and reports in, an HTML file (and its media) out."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avsctl import __version__
from avsctl.caches.files import hash_of
from avsctl.errors import AvsctlError
from avsctl.progress import Track, silent
from avsctl.rendering.report.page import page_assets, render_page
from avsctl.stages.evaluation_plan import NamedPrior
from avsctl.stages.inputs import find_prior, load_run
from avsctl.stages.report_clips import Media, Panel, choose_clips, make_media, media_plan
from avsctl.stages.report_data import Caches, Missing, open_caches, what_is_missing
from avsctl.stages.report_output import EMBED_BYTES, check_place, is_same, remove_media, write_page
from avsctl.stages.report_runs import RunFacts, find_runs
from avsctl.stages.report_scores import WORST_BY, ClipScores, Evaluation, main_evaluation, read_evaluations
from avsctl.stages.report_view import clip_data, page_view
from avsctl.workspace import Workspace

log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class Made:
    """A page that was written.

    Attributes:
        media: the folder beside it, None where the media are inside.
        clips, of: how many clips it shows, and how many the split has.
        fresh: False where the same page was there already.
    """

    page: Path
    media: Path | None
    clips: int
    of: int
    missing: list[Missing]
    problems: list[str]
    bytes: int
    fresh: bool


@dataclass
class Gathered:
    """Everything a page is made of but the clips' media."""

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


def report(
    workspace: Workspace, config: ReportConfig, *, overwrite: bool = False, track: Track = silent
) -> Made:
    """Write a page that shows, and lets one hear, what the runs do; what is missing it names with the command to run.

    Media go into the page where they are at most `EMBED_BYTES`, else into `<stem>-media` beside it. A stopped report
    goes on where it was; the same report is not made twice.

    Raises: AvsctlError: If there is nothing to report, a named run or prior is missing, or another file is in the way.
    """
    out = config.out or workspace.root / "report.html"
    check_place(out, overwrite)
    found = gather(workspace, config)
    clips, audio = found.caches.clips, found.caches.audio
    media = None
    if clips is not None and found.chosen:
        media = Media(out.with_name(f"{out.stem}-media"), media_plan(clips, audio, found.panels, config.precision))
    view = page_view(found)
    fingerprint = _fingerprint(found, view, media)
    if is_same(out, fingerprint, media, list(found.chosen)):
        return _made(found, out, media if media and media.folder.is_dir() else None, fresh=False)
    if media is not None:
        todo = media.missing(list(found.chosen))
        making = make_media(
            media, clips, audio, found.panels, todo, device=config.device, precision=config.precision
        )
        for _ in track(making, "clips", len(todo)):
            pass
    facts = {clip: media.facts(clip) for clip in found.chosen} if media else {}
    size = sum(sum(entry["files"].values()) for entry in facts.values())
    inside = config.single_file or size <= EMBED_BYTES
    place = None if inside or media is None else f"{media.home.name}/{media.plan}/"
    page = render_page({**view, "fingerprint": fingerprint, "media": place or ""}, clip_data(found, facts, place))
    write_page(out, page, media if inside else None, list(found.chosen))
    remove_media(out.with_name(f"{out.stem}-media"), keep=None if inside or media is None else media.plan)
    return _made(found, out, None if place is None else media, fresh=True)


def gather(workspace: Workspace, config: ReportConfig) -> Gathered:
    """Read all there is; what can't be read or is missing is a finding.

    Raises: AvsctlError: If there is nothing at all, or a named run or prior is missing.
    """
    caches, runs = open_caches(workspace), find_runs(workspace, config.runs)
    everyone = runs if not config.runs else [*runs, *find_runs(workspace, ())]
    folder = workspace.reports / config.split
    evaluations, left_out = read_evaluations(
        folder, runs, caches.clips and caches.clips.fingerprint, subset=config.subset, only=bool(config.runs)
    )
    if not (workspace.clips.exists() or everyone or evaluations):
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
    _choose_panels(workspace, found)
    _choose_clips(found)
    return found


def _choose_panels(workspace: Workspace, found: Gathered) -> None:
    """The runs whose results are shown; those that can't be used are named."""
    clips, audio = found.caches.clips, found.caches.audio
    if clips is None or audio is None:
        return
    complete = [run for run in found.runs if run.complete and (run.task == "avs" or clips.label_kind == "semantic")]
    if found.config.runs:
        wanted = [[run] for run in complete]
    else:
        # The newest that has a prior to go with comes first; stage 1 where there is no stage 2.
        order = sorted(complete, key=lambda run: (run.task != "avss", not run.takes_prior))
        wanted = [order]
    for candidates in wanted:
        for run in candidates:
            panel = _panel(workspace, found, run)
            if panel is not None:
                found.panels.append(panel)
                break


def _panel(workspace: Workspace, found: Gathered, run: RunFacts) -> Panel | None:
    if not run.takes_prior:
        return _usable(found, Panel(run))
    main = found.mains.get(run.key)
    name = found.config.prior or (main.prior if main else "predicted")
    form = run.options.get("prior_form", "hard")
    try:
        source = find_prior(workspace, name.removesuffix(f"-{form}"), form, found.caches.clips)
    except AvsctlError as error:
        if found.config.prior:
            raise
        found.problems.append(f"{run.key} is not shown on clips: {error}")
        return None
    return _usable(found, Panel(run, NamedPrior(name, source)))


def _usable(found: Gathered, panel: Panel) -> Panel | None:
    try:
        load_run(panel.run.run, found.caches.clips, found.caches.audio)
    except AvsctlError as error:
        found.problems.append(f"{panel.run.key} is not shown on clips: {error}")
        return None
    return panel


def _choose_clips(found: Gathered) -> None:
    clips, config = found.caches.clips, found.config
    if clips is None:
        return
    for panel in found.panels:
        main = found.mains.get(panel.run.key)
        if main is None:
            continue
        try:
            found.scores[panel.run.key] = main.clip_scores()
        except AvsctlError as error:
            found.problems.append(str(error))
    first = found.panels[0].run if found.panels else None
    scores = found.scores.get(first.key, {}) if first else {}
    by = WORST_BY[first.task] if first else ""
    try:
        found.of = len(clips.select(split=config.split, subset=config.subset))
    except AvsctlError as error:
        found.problems.append(str(error))
        return
    if config.clips != 0:
        found.chosen = choose_clips(clips, config.split, config.subset, config.clips, scores, by)


def _fingerprint(found: Gathered, view: dict[str, Any], media: Media | None) -> str:
    """A hash of all that the page shows and how."""
    content: dict[str, Any] = {
        "avsctl": __version__,
        "assets": page_assets(),
        "view": view,
        "data": clip_data(found, {}, None),
        "media": media and media.plan,
        "inside": found.config.single_file,
    }
    return hash_of(json.dumps(content, sort_keys=True, default=str))


def _made(found: Gathered, out: Path, media: Media | None, *, fresh: bool) -> Made:
    size = out.stat().st_size
    return Made(
        out, media and media.home, len(found.chosen), found.of, found.missing, found.problems, size, fresh
    )
