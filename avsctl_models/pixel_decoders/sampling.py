"""Reading weighted points of several feature maps, the inner part of multi-scale deformable attention."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor
from torch.autograd.function import once_differentiable

Sizes = list[tuple[int, int]]

_POINTS = 2**18  # computed at a time, few enough for a CPU's cache


def sample_levels(values: Tensor, x: Tensor, y: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
    """Sum what every query reads bilinearly at weighted points of all levels; nothing lies outside a level.

    On a CPU the points' four neighbours are summed as rows of a table (`sample_rows`), elsewhere by `grid_sample`.

    Args:
        values: (N, L, H, D) float32 of all levels, one after the other, each row by row; H heads.
        x, y: (N, Q, H, levels, P) places in pixels of their level; 0 is the centre of the first one.
        weights: (N, Q, H, levels, P).
        sizes: (height, width) of each level.
    Returns: (N, Q, H, D).
    Source: Deformable DETR (ICLR 2021), Eq. 3.
    """
    rows = values.device.type == "cpu" and min(min(size) for size in sizes) > 1 and not torch.compiler.is_compiling()
    return (sample_rows if rows else sample_grids)(values, x, y, weights, sizes)


def sample_grids(values: Tensor, x: Tensor, y: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
    """`sample_levels` with one `grid_sample` per level."""
    frames, _, heads, _ = values.shape
    maps = values.permute(0, 2, 3, 1).flatten(0, 1)  # (N*H, D, L)
    total = values.new_zeros(())
    start = 0
    for level, (height, width) in enumerate(sizes):
        level_map = maps[..., start : start + height * width].unflatten(2, (height, width))
        start += height * width
        scaled = ((2 * x[..., level, :] + 1) / width - 1, (2 * y[..., level, :] + 1) / height - 1)
        places = torch.stack(scaled, -1).transpose(1, 2).flatten(0, 1)  # (N*H, Q, P, 2), borders at -1 and 1
        sampled = F.grid_sample(level_map, places, align_corners=False)  # (N*H, D, Q, P)
        total = total + (sampled * weights[..., level, :].transpose(1, 2).flatten(0, 1)[:, None]).sum(-1)
    return total.unflatten(0, (frames, heads)).permute(0, 3, 1, 2)


def sample_rows(values: Tensor, x: Tensor, y: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
    """`sample_levels` for CPUs and levels of at least 2 x 2: each neighbour is a row of a table, each query a bag.

    Rows lie together in memory, samples are never kept, and the numbers of a few frames at a time stay in the
    cache.
    """
    return _SampleRows.apply(values.contiguous(), x.contiguous(), y.contiguous(), weights.contiguous(), sizes)


class _SampleRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, x: Tensor, y: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
        ctx.save_for_backward(values, x, y, weights)
        ctx.sizes = sizes
        layout = _Layout(values, weights, sizes)
        made = values.new_empty(*weights.shape[:3], values.shape[-1])
        for table, *points, part in layout.parts(values, x, y, weights, made):
            _read(table, layout.neighbours(*points), part.flatten(0, 2))
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, x, y, weights = ctx.saved_tensors
        layout = _Layout(values, weights, ctx.sizes)
        wanted = ctx.needs_input_grad
        by_part = []
        for table, *points, given in layout.parts(values, x, y, weights, gradients[0].contiguous()):
            neighbours = layout.neighbours(*points)
            given = given.flatten(0, 2)
            by_table = _table_gradient(table, neighbours, given) if wanted[0] else None
            by_points = _point_gradients(table, neighbours, given, points[2]) if any(wanted[1:4]) else (None,) * 3
            by_part.append((by_table, *by_points))
        joined = [None if parts[0] is None else torch.cat(parts) for parts in zip(*by_part, strict=True)]
        return joined[0], *joined[1:], None


@dataclass
class _Axis:
    """Where points lie between two neighbours along an axis: (n, Q, H*K) each."""

    first: Tensor  # the lower neighbour's number, such that both lie inside
    offset: Tensor  # from the lower neighbour: 0 to 1, unless the point is outside
    low: Tensor  # weight of the lower neighbour
    high: Tensor

    @classmethod
    def of(cls, places: Tensor, last: Tensor) -> _Axis:
        first = torch.minimum(places.floor().clamp_(min=0), last).nan_to_num_()
        offset = places - first
        low = offset.abs().neg_().add_(1).clamp_(min=0)
        high = (offset - 1).abs_().neg_().add_(1).clamp_(min=0)
        return cls(first, offset, low, high)

    def slopes(self) -> tuple[Tensor, Tensor]:
        """Derivatives of both weights by the place; at a pixel's centre those to its right, as `grid_sample` has it."""
        cell = self.offset.floor()
        before, inside, behind = ((cell == edge).float() for edge in (-1, 0, 1))
        return before.sub_(inside), inside.sub_(behind)


@dataclass
class _Neighbours:
    """The four neighbours of n frames' points as rows of their table."""

    across: _Axis
    down: _Axis
    rows: tuple[Tensor, Tensor]  # (n*Q*H, K) int32 of the upper left and the lower left one; the right one is `step` on
    step: int
    upper: Tensor  # (n, Q, H*K) the points' own weights, times those along the vertical axis
    lower: Tensor

    def corners(self) -> list[tuple[Tensor, int, Tensor]]:
        """Rows, what is to be added to them, and weights (n*Q*H, K) of all four."""
        shape = self.rows[0].shape
        return [
            (rows, start, (vertical * horizontal).view(shape))
            for rows, vertical in zip(self.rows, (self.upper, self.lower), strict=True)
            for start, horizontal in ((0, self.across.low), (self.step, self.across.high))
        ]


class _Layout:
    """Which row of a table holds what; the columns are the points of all heads."""

    def __init__(self, values: Tensor, weights: Tensor, sizes: Sizes):
        self.heads, self.points = weights.shape[2], weights[0, 0, 0].numel()
        self.frames = max(1, _POINTS // max(1, weights[0].numel()))
        self.height = values.shape[1] * self.heads  # rows of one frame
        heights, widths = torch.tensor(sizes, dtype=torch.float32).repeat_interleave(weights.shape[-1], 0).T
        starts = torch.tensor([0, *(height * width for height, width in sizes[:-1])]).cumsum(0)
        starts = starts.repeat_interleave(weights.shape[-1]) * self.heads
        self.first = (starts + torch.arange(self.heads)[:, None]).flatten().float()
        self.last_x, self.last_y = (widths - 2).repeat(self.heads), (heights - 2).repeat(self.heads)
        self.line = (widths * self.heads).repeat(self.heads)
        self.lines = self.line.int()

    def parts(self, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """The tensors of a few frames at a time."""
        return zip(*(tensor.split(self.frames) for tensor in tensors), strict=True)

    def neighbours(self, x: Tensor, y: Tensor, weights: Tensor) -> _Neighbours:
        x, y, weights = x.flatten(2), y.flatten(2), weights.flatten(2)
        across, down = _Axis.of(x, self.last_x), _Axis.of(y, self.last_y)
        # float32 counts exactly up to 2^24 rows of one frame
        rows = (down.first * self.line).add_(across.first, alpha=self.heads).add_(self.first).int()
        rows += torch.arange(len(rows), dtype=torch.int32)[:, None, None] * self.height
        rows, below = rows.view(-1, self.points), (rows + self.lines).view(-1, self.points)
        return _Neighbours(across, down, (rows, below), self.heads, weights * down.low, weights * down.high)


def _read(table: Tensor, neighbours: _Neighbours, made: Tensor) -> None:
    flat = table.flatten(0, 2)
    first, second, *others = (
        F.embedding_bag(rows, flat[start:], mode="sum", per_sample_weights=weights)
        for rows, start, weights in neighbours.corners()
    )
    torch.add(first, second, out=made)
    for each in others:
        made += each


def _table_gradient(table: Tensor, neighbours: _Neighbours, given: Tensor) -> Tensor:
    """What the values get back: the transposed sum, which scipy does without sorting."""
    total = np.zeros(table.flatten(0, 2).shape, np.float32)
    bags, points = neighbours.rows[0].shape
    pointer = np.arange(0, bags * points + 1, points, dtype=np.int32)
    for rows, start, weights in neighbours.corners():
        entries = (weights.flatten().numpy(), rows.flatten().numpy(), pointer)
        total[start:] += csr_array(entries, shape=(bags, len(total) - start)).T @ given.numpy()
    return torch.from_numpy(total).view_as(table)


def _point_gradients(
    table: Tensor, neighbours: _Neighbours, given: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What the points' x, y and weights get back, from what every neighbour's weight does."""
    flat = table.flatten(0, 2)
    parts = []
    bags, points = neighbours.rows[0].shape
    pointer = torch.arange(0, bags * points + 1, points, dtype=torch.int32)
    for rows, start, each in neighbours.corners():
        read = flat[start:]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that sparse tensors in rows are in beta
            # Rows come in any order, and twice; nothing here minds.
            wanted = torch.sparse_csr_tensor(
                pointer, rows.flatten(), each.flatten(), (bags, len(read)), check_invariants=False
            )
            products = torch.sparse.sampled_addmm(wanted, given, read.T, beta=0.0).values()
        parts.append(products.view_as(neighbours.upper))
    across, down = neighbours.across, neighbours.down
    left, right = across.slopes()
    above, below = down.slopes()
    upper = (parts[0] * across.low).addcmul_(parts[1], across.high)
    lower = (parts[2] * across.low).addcmul_(parts[3], across.high)
    by_x = (parts[0] * neighbours.upper).addcmul_(parts[2], neighbours.lower).mul_(left)
    by_x.addcmul_((parts[1] * neighbours.upper).addcmul_(parts[3], neighbours.lower), right)
    by_y = (above * upper).addcmul_(below, lower).mul_(weights.flatten(2))
    by_weights = (upper * down.low).addcmul_(lower, down.high)
    return by_x.view_as(weights), by_y.view_as(weights), by_weights.view_as(weights)
