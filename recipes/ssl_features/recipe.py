"""Frames of any layer of any encoder for a manifest: stages 1 and 2."""

from __future__ import annotations

from speechkit.encoders.stages import feature_stages
from speechkit.pipeline import Recipe

recipe = Recipe(
    "ssl_features",
    feature_stages(1),
    description="Encode a manifest with any speech encoder.",
    next_command="speechkit units train {exp}/02-store/current/store --clusters 100 --out kmeans-100",
)
