"""Syllables without labels: silver alignments to judge by, Sylber training in two stages, tokens and scores."""
