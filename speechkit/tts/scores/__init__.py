"""Objective scores of synthetic speech: words, speaker, noise, pitch, timbre and timing, with intervals and bounds."""
