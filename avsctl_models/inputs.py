"""What every model checks of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:  # which imports this module
    from avsctl_models.contract import SegmentationModel


def check_frames(frames: Tensor) -> None:
    """Refuse frames of another shape than (N, 3, H, W).

    Raises: ValueError: With the shape there is.
    """
    if frames.ndim != 4 or frames.shape[1] != 3:
        raise ValueError(f"frames must be (N, 3, H, W), not {tuple(frames.shape)}")


def check_image_size(size: tuple[int, int]) -> None:
    """Refuse frames whose height or width the coarsest map, of stride 32, does not divide.

    Raises: ValueError: With the size there is.
    """
    if any(side % 32 or side < 32 for side in size):
        raise ValueError(f"frames of {size[0]}x{size[1]} do not fit: height and width must be multiples of 32")


def check_sound_and_prior(
    model: SegmentationModel, count: int, audio: Tensor | None, prior: Tensor | None, lengths: Sequence[int] | None
) -> None:
    """Refuse what doesn't go with a number of frames, or has no use in a model.

    Args:
        model: Of which `audio_dim` and `uses_prior` count.
        count: Number of frames N.
        audio: (N, D), or None for a model that hears nothing.
        prior: (N, h, w) or None.
        lengths: Frames of each clip, N in all; None for one clip.
    Raises: ValueError: With what was expected and what was given.
    """
    expected = None if model.audio_dim is None else (count, model.audio_dim)
    given = None if audio is None else tuple(audio.shape)
    if given != expected:
        raise ValueError(f"audio must be {expected}, not {given}, for {count} frames")
    if lengths is not None and (sum(lengths) != count or min(lengths, default=1) < 1):
        raise ValueError(f"lengths must be positive and sum to {count} frames, not {list(lengths)}")
    if prior is None:
        return
    if not model.uses_prior:
        raise ValueError("This model was built without any use of a prior; call it with prior=None")
    if prior.ndim != 3 or len(prior) != count:
        raise ValueError(f"prior must be ({count}, h, w), not {tuple(prior.shape)}")
