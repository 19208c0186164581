"""Dataset layouts, the synthetic dataset, and what a model reads."""
