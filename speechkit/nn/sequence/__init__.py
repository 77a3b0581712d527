"""Causal sequence mixers with one interface: a parallel form for training, and a streaming form with a state."""
