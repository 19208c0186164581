"""The steps: each a function of paths and options that returns the path it wrote."""
