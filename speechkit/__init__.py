"""Raw speech into aligned data, representations, units and systems, measured honestly."""
