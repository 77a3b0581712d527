"""Texts spoken by a voice, as clips with a manifest: stages 1 and 2."""

from __future__ import annotations

from speechkit.pipeline import Recipe
from speechkit.tts.stages import say_stages

recipe = Recipe(
    "tts_corpus",
    say_stages(1),
    description="Speak a list of texts: clips and their manifest.",
    next_command="speechkit score-tts {exp}/02-clips/current/manifest.jsonl --out scores",
)
