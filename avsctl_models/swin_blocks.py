"""timm's Swin blocks, computed with less memory traffic."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from timm.models.swin_transformer import WindowAttention, window_partition, window_reverse
from torch import Tensor

from avsctl_models.pieces import in_pieces

_LOGITS = 2**20  # attention logits of one piece, few enough for a CPU's cache


def run_stage(stage: Any, x: Tensor) -> Tensor:
    """Run one of timm's Swin stages on maps (N, H, W, C) that its windows tile, once it has halved them.

    Of frames whose attention stochastic depth drops, nothing is computed on a CPU.
    """
    x = stage.downsample(x)
    mask = None
    for block in stage.blocks:
        shifted = any(block.shift_size)
        if shifted and mask is None:
            mask = block.get_attn_mask(x)  # the same in all blocks of a stage
        x = _add_attention(block, x, mask if shifted else None)
        x = _add_mlp(block, x)
    return x


def _add_attention(block: Any, x: Tensor, mask: Tensor | None) -> Tensor:
    path = block.drop_path1
    dropping = isinstance(path, DropPath) and path.training and path.drop_prob > 0
    if not dropping or x.device.type != "cpu":
        return x + path(_attend(block, x, mask))
    # Drawn as timm draws them
    keep = 1 - path.drop_prob
    scale = x.new_empty(len(x), 1, 1, 1).bernoulli_(keep) / keep
    kept = scale.flatten().nonzero()[:, 0]
    if not len(kept) and torch.is_grad_enabled():
        kept = kept.new_zeros(1)  # weights that train get a gradient of zero, not none
    if not len(kept):
        return x
    return x.index_add(0, kept, (_attend(block, x[kept], mask) * scale[kept]).to(x.dtype))


def _attend(block: Any, x: Tensor, mask: Tensor | None) -> Tensor:
    _, height, width, dim = x.shape
    x = block.norm1(x)
    across, down = block.shift_size
    if mask is not None:
        x = torch.roll(x, (-across, -down), (1, 2))
    windows = block.attn(window_partition(x, block.window_size).flatten(1, 2), mask)
    x = window_reverse(windows.view(-1, *block.window_size, dim), block.window_size, height, width)
    return x if mask is None else torch.roll(x, (across, down), (1, 2))


def _add_mlp(block: Any, x: Tensor) -> Tensor:
    tokens = x.flatten(0, 2)
    added = in_pieces(lambda part: part + block.mlp(block.norm2(part)), tokens, each=block.mlp.fc1.out_features)
    return added.view_as(x)


class PiecewiseWindowAttention(WindowAttention):
    """timm's window attention, parameters and results the same, in less memory and time.

    timm holds the attention weights, or at least the masks, of all windows of all frames. Here they are fused where
    there is a gradient to compute or a GPU, and else computed in pieces that stay in a CPU's cache.
    """

    relative_position_index: Tensor

    @classmethod
    def like(cls, attention: WindowAttention) -> PiecewiseWindowAttention:
        """Make one with the sizes and weights of timm's."""
        made = cls(attention.dim, attention.num_heads, window_size=attention.window_size)
        made.load_state_dict(attention.state_dict())
        return made

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend inside each window.

        Args:
            x: (N * W, T, C) tokens of the W windows of each of N frames.
            mask: (W, T, T) added to the attention logits of each window, or None.
        Returns: (N * W, T, C).
        """
        tokens = x.shape[1]
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))  # (N * W, T, 3, heads, C / heads)
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        bias = bias.view(tokens, tokens, -1).permute(2, 0, 1)[None].contiguous()
        bias = bias if mask is None else bias + mask[:, None].to(bias.dtype)  # (1 or W, heads, T, T)
        fused = x.device.type != "cpu" or qkv.requires_grad or bias.requires_grad
        mixed = _fused(qkv, bias) if fused else _in_pieces(qkv, bias)
        return self.proj(mixed.flatten(2))


def _fused(qkv: Tensor, bias: Tensor) -> Tensor:
    """Attend in all windows, those of one frame at a time where windows have masks: (N * W, T, heads, D)."""
    parts = qkv.permute(2, 0, 3, 1, 4).split(len(qkv) if len(bias) == 1 else len(bias), 1)
    mixed = [F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2) for q, k, v in parts]
    return mixed[0] if len(mixed) == 1 else torch.cat(mixed)


def _in_pieces(qkv: Tensor, bias: Tensor) -> Tensor:
    """The same for a few windows at a time."""
    windows, tokens, _, heads, dim = qkv.shape
    most = max(1, _LOGITS // bias[0].numel())
    period = len(bias)
    step = most if period == 1 else max(n for n in range(1, min(most, period) + 1) if period % n == 0)
    mixed = qkv.new_empty(windows, tokens, heads, dim)
    for start in range(0, windows, step):
        query, key, value = qkv[start : start + step].permute(2, 0, 3, 1, 4).flatten(1, 2)
        place = bias.expand(len(query) // heads, -1, -1, -1) if period == 1 else bias[start % period :][:step]
        logits = torch.baddbmm(place.flatten(0, 1), query, key.transpose(1, 2), alpha=dim**-0.5)
        attended = torch.bmm(logits.softmax(-1), value)
        mixed[start : start + step] = attended.unflatten(0, (-1, heads)).transpose(1, 2)
    return mixed
