"""Vocoders: frames, encoder features or units to waveforms."""

from typing import Any

__all__ = ["Vocoder", "VocoderConfig", "load_vocoder"]

_LAZY = {"Vocoder": "vocoder", "VocoderConfig": "config", "load_vocoder": "load"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
