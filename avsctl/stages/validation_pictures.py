"""Pictures of a few validation clips, the same after every epoch: frame, label, prediction and prior."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from avsctl.caches.clips import ClipCache
from avsctl.configs import TrainConfig
from avsctl.data.labels import UNLABELLED
from avsctl.data.samples import Batch, ClipSamples
from avsctl.inference import decided_classes
from avsctl.rendering.columns import Columns
from avsctl.rendering.overlay import draw_heat, draw_masks
from avsctl.stages.visualize_models import SOUNDING, SOUNDING_COLOURS
from avsctl_models import SegmentationModel

COUNT = 4
_SHAPE = (1, 1)  # the model's frames are square


class ValidationPictures:
    """Draws clips spread evenly over the validation clips, each in one labelled second.

    Args:
        samples: all validation clips.
    """

    def __init__(self, samples: ClipSamples, clips: ClipCache, config: TrainConfig):
        self.samples = copy.copy(samples)
        self.samples.features = None  # beside cached maps there are no frames to show
        self.items = sorted({len(samples) * number // COUNT for number in range(COUNT)}) if len(samples) else []
        self.precision = config.precision
        semantic = config.task == "avss"
        self.names: Sequence[str] = clips.classes if semantic else SOUNDING
        self.colours = clips.palette if semantic else SOUNDING_COLOURS

    def draw(self, model: SegmentationModel) -> dict[str, np.ndarray]:
        """(H, W, 3) uint8 by clip, of the model in evaluation mode."""
        return {batch.uids[0]: self._draw(model, batch) for batch in (self.samples[item] for item in self.items)}

    def _draw(self, model: SegmentationModel, batch: Batch) -> np.ndarray:
        decided = decided_classes(
            model, batch.frames, batch.audio, batch.prior, lengths=batch.lengths, precision=self.precision
        )
        second = _telling_second(batch)
        label = batch.labels[second].numpy()
        columns = Columns(["frame", "label", "prediction", *([] if batch.prior is None else ["prior"])], _SHAPE)
        frame = columns.fit(batch.frames[second].permute(1, 2, 0).numpy())
        masks = [np.where(label == UNLABELLED, 0, label), decided[second].numpy()]
        drawn = [draw_masks(frame, mask, self.names, self.colours) for mask in masks]
        heat = [] if batch.prior is None else [draw_heat(frame, batch.prior[second].numpy())]
        return columns.draw([frame, *drawn, *heat])


def _telling_second(batch: Batch) -> int:
    """The first labelled second with something in its label, else the first labelled one."""
    labelled = batch.labelled.nonzero()[:, 0].tolist()
    marked = ((batch.labels > 0) & (batch.labels < UNLABELLED)).any(2).any(1)
    return next((second for second in labelled if marked[second]), labelled[0] if labelled else 0)
