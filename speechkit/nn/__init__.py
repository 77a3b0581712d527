"""Neural network layers shared by several models."""
