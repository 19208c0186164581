"""Losses of models that predict every pixel's logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from avsctl_models.loss_counts import LossCounts
from avsctl_models.targets import IGNORED, resize_labels

DISTANCES = ("kl", "euclid", "cosine")
POOLINGS = ("avg", "max")


def labelled_frames(labels: Tensor, labelled: Tensor, size: tuple[int, int], whole: LossCounts | None = None) -> Tensor:
    """Resize label maps to the logits' size, all `IGNORED` where a frame has no label.

    Args:
        labels: (N, s, s) class indices; labelled: (N,) bool.
        whole: Counts of the batch of which the frames are a part.
    Returns: (N, *size) int64.
    Raises: ValueError: If no frame, of the whole, has a label.
    """
    if not (labelled.any() if whole is None else whole.labelled):
        raise ValueError("none of the frames has a label; the loss needs at least one")
    resized = resize_labels(labels, size).long()
    return resized.masked_fill(~labelled[:, None, None], IGNORED)


def pixel_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of every frame, the mean over its pixels.

    Args:
        logits: (N, K, h, w), or (N, 1, h, w) of "sounding", where every label but 0 sounds.
        labels: (N, h, w) int64, `IGNORED` pixels don't count.
    Returns: (N,), 0 for a frame without any label.
    """
    known = labels != IGNORED
    if logits.shape[1] > 1:
        losses = F.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="none")
    else:
        losses = F.binary_cross_entropy_with_logits(logits[:, 0].float(), (labels > 0).float(), reduction="none")
    return (losses * known).sum((1, 2)) / known.sum((1, 2)).clamp_min(1)


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Dice loss of every frame, with squares in the denominator.

    Args:
        logits: (N, 1, h, w) of "sounding".
        labels: (N, h, w) int64; every label but 0 sounds, `IGNORED` pixels don't count.
    Returns: (N,), 0 for a frame without any label.
    Source: AVSegFormer (AAAI 2024); smoothing 0.001 on both sums as released.
    """
    known = labels != IGNORED
    probability = (logits[:, 0].float().sigmoid() * known).flatten(1)
    wanted = ((labels > 0) & known).flatten(1).float()
    shared = 2 * (probability * wanted).sum(1)
    total = (probability**2).sum(1) + 0.001 + (wanted**2).sum(1) + 0.001
    return (1 - shared / total) * known.flatten(1).any(1)


def frame_mean(losses: Tensor, labelled: Tensor, whole: LossCounts | None = None) -> Tensor:
    """Mean of (N,) losses over the frames that have a label; their sum over the number in the whole, if given."""
    return (losses * labelled).sum() / (labelled.sum() if whole is None else whole.labelled)


@dataclass(frozen=True)
class AudioMapLoss:
    """How far the features under the predicted mask are from the sound, on every level.

    Args:
        distance: "kl" between softmaxes (of MS3 the sum over frames, not their mean, as released), "euclid", or
            "cosine", -ln of the similarity, which always normalises and thresholds.
        pooling: How the mask is shrunk to a level, "avg" or "max".
        normalize: Whether both vectors are scaled to length 1.
        threshold: Whether the features are averaged where the mask is above 0.5, instead of weighted by it.
        closest: Whether the features are pulled to those of the frame that sounds most alike, instead of the sound.
            With several classes, "kl" keeps the sound as its target, as released.
        background: Class that does not belong to the mask, if there are several. 0; AVSBench's code before September
            2024, which trained its released AVSS models, had 70.
    Source: AVSBench (ECCV 2022), Eq. 4 and its extension to AVSS; released code of all three tasks.
    """

    distance: str = "kl"
    pooling: str = "avg"
    normalize: bool = False
    threshold: bool = False
    closest: bool = False
    background: int = 0

    def __post_init__(self):
        for value, known in ((self.distance, DISTANCES), (self.pooling, POOLINGS)):
            if value not in known:
                raise ValueError(f"the audio loss knows {', '.join(known)}, not {value!r}")

    def __call__(
        self,
        logits: Tensor,
        maps: list[Tensor],
        sounds: list[Tensor],
        labelled: Tensor,
        whole: LossCounts | None = None,
    ) -> Tensor:
        """Compute the mean over levels.

        Args:
            logits: (N, K, H, W), or (N, 1, H, W) of a binary model, whose frames all count.
            maps: Levels (N, C, h, w); sounds: (N, C) of each level.
            labelled: (N,) bool; of a model of several classes only these frames count.
            whole: Counts of the batch of which the frames are a part, whose loss is the sum over its parts; but
                `closest` looks for frames in its part only.
        """
        pairs = zip(maps, sounds, strict=True)
        return torch.stack([self._level(logits, m.float(), s.float(), labelled, whole) for m, s in pairs]).mean()

    def _level(self, logits: Tensor, maps: Tensor, sound: Tensor, labelled: Tensor, whole: LossCounts | None) -> Tensor:
        def mean(losses: Tensor) -> Tensor:
            if not binary:
                return frame_mean(losses, labelled, whole)
            return losses.mean() if whole is None else losses.sum() / whole.frames

        binary = logits.shape[1] == 1
        size = (maps.shape[-2], maps.shape[-1])
        seen = self._masked_mean(maps, self._mask(logits.float(), size))
        if self.distance == "cosine":
            alike = F.cosine_similarity(seen, sound, dim=1)
            return mean(-(alike.relu() + 1e-6).log())
        if self.normalize:
            seen, sound = F.normalize(seen, dim=1), F.normalize(sound, dim=1)
        wanted = sound
        if self.closest and (binary or self.distance == "euclid"):
            wanted = seen[_most_alike(sound)]
        if self.distance == "euclid":
            return mean(F.pairwise_distance(seen, wanted))
        losses = F.kl_div(seen.log_softmax(1), wanted.softmax(1), reduction="none").sum(1)
        return losses.sum() if binary else mean(losses)

    def _mask(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Where the sound's source is said to be, (N, 1, h, w) in [0, 1]."""
        pool = F.adaptive_avg_pool2d if self.pooling == "avg" else F.adaptive_max_pool2d
        if logits.shape[1] > 1:
            decided = (logits.argmax(1, keepdim=True) != self.background).float()
            return pool(decided, size)
        if self.distance == "cosine":
            return pool(logits.sigmoid(), size)
        return pool(logits, size).sigmoid()

    def _masked_mean(self, maps: Tensor, mask: Tensor) -> Tensor:
        if not (self.threshold or self.distance == "cosine"):
            return (maps * mask).mean((2, 3))
        chosen = (mask > 0.5).to(maps.dtype)
        return (maps * chosen).sum((2, 3)) / (chosen.sum((2, 3)) + 1e-6)


def _most_alike(sound: Tensor) -> Tensor:
    """The other frame whose sound is nearest, for each of N: (N,)."""
    distances = torch.cdist(sound, sound) + 10 * torch.eye(len(sound), device=sound.device)
    return distances.argmin(1)
