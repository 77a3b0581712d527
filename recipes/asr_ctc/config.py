"""Settings of the four stages."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from speechkit.augment.waveforms import AugmentConfig
from speechkit.pipeline import NEUTRAL, SHARED
from speechkit.training import TrainingConfig


class PrepareConfig(msgspec.Struct, frozen=True):
    """Which utterances to learn from and to be judged by."""

    train_manifest: Annotated[str | None, SHARED] = None
    test_manifest: Annotated[str | None, SHARED] = None
    normalizer: str = "simple"
    min_seconds: float = 0.5
    max_seconds: float = 29.0
    max_characters_per_second: float = 28.0


class TrainConfig(msgspec.Struct, frozen=True):
    """The model and its training.

    ``init`` is what to start from: a folder of one of our models, a CTranslate2 Whisper ``model.bin``, or with
    ``family: huggingface`` any encoder by folder or hub id. Without it our model starts from random weights.

    ``frozen_layers`` leaves the convolutions and so many encoder layers as they are, and computes their outputs once
    for each of ``variants`` variations of an utterance: a step costs a fraction of one that tunes everything.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    test_manifest: Annotated[str | None, SHARED] = None
    family: Literal["speechkit", "huggingface"] = "speechkit"
    init: str | None = None
    lang: Annotated[str, SHARED] = "en"
    width: int = 384
    heads: int = 6
    encoder_layers: int = 4
    top_layers: int = 2
    dropout: float = 0.0
    batch_seconds: float = 40.0
    encoder_rate: float = 0.2
    frozen_layers: int | None = None
    variants: int = 3
    tensorboard: Annotated[bool, NEUTRAL] = False
    dev_utterances: Annotated[int, NEUTRAL] = 50
    augment: AugmentConfig = AugmentConfig()
    loop: TrainingConfig = TrainingConfig(learning_rates=(3e-4,))


class DecodeConfig(msgspec.Struct, frozen=True):
    """How to read the test utterances: whole files through the windows that users get."""

    test_manifest: Annotated[str | None, SHARED] = None
    lang: Annotated[str, SHARED] = "en"


class ScoreConfig(msgspec.Struct, frozen=True):
    """How to count errors."""

    normalizer: str = "none"
