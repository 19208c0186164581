"""Weights of other programs, under our names: one module per source, all with `convert` and `build`."""
