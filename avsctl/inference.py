"""From a batch of clips to per-class maps: what validation, evaluate, predict-priors and visualize share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from avsctl.configs import LABEL_SIZE
from avsctl.errors import AvsctlError
from avsctl.number_formats import in_format
from avsctl_models import Output, SegmentationModel, semantic_decision, semantic_inference
from avsctl_models.backbones import STRIDES

FRAMES_AT_ONCE = 20
"""Most frames in one call of the network; a multiple of the five that TPAVI sees together."""
_WINDOW = 5
_CPU_PIXELS = 5 * 384**2
"""Most pixels in one call on a CPU, whose cache more frames would leave: 20 of 384 x 384 took 13 % longer at once."""


def run_model(
    model: SegmentationModel,
    frames: Tensor,
    audio: Tensor,
    prior: Tensor | None = None,
    *,
    lengths: Sequence[int] | None = None,
    features: Sequence[Tensor] = (),
) -> Output:
    """Call the model on its device.

    Args:
        frames: (N, 3, S, S) uint8; audio: (N, D); prior: (N, p, p) in [0, 1] or None; lengths: frames of each clip.
        features: maps of the frozen backbone of these frames, the coarsest levels: what is missing is computed.
    """
    device = next(model.parameters()).device

    def sent(tensor: Tensor) -> Tensor:
        return tensor.to(device, non_blocking=device.type == "cuda")  # at once only from pinned memory

    sound, given = sent(audio), None if prior is None else sent(prior)
    if not features:
        return model(model.normalize(sent(frames)), sound, given, lengths=lengths)
    maps = [sent(level).float() for level in features]
    missing = len(STRIDES) - len(maps)
    if missing:
        maps = [*model.backbone.first_maps(model.normalize(sent(frames)), missing), *maps]
    size = (model.image_size, model.image_size)
    return model.from_features(maps, sound, given, lengths=lengths, size=size)


def class_maps(
    model: SegmentationModel,
    frames: Tensor,
    audio: Tensor,
    prior: Tensor | None = None,
    *,
    lengths: Sequence[int] | None = None,
    size: int | tuple[int, int] = LABEL_SIZE,
    precision: str = "fp32",
) -> Tensor:
    """Per-class maps of frames, computed in pieces of bounded memory.

    Args:
        frames: (N, 3, S, S) uint8; audio: (N, D); prior: (N, p, p) in [0, 1] or None.
        lengths: frames of each clip, N in all; None for one clip.
        size: side (or height and width) of the maps.
    Returns: (N, K, h, w) float32 on the CPU, see `semantic_inference`.
    """
    return _in_pieces(semantic_inference, model, frames, audio, prior, lengths, (), size, precision)


def decided_classes(
    model: SegmentationModel,
    frames: Tensor,
    audio: Tensor,
    prior: Tensor | None = None,
    *,
    lengths: Sequence[int] | None = None,
    features: Sequence[Tensor] = (),
    size: int | tuple[int, int] = LABEL_SIZE,
    precision: str = "fp32",
) -> Tensor:
    """The class of every pixel: the argmax of `class_maps`, without making them all; arguments as there
    and in `run_model`.

    Returns: (N, h, w) uint8 on the CPU.
    Raises: AvsctlError: If the model predicts NaN or infinite values.
    """
    return _in_pieces(semantic_decision, model, frames, audio, prior, lengths, features, size, precision)


@torch.inference_mode()
def _in_pieces(finish, model, frames, audio, prior, lengths, features, size, precision) -> Tensor:
    size = (size, size) if isinstance(size, int) else size
    parts = []
    start = 0
    for piece in _pieces([len(frames)] if lengths is None else lengths, _most_at_once(model)):
        part = slice(start, start + sum(piece))
        start = part.stop
        call = partial(
            run_model,
            model,
            frames[part],
            audio[part],
            None if prior is None else prior[part],
            lengths=piece,
            features=[level[part] for level in features],
        )
        output = in_format(model, precision, call)
        try:
            parts.append(finish(output, size).cpu())
        except ValueError as error:
            raise AvsctlError(f"Nothing can be decided: {error}. Train the model again, at a lower --lr.") from None
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _most_at_once(model: SegmentationModel) -> int:
    if next(model.parameters()).device.type != "cpu":
        return FRAMES_AT_ONCE
    windows = _CPU_PIXELS // (_WINDOW * model.image_size**2)
    return min(FRAMES_AT_ONCE, _WINDOW * max(1, windows))


def _pieces(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Whole clips that may be computed together, by their lengths; a clip of more than `most` frames is cut."""
    piece: list[int] = []
    for length in (min(most, whole - start) for whole in lengths for start in range(0, whole, most)):
        if piece and sum(piece) + length > most:
            yield piece
            piece = []
        piece.append(length)
    if piece:
        yield piece


def decide(maps: Tensor) -> Tensor:
    """The class of each pixel: the argmax over (N, K, h, w), the lowest index where classes are equal.

    Returns: (N, h, w) uint8. One comparison per class is many times faster on a CPU than `argmax` across planes.
    """
    best = maps[:, 0].clone()
    decided = torch.zeros(best.shape, dtype=torch.uint8)
    for index in range(1, maps.shape[1]):
        decided.masked_fill_(maps[:, index] > best, index)
        torch.maximum(best, maps[:, index], out=best)
    return decided


def sounding_probability(maps: Tensor) -> Tensor:
    """p = l1 / (l0 + l1) of the two class maps (N, 2, h, w): above 0.5 exactly where the argmax says sounding."""
    total = maps.sum(1)
    # Where both maps are 0 the argmax takes class 0: silent.
    return torch.where(total > 0, maps[:, 1] / total.clamp_min(torch.finfo(maps.dtype).tiny), torch.zeros_like(total))
