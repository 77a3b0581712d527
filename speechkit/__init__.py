"""Raw speech into aligned data, representations, units and systems, measured honestly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechkit.asr.load import transcribe
    from speechkit.encoders.load import load_encoder
    from speechkit.metrics.scoring import score
    from speechkit.mining.known_text import align_recording as align
    from speechkit.mining.mined_set import mine
    from speechkit.units.tokenizer import load_tokenizer

__version__ = "0.2.0"
__all__ = ["__version__", "align", "load_encoder", "load_tokenizer", "mine", "score", "transcribe"]
_WHERE = {
    "align": "mining.known_text:align_recording",
    "load_encoder": "encoders.load",
    "load_tokenizer": "units.tokenizer",
    "mine": "mining.mined_set",
    "score": "metrics.scoring",
    "transcribe": "asr.load",
}


def __getattr__(name: str) -> Any:
    """Load a function when it is first asked for: importing speechkit loads neither NumPy nor torch."""
    import importlib

    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, function = _WHERE[name].partition(":")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), function or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
