"""The set loss of mask classification, with point sampling and deep supervision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsctl_models.loss_counts import LossCounts
from avsctl_models.matcher import assign, matching_costs, sample_points
from avsctl_models.outputs import SegmentationOutput
from avsctl_models.predictions import Predictions
from avsctl_models.targets import Target


@dataclass
class LossPoints:
    """Random points of one loss, (x, y) in [0, 1], for L predictions, N frames and M matched pairs.

    Attributes:
        matcher: (L, N, P, 2), one set per prediction and frame.
        oversample: (L, M, 3P, 2) from which the most uncertain are chosen.
        random: (L, M, P - int(0.75 P), 2) taken as they are.
    """

    matcher: Tensor
    oversample: Tensor
    random: Tensor

    @classmethod
    def join(cls, frames: Sequence[LossPoints]) -> LossPoints:
        """The points of all frames and pairs, frame after frame."""
        names = ("matcher", "oversample", "random")
        return cls(*(torch.cat([getattr(frame, name) for frame in frames], 1) for name in names))


class Criterion(nn.Module):
    """Class, mask and dice loss of every prediction against the best matching targets.

    Args:
        num_classes: Classes K, the background among them.
        points: Points P at which masks are compared.
        oversample: How many times P points are drawn to choose uncertain ones from.
        importance: Share of P that is chosen by uncertainty, the smallest absolute logit.
        class_weight, mask_weight, dice_weight: Weights of the parts; every prediction counts alike.
        no_object_weight: Weight of unmatched queries in the class loss.
        class_cost, mask_cost, dice_cost: Weights in the matching; the class counts less there.
    Source: Stepping Stones (ECCV 2024), Eq. 2 and 3; numbers as released.
    """

    empty_weight: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        points: int = 12544,
        oversample: float = 3.0,
        importance: float = 0.75,
        class_weight: float = 2.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        no_object_weight: float = 0.1,
        class_cost: float = 1.0,
        mask_cost: float = 5.0,
        dice_cost: float = 5.0,
    ):
        super().__init__()
        self.num_classes = num_classes
        self.points = points
        self.drawn = int(points * oversample)
        self.chosen = int(points * importance)
        self.weights = (class_weight, mask_weight, dice_weight)
        self.costs = {"class_cost": class_cost, "mask_cost": mask_cost, "dice_cost": dice_cost}
        weight = torch.ones(num_classes + 1)
        weight[-1] = no_object_weight
        self.register_buffer("empty_weight", weight, persistent=False)

    def forward(
        self,
        output: SegmentationOutput,
        targets: list[Target],
        generator: torch.Generator | None = None,
        points: LossPoints | None = None,
        whole: LossCounts | None = None,
    ) -> dict[str, Tensor]:
        """Compute the loss of N labelled frames.

        Args:
            output: Predictions for these frames; `output.select` leaves out those without a label.
            targets: One per frame.
            generator: Source of the points, on any device; None is torch's own.
            points: Points to use instead of drawing them.
            whole: Counts of the batch of which these frames are a part, whose loss is the sum over its parts.
        Returns: "loss", the weighted sum over all predictions, to be minimised; "loss_class", "loss_mask" and
            "loss_dice", its unweighted parts summed over predictions; "class_losses", "mask_losses" and
            "dice_losses" (L,) per prediction, first to last; "indices" (L, 3, M), see `assign`.
        Raises: ValueError: If the numbers of frames differ, there are none, or costs are not finite.
        """
        predictions = output.predictions
        if len(targets) != len(output.class_logits) or not targets:
            frames = len(output.class_logits)
            raise ValueError(f"{frames} frames need as many targets, not {len(targets)}, and at least one")
        counts = [len(target.classes) for target in targets]
        classes, masks = _pad(targets, output.class_logits.device)
        if points is None:
            points = self.draw(len(predictions), counts, output, generator)

        indices = self._match(predictions, classes, masks, counts, points.matcher)
        class_losses = self._class_losses(predictions, classes, indices, whole)
        count = sum(counts) if whole is None else whole.targets
        mask_losses, dice_losses = self._mask_losses(predictions, masks, indices, points, max(count, 1))
        parts = (class_losses, mask_losses, dice_losses)
        by_class, by_mask, by_dice = (weight * part.sum() for weight, part in zip(self.weights, parts, strict=True))
        names = ("class", "mask", "dice")
        return {
            "loss": by_class + by_mask + by_dice,
            **{f"loss_{name}": part.sum().detach() for name, part in zip(names, parts, strict=True)},
            **{f"{name}_losses": part.detach() for name, part in zip(names, parts, strict=True)},
            "indices": indices,
        }

    def draw_by_frame(self, output: SegmentationOutput, targets: list[Target], seeds: Sequence[int]) -> LossPoints:
        """Draw the points of every frame of `output`, with its targets, from a seed of its own."""
        source = torch.Generator(output.class_logits.device)
        layers = len(output.predictions)
        return LossPoints.join(
            [
                self.draw(layers, [len(target.classes)], output, source.manual_seed(seed))
                for target, seed in zip(targets, seeds, strict=True)
            ]
        )

    def draw(
        self,
        predictions: int,
        counts: list[int],
        output: SegmentationOutput,
        generator: torch.Generator | None = None,
    ) -> LossPoints:
        """Draw the points of one loss, on the generator's device, and move them to the output's."""
        device = output.class_logits.device
        source = device if generator is None else generator.device
        pairs = sum(min(count, output.class_logits.shape[1]) for count in counts)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, 2, generator=generator, device=source).to(device)

        return LossPoints(
            matcher=uniform(predictions, len(counts), self.points),
            oversample=uniform(predictions, pairs, self.drawn),
            random=uniform(predictions, pairs, self.points - self.chosen),
        )

    @torch.no_grad()
    def _match(
        self,
        predictions: Predictions,
        classes: Tensor,
        masks: Tensor,
        counts: list[int],
        points: Tensor,
    ) -> Tensor:
        # Each frame's targets are read at the points of all predictions in one call.
        spread = points.transpose(0, 1).flatten(1, 2)  # (N, L*P, 2)
        wanted = sample_points(masks, spread).unflatten(2, (len(predictions), -1))  # (N, T, L, P)
        costs = []
        for i, (class_logits, mask_logits) in enumerate(predictions):
            values = sample_points(mask_logits.float(), points[i])  # (N, Q, P)
            costs.append(matching_costs(class_logits, values, wanted[:, :, i], classes, **self.costs))
        return assign(torch.stack(costs), counts).to(masks.device)

    def _class_losses(
        self,
        predictions: Predictions,
        classes: Tensor,
        indices: Tensor,
        whole: LossCounts | None,
    ) -> Tensor:
        logits = torch.stack([predictions.classes(i) for i in range(len(predictions))]).float()  # (L, N, Q, K+1)
        wanted = torch.full(logits.shape[:3], self.num_classes, device=logits.device)
        frame, query, target = indices.unbind(1)
        layer = torch.arange(len(predictions), device=logits.device)[:, None].expand_as(frame)
        wanted[layer, frame, query] = classes[frame, target]
        weight = self.empty_weight[wanted]
        losses = F.cross_entropy(logits.flatten(0, 2), wanted.flatten(), reduction="none").view_as(weight)
        if whole is None:
            return (losses * weight).sum((1, 2)) / weight.sum((1, 2))
        unmatched = whole.labelled * logits.shape[2] - whole.matched
        return (losses * weight).sum((1, 2)) / (whole.matched + unmatched * self.empty_weight[-1])

    def _mask_losses(
        self,
        predictions: Predictions,
        masks: Tensor,
        indices: Tensor,
        points: LossPoints,
        count: int,
    ) -> tuple[Tensor, Tensor]:
        frame, query, target = indices.unbind(1)  # (L, M) each
        logits = predictions.chosen_masks(frame, query).float()
        layers, pairs = logits.shape[:2]
        logits = logits.flatten(0, 1)[:, None]  # (L*M, 1, h, w)
        with torch.no_grad():
            drawn = points.oversample.flatten(0, 1)
            doubt = sample_points(logits, drawn)[:, 0].abs()
            nearest = doubt.topk(self.chosen, dim=1, largest=False, sorted=False).indices
            chosen = drawn.gather(1, nearest[..., None].expand(-1, -1, 2))
            places = torch.cat([chosen, points.random.flatten(0, 1)], 1)  # (L*M, P, 2)
            wanted = _target_values(masks, frame, target, places.unflatten(0, (layers, pairs))).flatten(0, 1)
        values = sample_points(logits, places)[:, 0]

        cross_entropy = F.binary_cross_entropy_with_logits(values, wanted, reduction="none").mean(1)
        squashed = values.sigmoid()
        shared = 2 * (squashed * wanted).sum(1) + 1
        dice = 1 - shared / (squashed.sum(1) + wanted.sum(1) + 1)
        return cross_entropy.view(layers, pairs).sum(1) / count, dice.view(layers, pairs).sum(1) / count


def _target_values(masks: Tensor, frame: Tensor, target: Tensor, places: Tensor) -> Tensor:
    """Read matched targets at the places (L, M, P, 2) of their pairs: (L, M, P).

    Places are gathered for each target (N, T) rather than targets, which are larger, for each pair.
    """
    layers = torch.arange(len(places), device=places.device)[:, None]
    by_target = places.new_zeros(*masks.shape[:2], len(places), *places.shape[2:])
    by_target[frame, target, layers] = places
    values = sample_points(masks.flatten(0, 1)[:, None], by_target.flatten(0, 1).flatten(1, 2))  # (N*T, 1, L*P)
    return values.view(by_target.shape[:-1])[frame, target, layers]


def _pad(targets: list[Target], device: torch.device) -> tuple[Tensor, Tensor]:
    """Stack targets, padded with empty masks: classes (N, T) int64, masks (N, T, H, W) float32."""
    most = max(max(len(target.classes) for target in targets), 1)
    height, width = targets[0].masks.shape[-2:]
    classes = torch.zeros(len(targets), most, dtype=torch.long, device=device)
    masks = torch.zeros(len(targets), most, height, width, device=device)
    for i, target in enumerate(targets):
        classes[i, : len(target.classes)] = target.classes.to(device)
        masks[i, : len(target.masks)] = target.masks.to(device)
    return classes, masks
