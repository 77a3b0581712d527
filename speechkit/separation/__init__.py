"""Separation of speakers who talk at the same time into one track each."""
