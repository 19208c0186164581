"""Prints how fast this machine multiplies float32 matrices, in GFLOP/s: the yardstick for the times of the scripts."""

import time

import torch

SIDE, REPEATS = 1536, 5

left, right = torch.randn(2, SIDE, SIDE)
left @ right
rates = []
for _ in range(REPEATS):
    start = time.perf_counter()
    left @ right
    rates.append(2 * SIDE**3 / (time.perf_counter() - start) / 1e9)
print(round(sorted(rates)[REPEATS // 2]))
