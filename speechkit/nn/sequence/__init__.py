"""Causal sequence layers behind one interface: a parallel form for training, a streaming form that carries a state."""
