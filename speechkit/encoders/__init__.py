"""Speech encoders behind one interface: any layer, padding-exact, for recordings of any length."""

from typing import Any

from speechkit.encoders.spec import EncoderSpec

__all__ = ["EncoderSpec", "FeatureStore", "FeatureWriter", "load_encoder"]

_LAZY = {"load_encoder": "load", "FeatureStore": "store", "FeatureWriter": "feature_writer"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
