"""Weights of other programs, under our names."""
