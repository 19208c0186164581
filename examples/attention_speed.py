"""How much faster TPAVI's attention is as a product of small matrices than as a matrix of all pairs of pixels.

`python examples/attention_speed.py [CHANNELS] [SIDE]`: the finest level of a window of five frames at 224 pixels,
256 channels of 56 x 56, unless said otherwise. The matrix of all pairs takes 1 GB there, twice.
"""

import sys
import time

import torch

from avsctl_models.temporal_attention import TemporalAttention, window_means


def all_pairs(block: TemporalAttention, maps: torch.Tensor, sound: torch.Tensor) -> torch.Tensor:
    """The attention as it is published, for one window of frames: maps (T, C, H, W), sound (T, C)."""
    query, value = (layer(maps).transpose(0, 1).flatten(1) for layer in (block.query, block.value))  # (C/2, T*H*W)
    key = block.key(sound[:, :, None, None].expand_as(maps)).transpose(0, 1).flatten(1)
    pairs = query.T @ key  # (T*H*W, T*H*W)
    found = (pairs / pairs.shape[1]) @ value.T
    found = found.T.unflatten(1, (len(maps), *maps.shape[-2:])).transpose(0, 1)
    attended = block.output_norm(block.output(found))
    return block.norm((maps + attended).movedim(1, -1)).movedim(-1, 1)


channels, side = (int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((1, 256), (2, 56)))
torch.manual_seed(0)
torch.set_num_threads(1)
block = TemporalAttention(channels, 128).eval()
torch.nn.init.ones_(block.output_norm.weight)
maps, sound = torch.randn(5, channels, side, side), torch.randn(5, channels)
means = window_means([5], 5, like=maps)
results, seconds = [], []
with torch.inference_mode():
    for attend in (lambda: block(maps, means, sound), lambda: all_pairs(block, maps, sound)):
        times = []
        for _ in range(3):
            start = time.process_time()
            result = attend()
            times.append(time.process_time() - start)
        results.append(result)
        seconds.append(min(times))
error = (results[0] - results[1]).abs().max().item()
print(f"{5 * side * side} pixels: {seconds[0]:.2f} s instead of {seconds[1]:.2f} s, {seconds[1] / seconds[0]:.0f}x; "
      f"largest difference {error:.1e}")  # fmt: skip
