"""Sound to embeddings: the log-mel front end, the networks behind it, and one encoder per name."""
