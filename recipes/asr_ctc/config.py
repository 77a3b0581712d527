"""Settings of the four stages."""

from __future__ import annotations

from typing import Annotated

import msgspec

from speechkit.asr.ctc_objective import CtcTrainingConfig
from speechkit.pipeline import NEUTRAL, SHARED


class PrepareConfig(msgspec.Struct, frozen=True):
    """Which utterances to learn from and to be judged by."""

    train_manifest: Annotated[str | None, SHARED] = None
    test_manifest: Annotated[str | None, SHARED] = None
    normalizer: str = "simple"
    min_seconds: float = 0.5
    max_seconds: float = 29.0
    max_characters_per_second: float = 28.0


class TrainConfig(CtcTrainingConfig, frozen=True):
    """The model and its training, see `CtcTrainingConfig`."""

    train_manifest: Annotated[str | None, SHARED] = None
    test_manifest: Annotated[str | None, SHARED] = None
    lang: Annotated[str, SHARED] = "en"
    tensorboard: Annotated[bool, NEUTRAL] = False
    dev_utterances: Annotated[int, NEUTRAL] = 50


class DecodeConfig(msgspec.Struct, frozen=True):
    """How to read the test utterances: whole files through the windows that users get."""

    test_manifest: Annotated[str | None, SHARED] = None
    lang: Annotated[str, SHARED] = "en"


class ScoreConfig(msgspec.Struct, frozen=True):
    """How to count errors."""

    normalizer: str = "none"
