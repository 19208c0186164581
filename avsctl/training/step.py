"""One step's gradients: those of the whole batch, however it is spread over parts and processes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from operator import add

import torch
from torch import Tensor

from avsctl.configs import TrainConfig
from avsctl.data.samples import Batch
from avsctl.distributed import add_up, gather, world_size
from avsctl.inference import run_model
from avsctl.number_formats import in_format
from avsctl.training.batch_norms import RunningStatistics
from avsctl.training.devices import derive_seed
from avsctl.training.shared_frames import shared_maps
from avsctl_models import LossCounts, Output, SegmentationModel
from avsctl_models.matcher import NotFiniteError


@dataclass
class Learnt:
    """What a step found: the loss and its parts by name, of which there are none where nothing is to be learnt."""

    uids: list[str]
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Share:
    """A process's part of a batch, before anything is computed."""

    uids: list[str]
    counts: LossCounts
    silent: bool


@dataclass(frozen=True)
class _Computed:
    """What a process computed: its addends of the loss, and which of the trained parameters have a gradient."""

    values: dict[str, float]
    reached: list[bool]
    parts: int


class Gradients:
    """Computes the gradients of one step.

    Losses are divided by the counts of the whole batch, so that those of parts add up; this is done by hand and not by
    `DistributedDataParallel`, which takes the mean of processes with an equal share each: here a process may have
    fewer clips, or none, and a step is left out by all or by none.

    Args:
        optimizer: of the parameters that are trained.
        step: epoch and step, from which with the clips follows what is drawn at random.
        scaler: multiplies the loss, so that gradients are none too small for fp16; None leaves it.
    """

    def __init__(
        self,
        model: SegmentationModel,
        optimizer: torch.optim.Optimizer,
        config: TrainConfig,
        step: tuple[int, int],
        scaler: torch.amp.GradScaler | None = None,
    ):
        self.model = model
        self.optimizer = optimizer
        self.config = config
        self.step = step
        self.scaler = scaler
        self.device = next(model.parameters()).device
        self.trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def compute(self, batch: Batch | None) -> Learnt:
        """Leave the gradients of all parts' loss in the parameters, the same in every process.

        Where the loss is no number, they are of no use.

        Args:
            batch: this process's clips, None for none.
        """
        parts = [] if batch is None else batch.split(self.config.accumulate)
        shares = gather(lambda: self._share(batch))
        found = Learnt(list(dict.fromkeys(uid for share in shares for uid in share.uids)))
        whole = reduce(add, (share.counts for share in shares))
        if not whole.labelled or all(share.silent for share in shares):
            return found
        self.optimizer.zero_grad(set_to_none=True)
        statistics = RunningStatistics(self.model)
        several = world_size() > 1 or len(parts) > 1
        computed = gather(lambda: self._backward(parts, whole if several else None))
        statistics.combine([one.parts for one in computed])
        values: dict[str, float] = defaultdict(float)
        for name, value in (item for one in computed for item in one.values.items()):
            values[name] += value
        found.values = dict(values)
        if math.isfinite(values["loss"]):
            self._add_up([one.reached for one in computed])
        return found

    def _share(self, batch: Batch | None) -> _Share:
        if batch is None:
            return _Share([], LossCounts(), silent=True)
        size = (self.model.image_size, self.model.image_size)
        return _Share(
            batch.uids, self.model.loss_counts(batch.labels, batch.labelled, size), self._nothing_sounds(batch)
        )

    def _nothing_sounds(self, batch: Batch) -> bool:
        """The released stage 1 skips an MS3 clip in which nothing sounds in any frame."""
        skips = self.config.task == "avs" and self.config.schedule == "two-phase" and set(batch.subsets) == {"ms3"}
        return skips and not ((batch.labels > 0) & (batch.labels < 255)).any()

    def _backward(self, parts: Sequence[Batch], whole: LossCounts | None) -> _Computed:
        values: dict[str, float] = defaultdict(float)
        done = 0
        for part in parts:
            done += 1
            losses = self._losses(part, whole)
            for name, value in losses.items():
                if name.startswith("loss"):
                    values[name] += float(value.detach())
            if not math.isfinite(values["loss"]):
                break
            loss = losses["loss"]
            (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        reached = [parameter.grad is not None for parameter in self.trained]
        return _Computed(dict(values), reached, done)

    def _losses(self, batch: Batch, whole: LossCounts | None) -> dict[str, Tensor]:
        """`loss`, its parts under `loss_…`, and whatever else the model says of it."""
        seed = self.config.seed
        # Seeding by clips makes a resumed run draw what an uninterrupted one does, and processes what one draws.
        torch.manual_seed(derive_seed(seed, *self.step, batch.uids[0], batch.first))
        output = in_format(self.model, self.config.precision, partial(self._predict, batch))
        labels, labelled = (one.to(self.device, non_blocking=True) for one in (batch.labels, batch.labelled))
        places = zip(batch.uids, (batch.first, *(0 for _ in batch.uids[1:])), batch.lengths, strict=True)
        frames = [(uid, first + frame) for uid, first, length in places for frame in range(length)]
        seeds = [derive_seed(seed, *self.step, "loss", *frame) for frame in frames]
        try:
            return self.model.loss(output, labels, labelled, lengths=batch.lengths, whole=whole, seeds=seeds)
        except NotFiniteError:  # the matcher needs numbers before there is a loss
            return {"loss": torch.full((), math.nan)}

    def _predict(self, batch: Batch) -> Output:
        features = batch.features or shared_maps(self.model, batch.frames)
        return run_model(
            self.model, batch.frames, batch.audio, batch.prior, lengths=batch.lengths, features=features
        )

    def _add_up(self, reached: Sequence[Sequence[bool]]) -> None:
        """Sum gradients over processes; a parameter that no process reached keeps none."""
        if world_size() == 1:
            return
        hits = zip(*reached, strict=True)
        anywhere = [parameter for parameter, hit in zip(self.trained, hits, strict=True) if any(hit)]
        for parameter in anywhere:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        add_up([parameter.grad for parameter in anywhere if parameter.grad is not None])
