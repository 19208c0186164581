"""Prints how fast this machine multiplies float32 matrices, in GFLOP/s: the yardstick for the times of the scripts."""

from avsctl.bench.machine import matmul_rate

print(round(matmul_rate() / 1e9))
