"""Raw speech into aligned data, representations, units and systems, measured honestly."""

__version__ = "0.1.0"
