"""Batch norms where several processes learn from parts of one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from avsctl.distributed import add_up, rank, world_size


class RunningStatistics:
    """Moves the running means and variances of N processes as one process would that computes all parts in turn.

    Each part is normalised by its own frames, as `--accumulate` has it; make this before the first part of a step.
    """

    def __init__(self, model: nn.Module):
        norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training] if world_size() > 1 else []
        self.norms = [norm for norm in norms if norm.running_mean is not None]
        self.before = [[buffer.clone() for buffer in norm.buffers()] for norm in self.norms]

    @torch.no_grad()
    def combine(self, parts: Sequence[int]) -> None:
        """Let every process have the statistics after all parts.

        Args:
            parts: how many each process has computed since, by rank; not all none.
        """
        totals = [self._share(norm, before, parts) for norm, before in zip(self.norms, self.before, strict=True)]
        add_up([total for share in totals for total in share])
        for norm, share in zip(self.norms, totals, strict=True):
            for buffer, total in zip(norm.buffers(), share, strict=True):
                buffer.copy_(total)

    def _share(self, norm: _BatchNorm, before: Sequence[Tensor], parts: Sequence[int]) -> list[Tensor]:
        """What this process adds: to where all began, if it is the first, what later parts leave of its own."""
        mine, later = parts[rank()], sum(parts[rank() + 1 :])
        first = mine > 0 and not any(parts[: rank()])
        if not mine:
            return [torch.zeros_like(buffer, dtype=torch.float32) for buffer in before]
        assert norm.num_batches_tracked is not None and norm.momentum is not None
        *_, count = before
        calls = int(norm.num_batches_tracked - count) // mine  # in a part; a block may be called more than once
        kept = 1 - norm.momentum
        moved = []
        for now, then in zip(norm.buffers(), before, strict=True):
            if now is norm.num_batches_tracked:
                moved.append((now if first else now - then).float())
                continue
            own = now if first else now - kept ** (calls * mine) * then
            moved.append(own * kept ** (calls * later))
        return moved
