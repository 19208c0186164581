"""What a segmentation model returns, and the per-class maps made from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

_WORKING_ELEMENTS = 2**24  # largest temporary of semantic_inference: 64 MB in float32


@dataclass
class SegmentationOutput:
    """Predictions of a query-based segmentation model for N frames.

    Attributes:
        class_logits: (N, Q, K+1), the last class is "no object".
        mask_logits: (N, Q, h, w) at a quarter of the input's size.
        auxiliary: (class_logits, mask_logits) of every earlier prediction, first to last; number 0 is made
            before any decoder layer.
        input_size: (H, W) of the frames the model saw.
        intermediates: Named inner tensors where they were asked for, else None.
    """

    class_logits: Tensor
    mask_logits: Tensor
    auxiliary: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    input_size: tuple[int, int] = (0, 0)
    intermediates: dict | None = None

    def select(self, indices: Tensor) -> SegmentationOutput:
        """Keep some frames, in the given order, for instance those that have a label; drop intermediates.

        Args:
            indices: (M,) frame numbers, or a (N,) boolean mask.
        """
        return SegmentationOutput(
            class_logits=self.class_logits[indices],
            mask_logits=self.mask_logits[indices],
            auxiliary=[(classes[indices], masks[indices]) for classes, masks in self.auxiliary],
            input_size=self.input_size,
        )


@torch.no_grad()
def semantic_inference(output: SegmentationOutput, size: tuple[int, int]) -> Tensor:
    """Combine the queries into one map per class.

    Mask logits are upsampled to the input's size and squashed, weighted by each query's class probabilities
    ("no object" left out after the softmax), summed over queries, and the sums resized bilinearly to `size`.
    The sums are not normalised and may exceed 1; the decision is the argmax over classes.

    Args:
        output: Predictions for N frames.
        size: (height, width) of the maps.
    Returns: (N, K, height, width) float32.
    Source: the released post-processing of Stepping Stones (ECCV 2024), after MaskFormer's.
    """
    maps = []
    for sums in _grouped_sums(output):
        if tuple(size) != tuple(output.input_size):
            sums = F.interpolate(sums, size=tuple(size), mode="bilinear", align_corners=False)
        maps.append(sums)
    if not maps:
        return output.class_logits.new_zeros(0, output.class_logits.shape[-1] - 1, *size, dtype=torch.float32)
    return maps[0] if len(maps) == 1 else torch.cat(maps)


@torch.no_grad()
def semantic_decision(output: SegmentationOutput, size: tuple[int, int]) -> Tensor:
    """The class of every pixel: exactly the argmax of `semantic_inference`, the lowest class where two are equal.

    Only classes that can win are enlarged. A resized pixel is a weighted mean of four, so some class reaches at least
    a quarter of the smallest pixel-wise maximum there, and a class that never does is left out.

    Args:
        output: Predictions for N frames. size: (height, width) of the decision.
    Returns: (N, height, width) uint8.
    Raises: ValueError: If predictions are NaN or infinite, so that nothing can be decided.
    """
    frames, device = len(output.class_logits), output.class_logits.device
    decided = torch.zeros(frames, *size, dtype=torch.uint8, device=device)
    every_map = (maps for sums in _grouped_sums(output) for maps in sums)
    for frame, maps in enumerate(every_map):
        highest = maps.amax((1, 2))
        if not torch.isfinite(highest).all():
            raise ValueError(f"the predictions of frame {frame} hold NaN or infinite values")
        least = maps.amax(0).min() / 4 * (1 - 1e-4)  # a margin for rounding
        able = (highest >= least).nonzero()[:, 0]
        kept = F.interpolate(maps[able][None], size=tuple(size), mode="bilinear", align_corners=False)[0]
        best = kept[0].clone()
        decided[frame] = able[0]
        for index, map_ in zip(able[1:], kept[1:], strict=True):
            decided[frame].masked_fill_(map_ > best, int(index))
            torch.maximum(best, map_, out=best)
    return decided


def _grouped_sums(output: SegmentationOutput) -> Iterator[Tensor]:
    """The sums over queries at the input's size, (n, K, H, W) for as many frames at once as memory should hold."""
    scores = output.class_logits.float().softmax(-1)[..., :-1]  # (N, Q, K)
    frames, _, classes = scores.shape
    height, width = output.input_size
    group = max(1, _WORKING_ELEMENTS // (classes * height * width))
    for start in range(0, frames, group):
        part = slice(start, start + group)
        yield _sum_over_queries(scores[part], output.mask_logits[part], (height, width))


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
