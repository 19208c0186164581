"""An experiment's table in the paper's form, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

PAPER = "*the paper*"


def to_markdown(content: dict[str, Any]) -> str:
    """Write what `experiment_result.collect` found, with `setting`, `command` and `failed` beside it."""
    parts = [f"# {content['title']}", _setting(content), _table(content)]
    if content.get("break_even"):
        parts.append(_break_even(content["break_even"]))
    parts += [_differences(content), _notes(content)]
    if content["failed"]:
        parts.append("Failed:\n\n" + "\n".join(f"- {name}: {problem}" for name, problem in content["failed"].items()))
    return "\n\n".join([*parts, f"```bash\n{content['command']}\n```"]) + "\n"


def _setting(content: dict[str, Any]) -> str:
    setting = content["setting"]
    seeds, clips = setting["seeds"], setting["clips"]
    models = ", ".join(f"{model['model']} ({model['preset']})" for model in setting["models"].values())
    options = "".join(
        f", {name.replace('_', ' ')} {Path(str(value)).name}" for name, value in setting["options"].items()
    )
    return (
        f"{models}{options}; {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}. "
        f"Trained on {clips['train']:,} clips, tested on {clips[setting['split']]:,} (split {setting['split']}). "
        f"The trainings took {content['training_seconds'] / 60:.0f} minutes in all."
    )


def _table(content: dict[str, Any]) -> str:
    entries = {(entry["row"], entry["column"]): entry for entry in content["entries"]}
    titles = next((list(entry["scores"]) for entry in entries.values() if entry["scores"]), ["mIoU"])
    head = f"{content['corner']} ({' / '.join(titles)}, %)"
    rows = []
    for row in content["rows"]:
        found = [entries.get((row, column)) for column in content["columns"]]
        rows.append([row, *(_ours(entry) for entry in found)])
        papers = [_paper(entry, titles) for entry in found]
        if any(papers):
            rows.append([PAPER, *(text or "–" for text in papers)])
    return _grid([head, *content["columns"]], rows)


def _ours(entry: dict[str, Any] | None) -> str:
    if entry is None or entry["scores"] is None:
        return "–"
    return " / ".join(_with_spread(one["mean"], one["std"]) for one in entry["scores"].values())


def _with_spread(mean: float, std: float | None) -> str:
    return f"{100 * mean:.2f}" + ("" if std is None else f" ± {100 * std:.2f}")


def _paper(entry: dict[str, Any] | None, titles: Sequence[str]) -> str:
    numbers = [] if entry is None else [entry["paper"][title] for title in titles]
    if all(number is None for number in numbers):
        return ""
    return " / ".join("–" if number is None else f"{number:.1f}" for number in numbers)


def _differences(content: dict[str, Any]) -> str:
    interval = content["interval"]
    share = f"{100 * interval['confidence']:.0f} %"
    titles: list[str] = []
    rows = []
    for difference in content["differences"]:
        if difference["scores"] is None:
            continue
        titles = list(difference["scores"])
        cells = [cell for one in difference["scores"].values() for cell in _points(one)]
        papers = [difference["paper"][title] for title in titles]
        known = any(number is not None for number in papers)
        paper = " / ".join("–" if number is None else f"{number:+.1f}" for number in papers) if known else "–"
        rows.append([difference_label(difference), *cells, paper])
    if not rows:
        return "No two places can be compared yet."
    head = [cell for title in titles for cell in (f"{title}, points", f"{share} interval")]
    return _grid(["difference", *head, "the paper"], rows)


def _points(one: dict[str, Any]) -> list[str]:
    points = f"{100 * one['difference']:+.2f}" + ("" if one["std"] is None else f" ± {100 * one['std']:.2f}")
    return [points, f"{100 * one['low']:+.2f} to {100 * one['high']:+.2f}"]


def difference_label(difference: dict[str, Any]) -> str:
    """What is subtracted from what: `aavs: oracle − alone`, `S4: adaptive − repeated`."""
    (row, column), (other_row, other_column) = difference["first"], difference["second"]
    if row == other_row:
        return f"{row}: {column} − {other_column}"
    return f"{column}: {row} − {other_row}"


def _break_even(found: dict[str, float | None]) -> str:
    lines = []
    for model, miou in found.items():
        if miou is None:
            lines.append(f"- {model}: stage 2 and the single stage don't cross where they were measured.")
        else:
            lines.append(f"- {model}: stage 2 breaks even with the single stage at a prior of mIoU {100 * miou:.1f}.")
    return "\n".join(lines)


def _notes(content: dict[str, Any]) -> str:
    notes = list(content["notes"])
    if len(content["setting"]["seeds"]) > 1:
        notes.append("± is the standard deviation over seeds.")
    notes.append(
        "Intervals: a paired bootstrap over the tested clips, each score computed anew on every resample; they speak "
        "of other clips, not of other trainings."
    )
    priors = _priors(content)
    if priors:
        notes.append(f"The priors' own mIoU in this test: {priors}.")
    classes = content["classes"]
    if classes and classes["occurring"] < classes["all"]:
        notes.append(
            f"The mIoU of AVSS is a mean over {classes['all']} classes, of which {classes['occurring']} occur here; "
            f"the others count 0, so that it can be at most {100 * classes['occurring'] / classes['all']:.1f}."
        )
    if any(number is not None for entry in content["entries"] for number in entry["paper"].values()):
        notes.append("The paper's numbers: on AVSBench with pretrained weights. Compare orders, not levels.")
    return "\n".join(f"- {note}" for note in notes)


def _priors(content: dict[str, Any]) -> str:
    known = {
        entry["column"] if entry["column"] != entry["row"] else entry["row"]: entry["prior_miou"]
        for entry in content["entries"]
        if entry["prior_miou"] is not None
    }
    return ", ".join(f"{name} {100 * miou:.1f}" for name, miou in known.items())


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
