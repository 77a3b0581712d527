"""Encode a manifest with any speech encoder, in parts, on any backend."""
