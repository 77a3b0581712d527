"""Settings of the stages."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from speechkit.pipeline import NEUTRAL, SHARED
from speechkit.training import TrainingConfig
from speechkit.training.augment import AugmentConfig


class PrepareConfig(msgspec.Struct, frozen=True):
    """Which recordings to learn from; ``dev_manifest`` only to look how training goes."""

    train_manifest: Annotated[str | None, SHARED] = None
    dev_manifest: Annotated[str | None, SHARED] = None
    min_seconds: float = 1.0


class TrainConfig(msgspec.Struct, frozen=True):
    """The family, the encoder and its training.

    ``init`` is an encoder to go on from; ``teacher``, for the distilled family, a Whisper model: hub id, folder, or a
    CTranslate2 ``model.bin``.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    dev_manifest: Annotated[str | None, SHARED] = None
    family: Literal["distilled"] = "distilled"
    init: str | None = None
    teacher: str | None = None
    teacher_layers: tuple[int, ...] = (0, 2, 4)
    batch_seconds: float = 40.0
    crop_seconds: float = 10.0
    damage: AugmentConfig = AugmentConfig(speed=0.0, room=0.2, noise=0.4, noise_db=(5.0, 25.0), gain_db=(0.0, 0.0))
    dev_batches: Annotated[int, NEUTRAL] = 10
    tensorboard: Annotated[bool, NEUTRAL] = False
    loop: TrainingConfig = TrainingConfig(learning_rates=(1e-3, 3e-4))
