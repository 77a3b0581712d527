"""Settings of the four stages."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from speechkit.pipeline import NEUTRAL, SHARED
from speechkit.slue.systems.system_spec import SystemConfig

ENCODERS = "log-mel,mfcc,embedded"


class FeaturesConfig(msgspec.Struct, frozen=True):
    """What is encoded.

    Attributes:
        tasks: TASK=FOLDER with commas between them. A folder holds what `speechkit prepare` writes: ``train.jsonl`` or
            ``fine-tune.jsonl``, ``test.jsonl``, ``dev.jsonl`` if there is one, and for qa the ``-documents`` of each.
        encoders: names, folders or hub ids to be compared, with commas between them; the others are compared with the
            first and with the best.
        split: by which the systems will be judged; it is looked for before anything is computed.
    """

    tasks: Annotated[str, SHARED] = ""
    encoders: Annotated[str, SHARED] = ENCODERS
    split: Annotated[str, SHARED, NEUTRAL] = "test"


class SystemsConfig(msgspec.Struct, frozen=True):
    """Which systems are trained.

    Attributes:
        tasks: see `FeaturesConfig`.
        encoders: see `FeaturesConfig`.
        finetuned: those of them that are trained along as well, a system of its own each.
        head: the head and its training; its ``encoder`` and ``finetune`` are set for each system.
    """

    tasks: Annotated[str, SHARED] = ""
    encoders: Annotated[str, SHARED] = ENCODERS
    finetuned: str = ""
    head: SystemConfig = SystemConfig()


class PredictConfig(msgspec.Struct, frozen=True):
    """What is judged: ``split`` of every task. ``compat`` chooses the offset of localisation as the toolkit does."""

    tasks: Annotated[str, SHARED] = ""
    split: Annotated[str, SHARED] = "test"
    compat: Annotated[bool, SHARED] = False


class CompareConfig(msgspec.Struct, frozen=True):
    """Intervals are drawn over ``by``; ``tags`` are of entities; ``compat`` scores as the reference toolkit does."""

    tasks: Annotated[str, SHARED] = ""
    split: Annotated[str, SHARED] = "test"
    by: Literal["utterance", "speaker"] = "utterance"
    tags: Literal["combined", "raw", "any"] = "combined"
    compat: Annotated[bool, SHARED] = False
    confidence: float = 0.95
    resamples: int = 2000
