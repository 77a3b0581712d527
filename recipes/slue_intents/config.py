"""Settings of the six stages."""

from __future__ import annotations

from typing import Annotated

import msgspec

from speechkit.augment.waveforms import NO_AUGMENTATION, AugmentConfig
from speechkit.pipeline import NEUTRAL, SHARED
from speechkit.slue.systems.heads import Pooling
from speechkit.training import TrainingConfig


class PrepareConfig(msgspec.Struct, frozen=True):
    """How the recordings are parted.

    A fold judges what was trained on the others. Speakers stay in one fold; where the corpus names none, recordings are
    put into ``groups`` by how they sound (voice and microphone), and a group stays in one fold.
    """

    manifest: Annotated[str | None, SHARED] = None
    folds: Annotated[int, SHARED, msgspec.Meta(ge=2, le=20)] = 3
    groups: Annotated[int, msgspec.Meta(ge=2)] = 60


class FeaturesConfig(msgspec.Struct, frozen=True):
    """The encoders to compare, with commas between them: names, folders or hub ids."""

    manifest: Annotated[str | None, SHARED] = None
    encoders: Annotated[str, SHARED] = "log-mel,mfcc,embedded"


class EndToEndConfig(msgspec.Struct, frozen=True):
    """Heads over frozen encoders; ``shares`` of the training recordings make the learning curve."""

    manifest: Annotated[str | None, SHARED] = None
    encoders: Annotated[str, SHARED] = "log-mel,mfcc,embedded"
    folds: Annotated[int, SHARED] = 3
    shares: Annotated[tuple[float, ...], SHARED] = (0.1, 0.25, 0.5, 1.0)
    pooling: Pooling = "peak"
    width: int = 128
    dropout: float = 0.3
    patience: int = 4
    batch_seconds: float = 80.0
    augment: AugmentConfig = msgspec.structs.replace(NO_AUGMENTATION, time_mask_every=100, time_width=10)
    loop: TrainingConfig = TrainingConfig(
        steps=400,
        learning_rates=(2e-3,),
        warmup_steps=30,
        weight_decay=0.05,
        average_decay=0.98,
        evaluate_every=40,
        save_every=200,
        log_every=40,
    )


class FineTuneConfig(msgspec.Struct, frozen=True):
    """The encoder that is trained along, from the heads of the stage before; ``folds_tuned`` 0 leaves it out."""

    manifest: Annotated[str | None, SHARED] = None
    encoder: str = "embedded"
    folds: Annotated[int, SHARED] = 3
    folds_tuned: int = 3
    batch_seconds: float = 60.0
    encoder_rate: float = 0.1
    patience: int = 3
    augment: AugmentConfig = msgspec.structs.replace(NO_AUGMENTATION, speed=0.5, gain_db=(-20.0, 0.0))
    loop: TrainingConfig = TrainingConfig(
        steps=150,
        learning_rates=(1e-3,),
        warmup_steps=15,
        weight_decay=0.05,
        average_decay=0.95,
        evaluate_every=25,
        save_every=50,
        log_every=25,
    )


class PipelineConfig(msgspec.Struct, frozen=True):
    """Recognisers before a text classifier, with commas between them; ``regularization`` is of the classifier.

    A manifest with texts also gets the system ``oracle``: the classifier on transcripts.
    """

    manifest: Annotated[str | None, SHARED] = None
    recognizers: str = "embedded"
    lang: str = "en"
    folds: Annotated[int, SHARED] = 3
    shares: Annotated[tuple[float, ...], SHARED] = (0.1, 0.25, 0.5, 1.0)
    regularization: float = 10.0


class ReportConfig(msgspec.Struct, frozen=True):
    """How intervals are drawn."""

    confidence: float = 0.95
    resamples: int = 2000
    title: Annotated[str, NEUTRAL] = "Spoken commands"
