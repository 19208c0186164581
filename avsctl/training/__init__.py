"""Training: restore, train, validate, commit."""
