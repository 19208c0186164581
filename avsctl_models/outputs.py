"""What a segmentation model returns, and the per-class maps made from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from avsctl_models.predictions import Predictions

_WORKING_ELEMENTS = 2**24  # largest temporary of semantic_inference: 64 MB in float32


class Output(ABC):
    """Predictions for N frames.

    Attributes:
        input_size: (H, W) of the frames the model saw.
    """

    input_size: tuple[int, int]

    @abstractmethod
    def __len__(self) -> int:
        """Number of frames N."""

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """Number of classes K, the background among them."""

    @abstractmethod
    def select(self, indices: Tensor) -> Output:
        """Keep some frames, in the given order, for instance those that have a label; drop intermediates.

        Args:
            indices: (M,) frame numbers, or a (N,) boolean mask.
        """

    @abstractmethod
    def _groups(self) -> Iterator[Tensor]:
        """Class maps of at least 0, (n, K, H, W) at the input's size, for as many frames as memory should hold."""


@dataclass
class SegmentationOutput(Output):
    """Predictions of a query-based segmentation model for N frames.

    Attributes:
        predictions: Those before any decoder layer, and after each of them; masks at a quarter of the input's size.
        input_size: (H, W) of the frames the model saw.
        intermediates: Named inner tensors where they were asked for, else None.
    """

    predictions: Predictions
    input_size: tuple[int, int]
    intermediates: dict | None = None

    def __len__(self) -> int:
        return len(self.class_logits)

    @property
    def num_classes(self) -> int:
        return self.class_logits.shape[-1] - 1

    @property
    def class_logits(self) -> Tensor:
        """The last (N, Q, K+1), the last class is "no object"."""
        return self.predictions.classes(-1)

    @property
    def mask_logits(self) -> Tensor:
        """The last (N, Q, h, w), computed each time it is asked for."""
        return self.predictions.masks(-1)

    def select(self, indices: Tensor) -> SegmentationOutput:
        return SegmentationOutput(self.predictions.select(indices), self.input_size)

    def _groups(self) -> Iterator[Tensor]:
        scores = self.class_logits.float().softmax(-1)[..., :-1]  # (N, Q, K)
        masks = self.mask_logits
        for part in _parts(self):
            yield _sum_over_queries(scores[part], masks[part], self.input_size)


@dataclass
class DenseOutput(Output):
    """Predictions of a model that gives every pixel its logits, for N frames.

    Attributes:
        logits: (N, K, h, w), or (N, 1, h, w) of "sounding" for a binary model, which has two classes.
        input_size: (H, W) of the frames the model saw.
        maps: Feature maps (N, C, h', w') that the model's loss looks at.
        sounds: Audio features (N, C) that go with these maps.
        intermediates: Named inner tensors where they were asked for, else None.
    """

    logits: Tensor
    input_size: tuple[int, int]
    maps: list[Tensor] = field(default_factory=list)
    sounds: list[Tensor] = field(default_factory=list)
    intermediates: dict | None = None

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def num_classes(self) -> int:
        return max(2, self.logits.shape[1])

    def select(self, indices: Tensor) -> DenseOutput:
        return DenseOutput(
            logits=self.logits[indices],
            input_size=self.input_size,
            maps=[m[indices] for m in self.maps],
            sounds=[sound[indices] for sound in self.sounds],
        )

    def _groups(self) -> Iterator[Tensor]:
        for part in _parts(self):
            logits = self.logits[part].float()
            if logits.shape[1] > 1:
                probabilities = logits.softmax(1)
            else:
                sounding = logits.sigmoid()
                probabilities = torch.cat([1 - sounding, sounding], 1)
            yield _resize(probabilities, self.input_size)


@torch.no_grad()
def semantic_inference(output: Output, size: tuple[int, int]) -> Tensor:
    """Give one map per class.

    Of a query-based model, mask logits are upsampled to the input's size and squashed, weighted by each query's class
    probabilities ("no object" left out after the softmax) and summed over queries; the sums are not normalised and may
    exceed 1. Of a dense model, the maps are its probabilities: the softmax, or 1 - p and p with p the sigmoid of a
    binary model's logit. Maps are then resized bilinearly to `size`; the decision is the argmax over classes.

    Args:
        output: Predictions for N frames.
        size: (height, width) of the maps.
    Returns: (N, K, height, width) float32.
    Source: the released post-processing of Stepping Stones (ECCV 2024), after MaskFormer's; for dense models that of
        AVSBench and AVSegFormer, which decide by argmax or at 0.5.
    """
    maps = [_resize(group, size) for group in output._groups()]
    if not maps:
        return torch.zeros(0, output.num_classes, *size)
    return maps[0] if len(maps) == 1 else torch.cat(maps)


@torch.no_grad()
def semantic_decision(output: Output, size: tuple[int, int]) -> Tensor:
    """The class of every pixel: exactly the argmax of `semantic_inference`, the lowest class where two are equal.

    Only classes that can win are enlarged. A resized pixel is a weighted mean of four, so some class reaches at least
    a quarter of the smallest pixel-wise maximum there, and a class that never does is left out.

    Args:
        output: Predictions for N frames. size: (height, width) of the decision.
    Returns: (N, height, width) uint8.
    Raises: ValueError: If predictions are NaN or infinite, so that nothing can be decided.
    """
    decided = []
    for frame, maps in enumerate(maps for group in output._groups() for maps in group):
        highest = maps.amax((1, 2))
        if not torch.isfinite(highest).all():
            raise ValueError(f"the predictions of frame {frame} hold NaN or infinite values")
        least = maps.amax(0).min() / 4 * (1 - 1e-4)  # a margin for rounding
        able = (highest >= least).nonzero()[:, 0]
        kept = _resize(maps[able][None], size)[0]
        best = kept[0].clone()
        winner = torch.full(tuple(size), int(able[0]), dtype=torch.uint8, device=maps.device)
        for index, map_ in zip(able[1:], kept[1:], strict=True):
            winner.masked_fill_(map_ > best, int(index))
            torch.maximum(best, map_, out=best)
        decided.append(winner)
    return torch.stack(decided) if decided else torch.zeros(0, *size, dtype=torch.uint8)


def _parts(output: Output) -> Iterator[slice]:
    """Frames in groups whose class maps together are no larger than the working memory."""
    height, width = output.input_size
    group = max(1, _WORKING_ELEMENTS // (output.num_classes * height * width))
    for start in range(0, len(output), group):
        yield slice(start, start + group)


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def _sum_over_queries(scores: Tensor, mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    frames, queries, classes = scores.shape
    sums = scores.new_zeros(frames, classes, size[0] * size[1])
    chunk = max(1, _WORKING_ELEMENTS // (frames * size[0] * size[1]))
    for start in range(0, queries, chunk):
        part = slice(start, start + chunk)
        logits = mask_logits[:, part].float()
        masks = F.interpolate(logits, size=size, mode="bilinear", align_corners=False).sigmoid_()
        sums.baddbmm_(scores[:, part].transpose(1, 2), masks.flatten(2))  # (N, K, H*W)
    return sums.unflatten(2, size)
