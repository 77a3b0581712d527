"""Settings of the three stages."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from speechkit.pipeline import SHARED
from speechkit.slue.systems.endtoend import SystemConfig


class SystemsConfig(msgspec.Struct, frozen=True):
    """Which systems are trained.

    Attributes:
        tasks: TASK=FOLDER with commas between them. A folder holds what `speechkit prepare` writes: ``train.jsonl`` or
            ``fine-tune.jsonl``, ``test.jsonl``, ``dev.jsonl`` if there is one, and for qa the ``-documents`` of each.
        encoders: names, folders or hub ids to be compared, with commas between them.
        finetuned: those of them that are trained along as well, a system of its own each.
        head: the head and its training; its ``encoder`` and ``finetune`` are set for each system.
    """

    tasks: Annotated[str, SHARED] = ""
    encoders: Annotated[str, SHARED] = "log-mel,mfcc,embedded"
    finetuned: str = ""
    head: SystemConfig = SystemConfig()


class PredictConfig(msgspec.Struct, frozen=True):
    """What is judged: ``split`` of every task."""

    tasks: Annotated[str, SHARED] = ""
    split: Annotated[str, SHARED] = "test"


class CompareConfig(msgspec.Struct, frozen=True):
    """Intervals are drawn over ``by``; ``tags`` are of entities; ``compat`` scores as the reference toolkit does."""

    tasks: Annotated[str, SHARED] = ""
    split: Annotated[str, SHARED] = "test"
    by: Literal["utterance", "speaker"] = "utterance"
    tags: Literal["combined", "raw", "any"] = "combined"
    compat: bool = False
    confidence: float = 0.95
    resamples: int = 2000
