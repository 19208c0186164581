"""From what was gathered to what the page's template prints and its script reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from avsctl import __version__
from avsctl.errors import AvsctlError
from avsctl.metrics import MEANINGS
from avsctl.rendering.overlay import vivid
from avsctl.stages.report_clips import SOUNDING_COLOURS
from avsctl.stages.report_data import describe_data
from avsctl.stages.report_gather import Gathered
from avsctl.stages.report_runs import RunFacts
from avsctl.stages.report_scores import WORST_BY, Evaluation
from avsctl.stages.report_tables import (
    KINDS,
    class_table,
    confusion_table,
    curve_charts,
    percent,
    prior_chart,
    prior_tables,
    score_tables,
)

MAX_CONFUSIONS = 6
"""More runs than this have no confusion matrix each: the page would be nothing else."""


def page_view(found: Gathered) -> dict[str, Any]:
    """What the template prints: plain texts and numbers, and charts as `<svg>` elements."""
    subset = found.config.subset
    mains = [(run, found.mains[run.key]) for run in found.runs if run.key in found.mains]
    semantic = [(run, main) for run, main in mains if run.task == "avss"]
    shown = [panel.run.key for panel in found.panels]
    # What the clips show stands for the workspace.
    mains.sort(key=lambda pair: pair[0].key not in shown)
    semantic = [pair for pair in semantic if pair[0].key in shown] or semantic
    priors = prior_tables(found.runs, found.evaluations, found.runs)
    return {
        "title": found.title,
        "named": [run.key for run in found.runs] if found.config.runs else [],
        "version": __version__,
        "split": found.config.split,
        "subset": subset,
        "data_facts": describe_data(found.caches),
        "tiles": _tiles(found, mains, priors),
        "missing": found.missing,
        "problems": list(dict.fromkeys(found.problems)),
        "score_tables": score_tables(found.evaluations, subset),
        "prior_tables": [_prior_view(table) for table in priors],
        "prior_chart": prior_chart(priors) if priors else "",
        "curves": curve_charts(found.runs),
        "classes": class_table(semantic, subset),
        "confusions": _confusions(found, semantic[:MAX_CONFUSIONS], subset),
        "runs": _runs_view(found),
        "clip_count": len(found.chosen),
        "clip_of": found.of,
        "clip_why": _why(found),
    }


def _tiles(
    found: Gathered, mains: list[tuple[RunFacts, Evaluation]], priors: list[dict[str, Any]]
) -> list[dict[str, str]]:
    """The few numbers that say how far it came: of the runs that the clips show, and of stage 1."""
    shown, subset = {panel.run.key for panel in found.panels}, found.config.subset
    pairs = [pair for pair in mains if pair[0].key in shown] or mains[:1]
    if not any(run.task == "avs" for run, _ in pairs):
        pairs = [*[pair for pair in mains if pair[0].task == "avs"][:1], *pairs]
    tiles = []
    for run, main in pairs:
        scores = main.scores(subset) or {}
        note = run.name + (f", prior {main.prior}" if main.prior else "")
        label = "Stage 1 finds what sounds: mIoU" if run.task == "avs" else "Stage 2 names it: mIoU"
        tiles.append({"label": label, "value": percent(scores.get("miou")), "unit": "%", "note": note})
        if run.task == "avss":
            value = percent(scores.get("miou_foreground_present"))
            tiles.append({"label": "mIoU of the foreground classes seen", "value": value, "unit": "%", "note": note})
    for table in priors:
        gap = next((row["gap_to_oracle"] for row in table["rows"] if row["prior"] == "predicted"), None)
        if gap is not None:
            note = f"points of mIoU that the predicted prior costs {table['run'].name}"
            tiles.append({"label": "Gap to the oracle", "value": percent(gap), "unit": "", "note": note})
    return tiles


def _prior_view(table: Mapping[str, Any]) -> dict[str, Any]:
    rows = [
        {
            "prior": row["prior"] or "single stage",
            "note": "" if row["prior"] else row["run"],
            "own": percent(row["prior_miou"]),
            "values": [percent(row[name]) for name in PRIOR_SCORES],
            "gap": percent(row["gap_to_oracle"]),
        }
        for row in table["rows"]
    ]
    return {"run": table["run"].key, "clips": table["clips"], "rows": rows, "scores": PRIOR_SCORES}


PRIOR_SCORES = ("miou", "f_score", "miou_foreground_present", "avs_miou")


def _confusions(
    found: Gathered, mains: list[tuple[RunFacts, Evaluation]], subset: str
) -> list[dict[str, Any]]:
    tables = []
    for run, main in mains:
        names = [row["class"] for row in next(iter(main.content["per_class"].values()))]
        try:
            table = confusion_table(main.confusion(subset), names)
        except AvsctlError as error:
            found.problems.append(str(error))
            continue
        if table:
            tables.append({"run": run.key, "prior": main.prior, **table})
    return tables


def _runs_view(found: Gathered) -> dict[str, Any]:
    """What was trained on what: a column for each run, a row for each fact, marked where the runs differ."""
    runs, clips = found.runs, "" if found.caches.clips is None else found.caches.clips.fingerprint
    groups: list[tuple[str, list[dict[str, Any]]]] = [
        ("Training", [_facts_of(run) for run in runs]),
        ("Data it learnt from (fingerprints)", [_data_of(run, clips) for run in runs]),
        ("Options", [dict(run.options) for run in runs]),
        ("Model", [_flat(run.record.get("model")) for run in runs]),
        ("Versions", [_flat(run.record.get("versions")) for run in runs]),
    ]
    tables = []
    for title, columns in groups:
        names = list(dict.fromkeys(name for column in columns for name in column))
        values = {name: [_text(column.get(name)) for column in columns] for name in names}
        rows = [{"name": name, "values": row, "differs": len(set(row)) > 1} for name, row in values.items()]
        if rows:
            tables.append({"title": title, "rows": rows})
    histories = [{"run": run.key, **_history(run)} for run in runs if run.history]
    return {"columns": [{"task": run.task, "name": run.name} for run in runs], "tables": tables, "histories": histories}


def _facts_of(run: RunFacts) -> dict[str, Any]:
    done, of = len(run.history), run.options.get("epochs")
    state = "complete" if run.complete else "unreadable" if run.problem else f"unfinished: {done} of {of} epochs"
    parameters = run.record.get("parameters")
    return {
        "state": state,
        "best epoch": run.best.get("epoch"),
        "its validation mIoU": _share(run.best.get("miou")),
        "its validation F-score": _share(run.best.get("f_score")),
        "parameters": f"{parameters:,}" if isinstance(parameters, int) else None,
        "training time": None if run.seconds is None else _time(run.seconds),
        "weights": run.weights,
    }


def _data_of(run: RunFacts, clips: str) -> dict[str, Any]:
    data = run.record.get("data")
    data = dict(data) if isinstance(data, Mapping) else {}
    if clips and data.get("clips"):
        data["clips"] = f"{data['clips']} ({'this workspace' if data['clips'] == clips else 'other clips'})"
    return data


def _history(run: RunFacts) -> dict[str, Any]:
    names = list(dict.fromkeys(name for entry in run.history for name in entry))
    return {"names": names, "rows": [[_text(entry.get(name)) for name in names] for entry in run.history]}


def _flat(content: Any) -> dict[str, Any]:
    return dict(content) if isinstance(content, Mapping) else {}


def _share(value: Any) -> str | None:
    return f"{100 * value:.2f} %" if isinstance(value, (int, float)) else None


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(one) for one in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_text(one)}" for name, one in value.items())
    return str(value)


def _why(found: Gathered) -> str:
    """How the clips were chosen."""
    reasons = set(found.chosen.values())
    if not found.chosen:
        return ""
    if reasons == {"all"}:
        return "all of them"
    if "sample" in reasons:
        return f"up to {found.config.clips} of each subset, evenly spaced, for their scores are missing"
    run = found.panels[0].run
    return f"the worst and the best of each subset, up to {found.config.clips}, by {WORST_BY[run.task]} of {run.name}"


def clip_data(found: Gathered, facts: Mapping[int, Mapping[str, Any]], place: str | None) -> dict[str, Any]:
    """What the script reads: classes with colours, runs, scores to sort by, and the clips.

    Args:
        facts: `clip.json` of the clips that are made.
        place: folder of the media relative to the page, with a slash at its end; None where they are inside.
    """
    clips = found.caches.clips
    if clips is None:
        return {"clips": []}
    binary = clips.label_kind == "binary"
    names = ["silent", "sounding"] if binary else list(clips.classes)
    return {
        "split": found.config.split,
        "media": place,
        "classes": names,
        "colours": _hex(SOUNDING_COLOURS if binary else vivid(clips.palette)),
        "panels": [
            {
                "title": panel.run.key,
                "prior": "stage 1" if panel.run.task == "avs" else panel.prior and panel.prior.name,
                "sounding": panel.run.task == "avs",
            }
            for panel in found.panels
        ],
        "sounding": _hex(SOUNDING_COLOURS[1:])[0],
        "scores": _sortable(found),
        "clips": [
            {
                "clip": clip,
                "uid": clips.uids[clip],
                "subset": clips.subsets[clip],
                "why": why,
                "scores": _scores_of(found, clips.subsets[clip], clips.uids[clip]),
                **facts.get(clip, {}),
            }
            for clip, why in found.chosen.items()
        ],
    }


def _sortable(found: Gathered) -> list[dict[str, Any]]:
    """The scores to sort by, that which decides what is worst first."""
    entries = []
    for place, panel in enumerate(found.panels):
        scores = found.scores.get(panel.run.key, {})
        names, first = list(next(iter(scores.values()), {})), WORST_BY[panel.run.task]
        for name in sorted(names, key=lambda name, first=first: name != first):  # type: ignore[misc]
            meaning = MEANINGS[KINDS[panel.run.task]][name]
            entries.append({"id": f"{place}:{name}", "panel": place, "name": name, "meaning": meaning})
    return entries


def _scores_of(found: Gathered, subset: str, uid: str) -> dict[str, float | None]:
    scores = {}
    for place, panel in enumerate(found.panels):
        for name, value in found.scores.get(panel.run.key, {}).get((subset, uid), {}).items():
            scores[f"{place}:{name}"] = None if value is None else round(value, 4)
    return scores


def _hex(colours: Any) -> list[str]:
    return ["#" + "".join(f"{int(channel):02x}" for channel in colour) for colour in colours]
