"""Analyses of sequence models: degeneration of samples, and tokenization."""
