"""Discrete units of speech: codebooks, quantizers that survive noise and speed changes, and how both are measured."""
