"""Invariant quantizers: a head over an encoder, trained on perturbed audio and decoded by a Viterbi path."""
