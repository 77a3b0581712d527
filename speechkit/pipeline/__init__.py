"""Stages, fingerprints, a runner and its backends. Knows no speech."""

from speechkit.pipeline.arrays import read_record_arrays
from speechkit.pipeline.context import Context
from speechkit.pipeline.interrupt import Interrupted
from speechkit.pipeline.recipe import Recipe
from speechkit.pipeline.runner import outputs, run_recipe
from speechkit.pipeline.stage import (
    NEUTRAL,
    SHARED,
    Drop,
    DropRecord,
    NoConfig,
    Output,
    Resources,
    Retry,
    Stage,
    Value,
    Worker,
    external,
    model,
    stage,
)

__all__ = [
    "NEUTRAL",
    "SHARED",
    "Context",
    "Drop",
    "DropRecord",
    "Interrupted",
    "NoConfig",
    "Output",
    "Recipe",
    "Resources",
    "Retry",
    "Stage",
    "Value",
    "Worker",
    "external",
    "model",
    "outputs",
    "read_record_arrays",
    "run_recipe",
    "stage",
]
