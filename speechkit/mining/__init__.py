"""Mining: from long recordings and messy documents to aligned, scored sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechkit.mining.mined_set import MinedSet, mine

__all__ = ["MinedSet", "mine"]


def __getattr__(name: str) -> Any:
    """Import the pipeline on first use."""
    if name in __all__:
        import importlib

        module = importlib.import_module("speechkit.mining.mined_set")
        globals().update({item: getattr(module, item) for item in __all__})
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
