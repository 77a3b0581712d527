"""Sequences out of a `speechkit.lm.interface.SequenceModel`: samples, beams, and checked drafts."""
