"""Quantizers whose units stay when the sound changes: a small network over an encoder, read by a Viterbi path."""
