"""SLUE systems: pipelines of a recogniser and a text model, and end-to-end heads on a speech encoder."""
