"""Syllables from speech encoders: segmenters, thresholds from the data, and their scores."""

from typing import Any

__all__ = ["Segment", "Segmenter", "Thresholds", "make_segmenter", "segment_means"]

_LAZY = {
    "Segment": "segments",
    "Segmenter": "segments",
    "make_segmenter": "segmenters",
    "segment_means": "segments",
    "Thresholds": "thresholds",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
