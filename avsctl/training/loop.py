"""The training loop: restore, then for each epoch train, validate, commit."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from avsctl.ahead import PREFETCH
from avsctl.configs import TrainConfig
from avsctl.data.samples import Batch, ClipSamples, loader
from avsctl.distributed import on_main, own_part, own_place, world_size
from avsctl.errors import AvsctlError
from avsctl.progress import Track, silent
from avsctl.stopping import Stopped, stop_requested
from avsctl.training.checkpoint import read_position, restore_checkpoint, save_checkpoint
from avsctl.training.devices import derive_seed
from avsctl.training.run_log import RunLog
from avsctl.training.schedule import (
    backbone_is_frozen,
    epoch_batches,
    learning_rate,
    phase_of,
    set_phase,
    set_training_mode,
)
from avsctl.training.step import Gradients
from avsctl_models import SegmentationModel, save_model
from avsctl_models.registry import load_strictly

log = logging.getLogger(__name__)


@dataclass
class Position:
    """Where a run stands: what a checkpoint holds besides tensors."""

    epoch: int = 0
    step: int = 0
    phase: int = 0
    best_score: float = -1.0
    best_epoch: int = -1
    loss_sum: float = 0.0
    skipped: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    scaler: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Position:
        """Where a checkpoint was taken.

        Raises: AvsctlError: If there is no readable checkpoint, or it says no place in a training.
        """
        found = {name: value for name, value in read_position(path).items() if name != "frozen"}
        fresh = vars(cls())
        kinds = {name: (int, float) if isinstance(value, float) else type(value) for name, value in fresh.items()}
        wrong = [name for name in sorted(found) if not _fits(found[name], kinds.get(name))]
        place = {**fresh, **found}
        known = not wrong and all(isinstance(one, dict) for one in place["history"])
        epochs = [one.get("epoch") for one in place["history"]] if known else None
        counted = epochs is not None and len(epochs) == place["epoch"] and epochs == list(range(1, len(epochs) + 1))
        if not counted or place["phase"] > 2:
            raise AvsctlError(
                f"{path} is not a readable checkpoint (its {', '.join(wrong) or 'history'} can't be used). "
                f"Start again with --overwrite."
            )
        return cls(**found)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value of a checkpoint is of its kind, and a number that counts epochs or steps."""
    if kind is None or isinstance(value, bool) or not isinstance(value, kind):
        return False
    return not isinstance(value, int) or -1 <= value < 2**31


class Trainer:
    """Trains one model, in one process or in each of several that learn together.

    Args:
        model: on its device; `samples` what it is trained on.
        validate: gives the scores of the model as it is, `miou` among them.
        begin_phase: called when a phase begins or goes on, with whether the backbone is frozen in it.
        show: draws pictures of the model's predictions, by name, for a log that keeps them.
        run_log: where steps and epochs are noted; None notes them in the folder.
        commit: called at the start and after every epoch with the history and the best epoch.
        folder: where `last.safetensors` (to continue from) and `model.safetensors` (the best) are kept.
        checkpoint_minutes: time between checkpoints inside an epoch.
    """

    def __init__(
        self,
        model: SegmentationModel,
        samples: ClipSamples,
        config: TrainConfig,
        folder: Path,
        *,
        validate: Callable[[SegmentationModel], dict[str, float]],
        commit: Callable[[Position], None],
        begin_phase: Callable[[bool], None] = lambda frozen: None,
        show: Callable[[SegmentationModel], Mapping[str, np.ndarray]] = lambda model: {},
        run_log: RunLog | None = None,
        workers: int = 0,
        prefetch: int = PREFETCH,
        checkpoint_minutes: float = 10.0,
        track: Track = silent,
    ):
        self.model = model
        self.samples = samples
        self.config = config
        self.folder = folder
        self.validate = validate
        self.commit = commit
        self.begin_phase = begin_phase
        self.show = show
        self.run_log = RunLog(folder) if run_log is None else run_log
        self.workers = workers
        self.prefetch = prefetch
        self.checkpoint_seconds = checkpoint_minutes * 60
        self.track = track
        self.device = next(model.parameters()).device
        self.position = Position()
        self._saved_at = 0.0
        self._optimizer: torch.optim.Optimizer | None = None
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "fp16")

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimiser of the phase that was entered."""
        if self._optimizer is None:
            raise RuntimeError("the trainer has entered no phase yet")
        return self._optimizer

    @property
    def last(self) -> Path:
        """The checkpoint to continue from."""
        return self.folder / "last.safetensors"

    @property
    def best(self) -> Path:
        """The best epoch's whole model."""
        return self.folder / "model.safetensors"

    def run(self, *, resume: bool) -> Position:
        """Train to the last epoch.

        Raises: AvsctlError: If the loss is no longer a number; the best model so far is kept.
        """
        if resume:
            self._restore()
        # The record may be older than the checkpoint: a kill can come between the two.
        on_main(lambda: self.commit(self.position))
        self.run_log.begin(self.position.epoch, self.position.step)
        while self.position.epoch < self.config.epochs:
            self._enter_phase(phase_of(self.position.epoch, self.config))
            self._train_epoch()
            self._finish_epoch()
        return self.position

    def _restore(self) -> None:
        self.position = Position.read(self.last)
        self._optimizer = set_phase(self.model, self.position.phase, self.config)
        restore_checkpoint(self.last, self.model, self.optimizer)
        if self.position.scaler:
            self._restore_scaler()
        self.begin_phase(backbone_is_frozen(self.model))
        log.info("continuing at epoch %d, step %d", self.position.epoch + 1, self.position.step)

    def _restore_scaler(self) -> None:
        try:
            self.scaler.load_state_dict(self.position.scaler)
        except (KeyError, RuntimeError) as error:
            raise AvsctlError(
                f"{self.last} is not a readable checkpoint ({error}). Start again with --overwrite."
            ) from None

    def _enter_phase(self, phase: int) -> None:
        if self.position.phase == phase:
            return
        if phase == 2 and self.config.schedule == "two-phase" and on_main(self.best.exists):
            # Phase 2 goes on from the best epoch of phase 1.
            load_strictly(self.model, load_file(self.best), source=str(self.best))
        torch.manual_seed(derive_seed(self.config.seed, "phase", phase))
        self._optimizer = set_phase(self.model, phase, self.config, before=self._optimizer)
        self.position.phase = phase
        count = sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)
        log.info("phase %d trains %s parameters", phase, f"{count:,}")
        self.begin_phase(backbone_is_frozen(self.model))
        if phase == 2:
            self._save()  # by the time of a rerun the best may be one of phase 2's own epochs

    def _train_epoch(self) -> None:
        config, position = self.config, self.position
        set_training_mode(self.model, config)
        self.samples.epoch = position.epoch
        batches = epoch_batches(len(self.samples), config, position.epoch, config.seed)
        total = len(batches) * config.epochs
        self._saved_at = time.monotonic()
        title = f"epoch {position.epoch + 1}/{config.epochs}"
        for batch in self.track(self._read(batches[position.step :]), title, len(batches) - position.step):
            number = position.epoch * len(batches) + position.step
            rate = learning_rate(number, total, position.phase, config)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            values = self._step(batch)
            position.loss_sum += values.get("loss", 0.0)
            position.step += 1
            self.run_log.step(position.epoch + 1, position.step, number + 1, {**values, "lr": rate})
            due = on_main(self._checkpoint_is_due)
            if due or stop_requested() is not None:
                self._save()
                self._saved_at = time.monotonic()

    def _checkpoint_is_due(self) -> bool:
        return time.monotonic() - self._saved_at > self.checkpoint_seconds

    def _read(self, batches: Sequence[Sequence[int]]) -> Iterator[Batch | None]:
        """This process's share of every batch, None where it has none.

        Where there are fewer clips than processes, several take some of a clip's frames each, if the model sees
        frames one by one.
        """
        several = [self._cuts(batch) for batch in batches]
        shares = [
            [batch[own_place(len(batch))[0]]] if cut else own_part(batch)
            for cut, batch in zip(several, batches, strict=True)
        ]
        own, pin = [share for share in shares if share], self.device.type == "cuda"
        reading = loader(self.samples, own, self.workers, prefetch=self.prefetch, pin=pin)
        for cut, batch, share in zip(several, batches, shares, strict=True):
            read = next(reading) if share else None
            yield read.share(*own_place(len(batch))[1:]) if cut and read is not None else read

    def _cuts(self, batch: Sequence[int]) -> bool:
        return len(batch) < world_size() and not self.model.sees_clips

    def _step(self, batch: Batch | None) -> dict[str, Any]:
        """Learn from a batch, of which this is this process's part; the loss and its parts, or what was skipped."""
        position = self.position
        scaler = self.scaler
        gradients = Gradients(self.model, self.optimizer, self.config, (position.epoch, position.step), scaler)
        found = gradients.compute(batch)
        if found.values and not math.isfinite(found.values["loss"]):
            return self._skip(found.values["loss"], found.uids)
        if not found.values:
            return {"loss": 0.0}
        scaler.unscale_(self.optimizer)
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        scaler.step(self.optimizer)
        scaler.update()
        return found.values

    def _skip(self, value: float, uids: Sequence[str]) -> dict[str, Any]:
        """Leave a step out whose loss is no number, if some more may be."""
        position, allowed = self.position, self.config.skip_nonfinite
        where = f"at epoch {position.epoch + 1}, step {position.step + 1} (clips {', '.join(uids)})"
        if position.skipped >= allowed:
            after = f" after {allowed} that were skipped" if allowed else ""
            raise AvsctlError(
                f"The loss became {value} {where}{after}. Lower --lr, use --precision fp32, or let a few steps go by "
                f"with --skip-nonfinite; the best model and the last checkpoint are kept in {self.folder}."
            )
        position.skipped += 1
        log.warning("the loss became %s %s: step left out, %d of %d", value, where, position.skipped, allowed)
        return {"skipped": list(uids)}

    def _finish_epoch(self) -> None:
        position = self.position
        steps = max(1, position.step)
        self.model.eval()
        epoch = position.epoch + 1
        try:
            scores = self.validate(self.model) if self._is_validated(epoch) else {}
        except Stopped:
            self._save()  # all steps of the epoch are done; only the scores are missing
            raise
        entry = {"epoch": epoch, "phase": position.phase, "loss": position.loss_sum / steps, **scores}
        position.history.append(entry)
        self.run_log.epoch(entry)
        if scores and self.run_log.draws:
            self.run_log.pictures(epoch, self.show(self.model))
        if scores and scores["miou"] > position.best_score:
            position.best_score, position.best_epoch = scores["miou"], epoch
            on_main(lambda: save_model(self.model, self.best))
        log.info(
            "epoch %d/%d: loss %.3f%s%s",
            epoch, self.config.epochs, entry["loss"],
            f", validation mIoU {scores['miou']:.4f}" if scores else "",
            " (best)" if position.best_epoch == epoch else "",
        )  # fmt: skip
        position.epoch += 1
        position.step, position.loss_sum = 0, 0.0
        self._save()
        on_main(lambda: self.commit(position))

    def _is_validated(self, epoch: int) -> bool:
        """Every so many epochs, and always the last of all and of a phase, from whose best the next goes on."""
        last = epoch == self.config.epochs or phase_of(epoch, self.config) != self.position.phase
        return last or epoch % self.config.validate_every == 0

    def _save(self) -> None:
        self.position.scaler = self.scaler.state_dict()
        on_main(lambda: save_checkpoint(self.last, self.model, self.optimizer, vars(self.position)))
