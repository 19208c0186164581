"""Stage 1's probabilities for every frame: clips.h5, audio.h5 and stage-1 runs in, a prior cache out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.header import check_made_from
from avsctl.caches.priors import to_bytes
from avsctl.caches.shards import Shards
from avsctl.configs import LABEL_SIZE
from avsctl.data.samples import ClipSamples, loader
from avsctl.distributed import on_main, own_turns, together
from avsctl.errors import AvsctlError
from avsctl.inference import class_maps, sounding_probability
from avsctl.progress import Track, silent
from avsctl.stages.inputs import load_run
from avsctl.stages.prior_assembly import assemble, is_up_to_date, making_priors, prior_item, repair_priors
from avsctl.training.devices import choose_device
from avsctl.workspace import Run, Workspace


def route_runs(
    workspace: Workspace, *, run: str | None = None, subset: str | None = None, split: str | None = None
) -> dict[str, Run]:
    """Which stage-1 run serves the clips of each subset: its own, else one trained on all; the newest of several.

    Args:
        run: a single run, by name or folder, for all clips.
        subset, split: which clips are meant; None or `all` for every one.
    Raises: AvsctlError: If a subset has no completed run, or no clip is meant.
    """
    clips = ClipCache(workspace.clips)
    subsets = sorted({clips.subsets[clip] for clip in clips.select(split=split, subset=subset)})
    if run is not None:
        return dict.fromkeys(subsets, workspace.find_run("avs", run))
    routes, missing = {}, []
    for name in subsets:
        try:
            routes[name] = workspace.find_run("avs", subset=name)
        except AvsctlError:
            missing.append(name)
    if missing:
        raise AvsctlError(_what_is_missing(workspace, missing))
    return routes


def _what_is_missing(workspace: Workspace, missing: list[str]) -> str:
    places = workspace.root / "runs" / "avs"
    text = f"No completed stage-1 run in {places} serves the clips of {', '.join(missing)}. "
    for run in workspace.runs("avs"):
        if not run.complete and run.options["subset"] in (*missing, "all"):
            return f"{text}{run.name} is unfinished: continue it with '{run.resume_command}'."
    return f"{text}Run 'avsctl train-avs --subset {missing[0] if len(missing) == 1 else 'all'}' first, or give --run."


def predict_priors(
    workspace: Workspace,
    routes: Mapping[str, Run],
    *,
    out: Path | None = None,
    subset: str | None = None,
    split: str | None = None,
    size: int = LABEL_SIZE,
    binary_labels: str = "bilinear",
    device: str = "auto",
    precision: str = "fp32",
    workers: int = 0,
    overwrite: bool = False,
    repair: bool = False,
    track: Track = silent,
) -> Path:
    """Write p = l1 / (l0 + l1) of stage 1's two class maps for every frame, labelled or not.

    Inside `distributed.joined()`, the processes share the clips, and the main one makes the cache of what they found.

    Args:
        routes: the run for the clips of each subset, from `route_runs`.
        out: the cache; None is the workspace's `predicted`.
        subset, split: which clips; None or `all` for every one.
        size: side of the maps. binary_labels: the rule by which labels get that size for the recorded accuracy.
        repair: check every clip of `out` and predict only those again whose maps are not what was written.
        workers: processes that read clips. A rerun goes on where the last one stopped.
    Returns: the cache's path.
    Raises: AvsctlError: If a run or a cache doesn't fit, or `out` holds something else.
    """
    clips, audio = ClipCache(workspace.clips), AudioCache(workspace.audio)
    check_made_from(audio.path, audio.header["inputs"], "clips", clips.fingerprint)
    target, out = choose_device(device), out or workspace.prior("predicted")
    # The clips of one run lie together, so that each model is needed once.
    served = sorted({run.folder: run for run in routes.values()}.values(), key=lambda run: run.name)
    order = [
        clip
        for run in served
        for clip in clips.select(split=split, subset=subset)
        if routes[clips.subsets[clip]].folder == run.folder
    ]
    fingerprints = {run.folder: file_hash(run.weights) for run in served}
    plan = {
        "clips": clips.fingerprint,
        "audio": audio.fingerprint,
        "runs": {name: run.name for name, run in sorted(routes.items())},
        "weights": {name: fingerprints[run.folder] for name, run in sorted(routes.items())},
        "subset": subset or "all",
        "split": split or "all",
        "size": size,
        "binary_labels": binary_labels,
        "precision": precision,
    }
    job = _Prediction(clips, audio, order, size, binary_labels, precision, workers)

    def compute(items: Sequence[int]) -> Iterator[tuple[int, dict]]:
        for run in served:
            mine = [item for item in items if routes[clips.subsets[order[item]]].folder == run.folder]
            yield from job.items(run, mine, target)

    if repair and on_main(lambda: repair_priors(out, plan, clips, order, compute, track)):
        return out
    if on_main(lambda: is_up_to_date(out, plan, overwrite or repair)):
        return out
    with making_priors(out, plan, clips, order, size) as shards:
        todo = [item for shard in own_turns(on_main(shards.missing)) for item in shards.range(shard)]
        shown = track(job.write(shards, todo, routes, served, target), "stage 1", total=len(todo))
        together(lambda: sum(1 for _ in shown))
        return on_main(lambda: assemble(out, shards, clips, order, origin="predicted", plan=plan, track=track))


@dataclass(frozen=True)
class _Prediction:
    """Predicts the clips `order`, known by their place in it: the item's number."""

    clips: ClipCache
    audio: AudioCache
    order: list[int]
    size: int
    binary_labels: str
    precision: str
    workers: int

    def write(
        self, shards: Shards, todo: list[int], routes: Mapping[str, Run], served: list[Run], device: torch.device
    ) -> Iterator[int]:
        """Write the shards of the items `todo`; yields each item when it is predicted."""
        waiting: dict[int, dict[int, dict]] = {}
        for run in served:
            mine = [item for item in todo if routes[self._subset(item)].folder == run.folder]
            for item, content in self.items(run, mine, device):
                number = item // shards.per_shard
                parts = waiting.setdefault(number, {})
                parts[item] = content
                if len(parts) == len(shards.range(number)):
                    shards.write(number, [parts[key] for key in shards.range(number)])
                    del waiting[number]
                yield item

    def _subset(self, item: int) -> str:
        return self.clips.subsets[self.order[item]]

    def items(self, run: Run, items: list[int], device: torch.device) -> Iterator[tuple[int, dict]]:
        """Predict items with a run: each with its number."""
        if not items:
            return
        model = load_run(run, self.clips, self.audio, device)
        samples = ClipSamples(
            self.clips, self.audio, self.order, task="avs", image_size=model.image_size, label_size=self.size,
            binary_labels=self.binary_labels,
        )  # fmt: skip
        # One clip in a call: whose company a clip has could change a last bit, and with it a stored byte.
        for item, batch in zip(items, loader(samples, [[item] for item in items], self.workers), strict=True):
            maps = class_maps(
                model, batch.frames, batch.audio, lengths=batch.lengths, size=self.size, precision=self.precision
            )
            if not torch.isfinite(maps).all():
                raise AvsctlError(f"{run.folder} predicts NaN for clip {batch.uids[0]}. Train it again.")
            probability = to_bytes(sounding_probability(maps).numpy())
            yield item, prior_item(probability, batch.labels.numpy(), batch.labelled.numpy())


def file_hash(path: Path) -> str:
    """The first 16 hexadecimal digits of a file's SHA-256, as a prior cache records its weights."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]
