"""Settings of the stages."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from speechkit.augment.waveforms import AugmentConfig
from speechkit.pipeline import NEUTRAL, SHARED
from speechkit.training import TrainingConfig

Family = Literal["contrastive", "predictive", "generative", "distilled"]


class PrepareConfig(msgspec.Struct, frozen=True):
    """Which recordings to learn from; ``dev_manifest`` only to look how training goes.

    ``check_audio`` reads every recording once, to drop what cannot be read; without it, training stops there.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    dev_manifest: Annotated[str | None, SHARED] = None
    min_seconds: float = 1.0
    check_audio: bool = True


class TargetsConfig(msgspec.Struct, frozen=True):
    """What the predictive family predicts: clusters of an encoder's frames; the other families need none.

    The first iteration takes ``mfcc`` and 100 clusters, a second one the first one's folder, a middle layer and 500.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    dev_manifest: Annotated[str | None, SHARED] = None
    family: Annotated[Family, SHARED] = "predictive"
    encoder: str = "mfcc"
    layer: int | None = None
    clusters: int = 100
    sampled_frames: int = 300_000
    passes: int = 10


class TrainConfig(msgspec.Struct, frozen=True):
    """The family, the encoder and its training.

    ``init`` is an encoder to go on from; ``teacher``, for the distilled family, a Whisper model: hub id, folder, or a
    CTranslate2 ``model.bin``. ``mask_start_share`` and ``mask_span`` are of the contrastive and predictive families,
    ``seen_weight`` of the predictive one: what the frames weigh that are not masked. ``feature_gradient`` and
    ``feature_penalty`` are of both: what gradients of the convolutions are multiplied by, and what the mean square of
    their output weighs.
    ``codebooks`` to ``equal_negatives`` are of the contrastive one: ``diversity`` is the weight of an even use of
    codes, ``equal_negatives`` counts negatives with the target's codes. ``half`` stores float16. ``processes`` of this
    machine train together, 0: one for each GPU; a step takes ``loop.accumulation`` batches from each.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    dev_manifest: Annotated[str | None, SHARED] = None
    family: Annotated[Family, SHARED] = "predictive"
    size: Literal["tiny", "small", "base"] = "small"
    init: str | None = None
    teacher: str | None = None
    teacher_layers: tuple[int, ...] = (0, 2, 4)
    mask_start_share: float = 0.08
    mask_span: int = 10
    seen_weight: float = 0.0
    feature_gradient: float = 0.1
    feature_penalty: float = 10.0
    layer_drop: float = 0.05
    dropout: float = 0.1
    codebooks: int = 2
    codes: int = 320
    negatives: int = 100
    diversity: float = 0.1
    equal_negatives: bool = False
    ahead: int = 2
    half: bool = False
    batch_seconds: float = 40.0
    crop_seconds: float = 10.0
    damage: AugmentConfig = AugmentConfig(speed=0.0, room=0.2, noise=0.4, noise_db=(5.0, 25.0), gain_db=(0.0, 0.0))
    processes: Annotated[int, msgspec.Meta(ge=0)] = 1
    judged_batches: Annotated[int, NEUTRAL] = 10
    tensorboard: Annotated[bool, NEUTRAL] = False
    loop: TrainingConfig = TrainingConfig(learning_rates=(5e-4,))
