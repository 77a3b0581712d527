"""Manifests: the record of an utterance, and reading, writing, checking, splitting and converting them."""
