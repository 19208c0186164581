"""Stage 1's probabilities for every frame: clips.h5, audio.h5 and stage-1 runs in, a prior cache out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from avsctl.ahead import PREFETCH, work_ahead
from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.files import sha256_of_file
from avsctl.caches.header import check_made_from
from avsctl.caches.priors import to_bytes
from avsctl.caches.shards import Shards
from avsctl.configs import LABEL_SIZE
from avsctl.data.samples import Batch, ClipSamples, loader
from avsctl.distributed import on_main, own_turns, together
from avsctl.errors import AvsctlError
from avsctl.inference import class_maps, sounding_probability
from avsctl.progress import Track, silent
from avsctl.stages.inputs import load_run
from avsctl.stages.prior_assembly import assemble, is_up_to_date, making_priors, prior_item, repair_priors
from avsctl.training.compiling import compile_parts
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
    batch_clips: int = 1,
    compile: bool = False,
    workers: int = 0,
    prefetch: int = PREFETCH,
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
        batch_clips: clips that the network sees together. Always the same ones are, whatever is predicted already:
            whose company a clip has can change a last bit, and with it a stored byte.
        compile: let `torch.compile` make the network's parts, which can do so, too; and so can the device.
        workers, prefetch: processes that read clips, and batches read ahead. A rerun goes on where the last one
            stopped, and begins again where last bits can differ. A finished cache is good however it was computed.
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
    fingerprints = {run.folder: sha256_of_file(run.weights) for run in served}
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
    exactly = plan | {"device": target.type, "batch_clips": batch_clips, "compile": compile}
    job = _Prediction(
        clips, audio, order, routes, target, size, binary_labels, precision, batch_clips, compile, workers, prefetch
    )
    if repair and on_main(lambda: repair_priors(out, exactly, clips, order, job.items, track)):
        return out
    if on_main(lambda: is_up_to_date(out, plan, overwrite or repair)):
        return out
    with making_priors(out, exactly, clips, order, size) as shards:
        todo = [item for shard in own_turns(on_main(shards.missing)) for item in shards.range(shard)]
        shown = track(job.write(shards, todo), "stage 1", total=len(todo))
        together(lambda: sum(1 for _ in shown))
        return on_main(lambda: assemble(out, shards, clips, order, origin="predicted", plan=exactly, track=track))


@dataclass(frozen=True)
class _Prediction:
    """Predicts the clips `order`, known by their place in it: the item's number. Arguments as of `predict_priors`."""

    clips: ClipCache
    audio: AudioCache
    order: list[int]
    routes: Mapping[str, Run]
    device: torch.device
    size: int
    binary_labels: str
    precision: str
    batch_clips: int
    compile: bool
    workers: int
    prefetch: int

    def write(self, shards: Shards, todo: Sequence[int]) -> Iterator[int]:
        """Write the shards of the items `todo`; yields each item when it is predicted."""
        waiting: dict[int, dict[int, dict]] = {}
        for item, content in self.items(todo):
            number = item // shards.per_shard
            parts = waiting.setdefault(number, {})
            parts[item] = content
            if len(parts) == len(shards.range(number)):
                shards.write(number, [parts[key] for key in shards.range(number)])
                del waiting[number]
            yield item

    def items(self, todo: Sequence[int]) -> Iterator[tuple[int, dict]]:
        """Predict items: each with its number."""
        wanted = set(todo)
        for batches in self._batches_by_run(todo):
            run = self._run_of(batches[0][0])
            # The network works on the next clips while these are packed.
            predicted = work_ahead(self._predict(run, batches), 1 if self.prefetch else 0)
            for items, (batch, maps) in zip(batches, predicted, strict=True):
                if not torch.isfinite(maps).all():
                    raise AvsctlError(f"{run.folder} predicts NaN for {', '.join(batch.uids)}. Train it again.")
                for item, clip in zip(items, batch.clips(), strict=True):
                    if item in wanted:
                        yield item, _packed(batch, clip, maps)

    def _batches_by_run(self, todo: Sequence[int]) -> Iterator[list[list[int]]]:
        """For each run the items to predict, with those that go through the network with them."""
        wanted = set(todo)
        for _, mine in groupby(range(len(self.order)), key=lambda item: self._run_of(item).folder):
            batches = [list(batch) for _, batch in groupby(mine, key=lambda item: item // self.batch_clips)]
            needed = [batch for batch in batches if not wanted.isdisjoint(batch)]
            if needed:
                yield needed

    def _run_of(self, item: int) -> Run:
        return self.routes[self.clips.subsets[self.order[item]]]

    def _predict(self, run: Run, batches: Sequence[Sequence[int]]) -> Iterator[tuple[Batch, Tensor]]:
        """Batches of items with the run's class maps of all their frames."""
        model = compile_parts(load_run(run, self.clips, self.audio, self.device), self.compile)
        samples = ClipSamples(
            self.clips, self.audio, self.order, task="avs", image_size=model.image_size, label_size=self.size,
            binary_labels=self.binary_labels,
        )  # fmt: skip
        reading = loader(samples, batches, self.workers, prefetch=self.prefetch, pin=self.device.type == "cuda")
        for batch in reading:
            yield (
                batch,
                class_maps(
                    model, batch.frames, batch.audio, lengths=batch.lengths, size=self.size, precision=self.precision
                ),
            )


def _packed(batch: Batch, clip: slice, maps: Tensor) -> dict:
    probability = to_bytes(sounding_probability(maps[clip]).numpy())
    return prior_item(probability, batch.labels[clip].numpy(), batch.labelled[clip].numpy())
