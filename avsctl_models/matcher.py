"""One-to-one matching of queries and targets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor


class NotFiniteError(ValueError):
    """A model gave NaN or infinite numbers, of which no loss can be made."""


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Read maps bilinearly at points, zero outside.

    Args:
        maps: (B, C, H, W).
        points: (B, P, 2) as (x, y) in [0, 1], where 0 and 1 are the outer borders of the map.
    Returns: (B, C, P).
    """
    return F.grid_sample(maps, 2 * points[:, None] - 1, align_corners=False)[:, :, 0]


def matching_costs(
    class_logits: Tensor,
    mask_values: Tensor,
    target_values: Tensor,
    target_classes: Tensor,
    *,
    class_cost: float,
    mask_cost: float,
    dice_cost: float,
) -> Tensor:
    """Cost of giving each target to each query.

    Args:
        class_logits: (N, Q, K+1).
        mask_values: (N, Q, P) mask logits at the points.
        target_values: (N, T, P) target masks at the same points, in [0, 1].
        target_classes: (N, T) int64.
        class_cost, mask_cost, dice_cost: Weights.
    Returns: (N, Q, T).
    Source: Stepping Stones (ECCV 2024), Eq. 2.
    """
    queries = class_logits.shape[1]
    chosen = target_classes[:, None].expand(-1, queries, -1)
    classes = -class_logits.float().softmax(-1).gather(2, chosen)

    # softplus(-a) t + softplus(a) (1 - t) = softplus(a) - a t
    transposed = target_values.transpose(1, 2)
    overlap = mask_values @ transposed
    cross_entropy = (F.softplus(mask_values).sum(-1, keepdim=True) - overlap) / mask_values.shape[-1]

    squashed = mask_values.sigmoid()
    shared = 2 * (squashed @ transposed) + 1
    dice = 1 - shared / (squashed.sum(-1, keepdim=True) + target_values.sum(-1)[:, None] + 1)
    return class_cost * classes + mask_cost * cross_entropy + dice_cost * dice


def assign(costs: Tensor, counts: list[int]) -> Tensor:
    """Find the cheapest one-to-one assignment of every frame of every prediction, in one transfer to the CPU.

    Args:
        costs: (L, N, Q, T) costs of L predictions; targets beyond a frame's count are padding.
        counts: Number of targets of each frame.
    Returns: (L, 3, M) int64 on the CPU: frame, query and target of all matched pairs, frames ascending and
        queries ascending within a frame. M is the same for all predictions.
    Raises: NotFiniteError: If costs are NaN or infinite.
    """
    table = costs.detach().to("cpu", torch.float32).numpy()
    return torch.stack([_assign_one(layer, counts) for layer in table])


def _assign_one(costs, counts: list[int]) -> Tensor:
    triples = []
    for frame, count in enumerate(counts):
        try:
            rows, columns = linear_sum_assignment(costs[frame, :, :count])
        except ValueError as error:
            raise NotFiniteError(f"Matching costs of frame {frame} are not finite") from error
        pairs = torch.from_numpy(rows), torch.from_numpy(columns)
        triples.append(torch.stack([torch.full_like(pairs[0], frame), *pairs]))
    return torch.cat(triples, 1)
