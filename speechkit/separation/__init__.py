"""Separation of overlapping speakers into one track per speaker."""
