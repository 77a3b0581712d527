"""Families of self-supervised pre-training: their settings, and objectives with a new or an existing encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from speechkit.errors import ConfigError, UserError

Family = Literal["contrastive", "predictive", "generative", "distilled"]
STANDARDISING_BATCHES = 20
HEADS = ("quantizer.", "project_hid.", "project_q.")
"""Prefixes of the weights that the contrastive family has beside its encoder."""


class FamilyConfig(msgspec.Struct, frozen=True):
    """Settings of a family and its encoder.

    Attributes:
        family: name of the family.
        size: of a new encoder.
        init: encoder to continue from: hub id or folder.
        teacher: distilled: Whisper model by hub id, folder, or a CTranslate2 ``model.bin``.
        teacher_layers: distilled: layers of the teacher that are regressed.
        mask_start_share: contrastive and predictive: share of frames that begin a masked span.
        mask_span: contrastive and predictive: frames of a masked span.
        seen_weight: predictive: weight of the loss on unmasked frames.
        feature_gradient: factor of the gradients of the convolutions.
        feature_penalty: weight of the mean square of their output.
        layer_drop: probability of skipping a layer in a step.
        dropout: of the transformer.
        codebooks: contrastive: number of codebooks.
        codes: contrastive: codes of each codebook.
        negatives: contrastive: negatives of each masked frame.
        diversity: contrastive: weight of the diversity loss.
        equal_negatives: contrastive: whether negatives with the target's codes are kept.
        ahead: generative: frames predicted in advance.
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
    """The objective of the configured family.

    Args:
        config: settings of the family.
        batches: `WaveformBatches`, on which distillation measures the teacher's statistics.
        targets: file of `speechkit.encoders.pretraining.targets`, for the predictive family.
        seed: of masks and negatives.

    Raises:
        ConfigError: if the teacher is missing, or ``init`` is not an encoder of the family.
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
            raise ConfigError(f"train.init={config.init}: is not a generative encoder; give the folder of one")
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
    """A ``Wav2Vec2Model``: new, or that of ``init``."""
    from transformers import Wav2Vec2Model

    from speechkit.encoders.pretraining.sizes import sized_config

    if config.init is None:
        return Wav2Vec2Model(sized_config(config.size, **encoder_settings(config)))
    return initial(Wav2Vec2Model, config, apply_spec_augment=True)


def encoder_settings(config: FamilyConfig) -> dict[str, Any]:
    """Settings passed to the configuration of a wav2vec 2.0 model."""
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
    """The encoder of ``init`` as a transformers class, in single precision."""
    from speechkit.encoders.checkpoint import load_whole
    from speechkit.encoders.load import checkpoint_name

    # Encoders trained by another family lack the heads of this one.
    try:
        folder = checkpoint_name(str(config.init))
        model, _ = load_whole(network, folder, lambda key: not key.startswith(HEADS), **settings)
    except UserError as error:
        raise ConfigError(f"train.init={config.init}: {error}") from error
    return model
