"""What a workspace holds and what to run next; looks at everything, changes nothing."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.files import read_json
from avsctl.caches.priors import PriorCache
from avsctl.caches.shares import find_shares, missing_shares
from avsctl.errors import AvsctlError
from avsctl.workspace import Run, Workspace

HEADLINES = {
    "avs": ("miou", "f_score"),
    "avss": ("miou", "f_score", "miou_foreground", "avs_miou"),
}
"""The scores of a report that stand for it."""


def status(workspace: Workspace) -> dict[str, Any]:
    """Look at a workspace; a damaged file is a finding, never an error.

    Returns: `workspace`, `bytes`, `clips` and `audio` (None where missing), `priors`, `runs`, `reports` (lists),
        `unfinished` (bytes of caches that are half made, by name), `shares` (of each cache that several machines make:
        which are there and which are missing) and `next`, the commands to paste. What can't be
        read has `problem`, one line that says what to do, instead of its content. Sizes are in bytes, scores
        fractions; `fits` says whether a cache was made from these clips, None where the clips can't be read.
    """
    clips = _cache(workspace.clips, _clips)
    fingerprint = clips.get("fingerprint") if clips else None
    priors = sorted((workspace.root / "priors").glob("*.h5"))
    audio = _cache(workspace.audio, lambda path: _audio(path, fingerprint))
    read = partial(_prior, clips=fingerprint)
    content: dict[str, Any] = {
        "workspace": str(workspace.root),
        "bytes": sum(_size(workspace.root / name) for name in ("runs", "priors", "reports", "visualize")),
        "clips": clips,
        "audio": audio,
        "priors": [{"name": path.stem, **_cache_there(path, read)} for path in priors],
        "runs": [_run(folder) for task in ("avs", "avss") for folder in _folders(workspace.root / "runs" / task)],
        "reports": [_report(path) for path in sorted(workspace.reports.glob("*/*.json"))],
    }
    shards = [*workspace.root.glob(".*.shards"), *workspace.root.glob("priors/.*.shards")]
    content["unfinished"] = {path.name[1 : -len(".shards")]: _size(path) for path in shards}
    content["shares"] = [found for path in (workspace.clips, workspace.audio) if (found := _shares(path))]
    content["bytes"] += sum(
        _size(path) for target in (workspace.clips, workspace.audio) for path in find_shares(target).values()
    )
    content["bytes"] += sum(entry["bytes"] for entry in (clips, audio) if entry)
    content["next"] = [_with_place(command, workspace) for command in _next(content)]
    return content


def _cache(path: Path, describe: Callable[[Path], dict[str, Any]]) -> dict[str, Any] | None:
    return _cache_there(path, describe) if path.exists() else None


def _cache_there(path: Path, describe: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    place = {"path": str(path), "bytes": _size(path)}
    try:
        return {**place, **describe(path)}
    except AvsctlError as error:
        return {**place, "problem": str(error)}
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        # HDF5 reports damage inside a file by any of these.
        reason = " ".join(str(error).split())
        return {**place, "problem": f"{path} is damaged ({reason}). Delete it and make it again."}


def _shares(target: Path) -> dict[str, Any] | None:
    """The shares of a cache that lie beside it; `of` holds two numbers where they don't belong together."""
    there = find_shares(target)
    if not there:
        return None
    of = sorted({share.of for share in there})
    missing = missing_shares(there) if len(of) == 1 else []
    return {
        "name": target.name,
        "of": of,
        "there": [str(one) for one in there],
        "missing": [str(one) for one in missing],
    }


def _clips(path: Path) -> dict[str, Any]:
    cache = ClipCache(path)
    counts = Counter(f"{subset}/{split}" for subset, split in zip(cache.subsets, cache.splits, strict=True))
    return {
        "fingerprint": cache.fingerprint,
        "clips": len(cache),
        "frames": int(cache.first_frame[-1]),
        "classes": len(cache.classes),
        "label_kind": cache.label_kind,
        "layout": cache.header["options"].get("layout"),
        "counts": dict(sorted(counts.items())),
    }


def _audio(path: Path, clips: str | None) -> dict[str, Any]:
    cache = AudioCache(path)
    fits = None if clips is None else cache.header["inputs"].get("clips") == clips
    return {"encoder": cache.encoder, "dim": cache.dim, "rows": cache.rows, "fits": fits}


def _prior(path: Path, clips: str | None) -> dict[str, Any]:
    cache = PriorCache(path)
    fits = None if clips is None else cache.header["inputs"].get("clips") == clips
    return {"origin": cache.origin, "accuracy": cache.accuracy, "fits": fits}


def _run(folder: Path) -> dict[str, Any]:
    entry = {"name": folder.name, "task": folder.parent.name, "path": str(folder), "bytes": _size(folder)}
    run = Run(folder)
    try:
        record, options = run.record, run.options
        best = record["best"]
        return {
            **entry,
            "complete": run.complete,
            "subset": options["subset"],
            "prior": options.get("prior", "none"),
            "epoch": len(record["history"]),
            "epochs": options["epochs"],
            "best": best and {"epoch": best["epoch"], "miou": best["miou"], "f_score": best["f_score"]},
            "finished_at": run.finished_at,
            "resume": None if run.complete else run.resume_command,
        }
    except AvsctlError as error:
        return {**entry, "complete": False, "problem": str(error)}
    except (KeyError, TypeError, AttributeError) as error:
        problem = f"{folder} is no run of this version (its record lacks {error}). Delete it and train again."
        return {**entry, "complete": False, "problem": problem}


def _report(path: Path) -> dict[str, Any]:
    entry = {"path": str(path), "split": path.parent.name}
    try:
        content = read_json(path)
        prior, scores = content["prior"], content["scores"]["all"]
        return {
            **entry,
            "task": content["task"],
            "subset": content["subset"],
            "runs": [run["name"] for run in content["runs"]],
            "prior": prior and prior["name"],
            "audio": content["audio"]["change"],
            "scores": {name: scores[name] for name in HEADLINES[content["task"]]},
        }
    except AvsctlError as error:
        return {**entry, "problem": str(error)}
    except (KeyError, TypeError) as error:
        return {**entry, "problem": f"{path} is no report of this version (no {error}). Run 'avsctl evaluate' again."}


def _next(content: dict[str, Any]) -> list[str]:
    """The first missing step."""
    clips, audio = content["clips"], content["audio"]
    again = " --overwrite"
    waiting = {shares["name"]: shares for shares in content["shares"]}
    if clips is None and "clips.h5" in waiting:
        return _next_share(waiting["clips.h5"], "prepare avsbench")
    if clips is not None and audio is None and "audio.h5" in waiting:
        return _next_share(waiting["audio.h5"], "extract-audio")
    if clips is None:
        return ["avsctl prepare avsbench", "avsctl prepare synthetic"]
    if "problem" in clips:
        return [f"avsctl prepare avsbench{again}", f"avsctl prepare synthetic{again}"]
    if audio is None or "problem" in audio or not audio["fits"]:
        encoder = (audio or {}).get("encoder", "logmel")
        same = "" if encoder == "logmel" else f" --encoder {encoder} --weights FILE"
        return ["avsctl extract-audio" + same + (again if audio else "")]
    if content["clips"]["label_kind"] == "none":
        run = "" if any(run["complete"] for run in content["runs"]) else " --avs RUN"
        return [f"avsctl visualize --split all{run}"]
    return _next_run(content, "avs") or _next_prior(content) or _next_run(content, "avss") or _next_result(content)


def _next_share(shares: dict[str, Any], command: str) -> list[str]:
    return [f"avsctl {command} --shard {shares['missing'][0]}"] if shares["missing"] else ["avsctl merge-caches"]


def _next_run(content: dict[str, Any], task: str) -> list[str]:
    if task == "avss" and content["clips"]["label_kind"] != "semantic":
        return []
    runs = [run for run in content["runs"] if run["task"] == task and (task == "avs" or run.get("prior") != "none")]
    if any(run["complete"] for run in runs):
        return []
    unfinished = [run["resume"] for run in runs if run.get("resume")]
    return unfinished[:1] or [f"avsctl train-{task}"]


def _next_prior(content: dict[str, Any]) -> list[str]:
    if content["clips"]["label_kind"] != "semantic":
        return []
    predicted = next((prior for prior in content["priors"] if prior["name"] == "predicted"), None)
    if predicted is not None and predicted.get("fits"):
        return []
    return ["avsctl predict-priors" + (" --overwrite" if predicted else "")]


def _next_result(content: dict[str, Any]) -> list[str]:
    scored = {run for report in content["reports"] for run in report.get("runs", ()) if report["split"] == "test"}
    if any(run["complete"] and run["name"] not in scored for run in content["runs"]):
        return ["avsctl evaluate --split test"]
    return ["avsctl visualize video.mp4"]


def _with_place(command: str, workspace: Workspace) -> str:
    if workspace.root == Path("."):
        return command
    return f"{command} --workspace {shlex.quote(str(workspace.root))}"


def _folders(parent: Path) -> list[Path]:
    return sorted(path.parent for path in parent.glob("*/config.json"))


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
