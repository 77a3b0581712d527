"""The families of pre-training by name: their settings, and each with a new network or one to go on from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from speechkit.errors import ConfigError, UserError

Family = Literal["contrastive", "predictive", "generative", "distilled"]
STANDARDISING_BATCHES = 20
HEADS = ("quantizer.", "project_hid.", "project_q.")
"""Of the contrastive family, beside its encoder."""


class FamilyConfig(msgspec.Struct, frozen=True):
    """A family and its encoder.

    Attributes:
        family: which.
        size: of a new encoder.
        init: an encoder to go on from.
        teacher: of the distilled family, a Whisper model: hub id, folder, or a CTranslate2 ``model.bin``.
        teacher_layers: of the distilled family, the layers that are learnt.
        mask_start_share: of the contrastive and predictive families, as ``mask_span``.
        mask_span: frames.
        seen_weight: of the predictive family: what the frames weigh that are not masked.
        feature_gradient: what gradients of the convolutions are multiplied by.
        feature_penalty: what the mean square of their output weighs.
        layer_drop: share of layers left out of a step.
        dropout: of the transformer.
        codebooks: of the contrastive family, as all of these: how many,
        codes: of each,
        negatives: of each masked frame,
        diversity: the weight of an even use of codes,
        equal_negatives: counts negatives with the target's codes.
        ahead: of the generative family: frames.
    """

    family: Family = "predictive"
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


def make_family(config: FamilyConfig, batches: Callable[[int], Any], targets: Path, seed: int) -> Any:
    """The chosen family.

    Args:
        config: which, and how.
        batches: `WaveformBatches`, on which the distilled one measures its teacher.
        targets: a file of `speechkit.encoders.pretraining.targets`, for the predictive one.
        seed: of masks and negatives.

    Raises:
        ConfigError: if the teacher is not given, or an encoder to go on from is none of the family.
    """
    if config.family == "distilled":
        return distilled(config, batches)
    if config.family == "generative":
        return generative(config)
    if config.family == "predictive":
        from speechkit.encoders.pretraining.predictive import PredictiveObjective
        from speechkit.encoders.pretraining.targets import Targets

        clusters = Targets(targets)
        return PredictiveObjective(
            new_encoder(config),
            clusters.clusters,
            clusters,
            seed,
            config.mask_start_share,
            config.mask_span,
            config.seen_weight,
            config.feature_gradient,
            config.feature_penalty,
        )
    return contrastive(config, seed)


def distilled(config: FamilyConfig, batches: Callable[[int], Any]) -> Any:
    """A student of a Whisper encoder."""
    from transformers import Wav2Vec2Model

    from speechkit.encoders.pretraining.distillation import DistillationObjective
    from speechkit.encoders.pretraining.sizes import student_config
    from speechkit.encoders.pretraining.teacher import read_whisper_encoder

    if config.teacher is None:
        raise ConfigError("train.teacher is not set; give a Whisper model by hub id, folder or model.bin")
    encoder = read_whisper_encoder(config.teacher)
    fresh = config.init is None
    student = Wav2Vec2Model(student_config(encoder.config)) if fresh else initial(Wav2Vec2Model, config)
    measured = (batches(number) for number in range(STANDARDISING_BATCHES))
    return DistillationObjective(encoder, student, measured, config.teacher_layers, take_over=fresh)


def generative(config: FamilyConfig) -> Any:
    """Recurrent layers over log-mel frames."""
    from speechkit.encoders.families import model_type
    from speechkit.encoders.families.autoregressive import AutoregressiveConfig, AutoregressiveModel
    from speechkit.encoders.pretraining.generative import GenerativeObjective

    if config.init is not None:
        try:
            kind = model_type(config.init)
        except UserError as error:
            raise ConfigError(f"train.init={config.init}: {error}") from error
        if kind != "speechkit-autoregressive":
            raise ConfigError(f"train.init={config.init}: is no generative encoder; give the folder of one")
        return GenerativeObjective(AutoregressiveModel.from_pretrained(config.init))
    width = {"tiny": 32, "small": 512, "base": 1024}[config.size]
    return GenerativeObjective(AutoregressiveModel(AutoregressiveConfig(width=width, ahead=config.ahead)))


def contrastive(config: FamilyConfig, seed: int) -> Any:
    """A wav2vec 2.0 with its quantizer."""
    from transformers import Wav2Vec2ForPreTraining

    from speechkit.encoders.pretraining.contrastive import ContrastiveObjective
    from speechkit.encoders.pretraining.sizes import sized_config

    if config.init is None:
        network = Wav2Vec2ForPreTraining(sized_config(config.size, **encoder_settings(config)))
    else:
        network = initial(Wav2Vec2ForPreTraining, config)
    return ContrastiveObjective(
        network,
        seed,
        start_share=config.mask_start_share,
        span=config.mask_span,
        equal_negatives=config.equal_negatives,
        feature_gradient=config.feature_gradient,
        feature_penalty=config.feature_penalty,
    )


def new_encoder(config: FamilyConfig) -> Any:
    """A ``Wav2Vec2Model``: new, or the one to go on from."""
    from transformers import Wav2Vec2Model

    from speechkit.encoders.pretraining.sizes import sized_config

    if config.init is None:
        return Wav2Vec2Model(sized_config(config.size, **encoder_settings(config)))
    return initial(Wav2Vec2Model, config, apply_spec_augment=True)


def encoder_settings(config: FamilyConfig) -> dict[str, Any]:
    """What the configuration of a wav2vec 2.0 takes from ours."""
    return {
        "layerdrop": config.layer_drop,
        "hidden_dropout": config.dropout,
        "attention_dropout": config.dropout,
        "num_codevector_groups": config.codebooks,
        "num_codevectors_per_group": config.codes,
        "num_negatives": config.negatives,
        "diversity_loss_weight": config.diversity,
    }


def initial(network: Any, config: FamilyConfig, **settings: Any) -> Any:
    """The encoder to go on from, as a transformers class, in single precision however it is stored."""
    from speechkit.encoders.checkpoint import load_whole
    from speechkit.encoders.load import checkpoint_name

    # The heads of a family are its own: an encoder that comes from another one has none.
    try:
        folder = checkpoint_name(str(config.init))
        model, _ = load_whole(network, folder, lambda key: not key.startswith(HEADS), **settings)
    except UserError as error:
        raise ConfigError(f"train.init={config.init}: {error}") from error
    return model
