"""Discrete units of speech: tokenizers, codebooks and other quantizers, acoustic BPE, and unit statistics."""

from typing import Any

__all__ = ["SpeechTokenizer", "Units", "load_tokenizer"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from speechkit.units import tokenizer

    return getattr(tokenizer, name)
