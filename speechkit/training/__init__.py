"""One training loop for one or many processes, with exact resume."""

from typing import Any

from speechkit.training.config import TrainingConfig

__all__ = ["EarlyStopping", "LengthBuckets", "Objective", "TrainingConfig", "Turn", "train", "train_stage"]

_LAZY = {
    "EarlyStopping": "early_stopping",
    "LengthBuckets": "buckets",
    "Objective": "objective",
    "Turn": "objective",
    "train": "loop",
    "train_stage": "stage",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
