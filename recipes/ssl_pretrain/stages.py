"""The work of the stages; heavy libraries load when they run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.pipeline import Context, Interrupted

MANIFESTS = ("train_manifest", "dev_manifest")
STANDARDISING_BATCHES = 20
HEADS = ("quantizer.", "project_hid.", "project_q.")
"""Of the contrastive family, beside its encoder."""

if TYPE_CHECKING:
    from speechkit.encoders.pretraining.batches import WaveformBatches
    from speechkit.training import Objective

    from .config import PrepareConfig, TrainConfig


def prepare(context: Context) -> None:
    """Drop what is too short to learn from or cannot be read: one such recording would end days of training.

    Raises:
        ConfigError: if a manifest is not given.
        UserError: if nothing is left of one.
        Interrupted: if the user asked to stop.
    """
    config = context.config
    for field in MANIFESTS:
        if getattr(config, field) is None:
            raise ConfigError(f"{field} is not set; run with {field}=FILE.jsonl")
    rows = {field: list(context.read(field)) for field in MANIFESTS}
    done, total = 0, sum(map(len, rows.values()))
    for field, output in zip(MANIFESTS, ("train.jsonl", "dev.jsonl"), strict=True):
        kept, reasons = [], []
        for row in rows[field]:
            reason = _why_unfit(row, Path(context.inputs[field]), config)
            if reason is None:
                kept.append(row)
            else:
                context.drop(row.id, *reason)
                reasons.append(f"the first one, {row.id}: {': '.join(reason)}")
            done += 1
            context.progress.update(done, total)
            if context.interrupted:
                raise Interrupted
        if not kept:
            raise UserError(
                f"{context.inputs[field]}: none of {len(rows[field])} recordings can be learnt from; "
                + (reasons[0] if reasons else "give a manifest with rows")
            )
        context.write(output, kept)


def _why_unfit(row: Utterance, manifest: Path, config: PrepareConfig) -> tuple[str, str] | None:
    """The reason and its detail why a recording cannot be learnt from; None if it can."""
    from speechkit.data import audio_path
    from speechkit.data.audio import why_unreadable

    if row.duration < config.min_seconds:
        return "too_short", f"{row.duration:.2f} s"
    if config.check_audio and (reason := why_unreadable(audio_path(manifest, row), row)):
        return "unreadable_audio", reason
    return None


def train_encoder(context: Context) -> None:
    """Train for as long as the configuration says; an interrupted run goes on from its checkpoint."""
    from speechkit.training import train_stage

    config: TrainConfig = context.config
    train_stage(context, encoder_objective, config.loop, processes=config.processes, tensorboard=config.tensorboard)


def encoder_objective(context: Context) -> Objective:
    """The chosen family on the recordings."""
    from speechkit.encoders.pretraining.objective import pretraining

    config: TrainConfig = context.config
    rows = list(context.read("train"))
    batches = waveforms(config, rows, Path(context.inputs["train_manifest"]), 0)
    judged = waveforms(config, list(context.read("dev")), Path(context.inputs["dev_manifest"]), len(rows))
    family = chosen_family(config, context, batches)
    return pretraining(family, batches, lambda folder: family.save(folder, config.half), judged, config.judged_batches)


def waveforms(config: TrainConfig, rows: list[Utterance], manifest: Path, first_item: int) -> WaveformBatches:
    """Batches of damaged crops of some rows."""
    from speechkit.augment.waveforms import augment_waveform
    from speechkit.encoders.pretraining.batches import WaveformBatches

    return WaveformBatches(
        rows,
        manifest,
        config.batch_seconds,
        config.crop_seconds,
        config.loop.seed,
        lambda waveform, generator: augment_waveform(waveform, config.damage, generator),
        first_item,
    )


def chosen_family(config: TrainConfig, context: Context, batches: WaveformBatches) -> Any:
    """The chosen family."""
    if config.family == "distilled":
        return distilled(config, batches)
    if config.family == "generative":
        return generative(config)
    if config.family == "predictive":
        from speechkit.encoders.pretraining.predictive import PredictiveObjective

        from .targets import Targets

        targets = Targets(Path(context.inputs["targets"]))
        return PredictiveObjective(
            new_encoder(config),
            targets.clusters,
            targets,
            config.loop.seed,
            config.mask_start_share,
            config.mask_span,
            config.seen_weight,
            config.feature_gradient,
            config.feature_penalty,
        )
    return contrastive(config)


def distilled(config: TrainConfig, batches: WaveformBatches) -> Any:
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


def generative(config: TrainConfig) -> Any:
    """Recurrent layers over log-mel frames."""
    from speechkit.encoders.families import model_type
    from speechkit.encoders.families.autoregressive import AutoregressiveConfig, AutoregressiveModel
    from speechkit.encoders.pretraining.generative import GenerativeObjective

    if config.init is not None:
        if model_type(config.init) != "speechkit-autoregressive":
            raise ConfigError(f"train.init={config.init}: is no generative encoder; give the folder of one")
        return GenerativeObjective(AutoregressiveModel.from_pretrained(config.init))
    width = {"tiny": 32, "small": 512, "base": 1024}[config.size]
    return GenerativeObjective(AutoregressiveModel(AutoregressiveConfig(width=width, ahead=config.ahead)))


def contrastive(config: TrainConfig) -> Any:
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
        config.loop.seed,
        start_share=config.mask_start_share,
        span=config.mask_span,
        equal_negatives=config.equal_negatives,
        feature_gradient=config.feature_gradient,
        feature_penalty=config.feature_penalty,
    )


def new_encoder(config: TrainConfig) -> Any:
    """A ``Wav2Vec2Model``: new, or the one to go on from."""
    from transformers import Wav2Vec2Model

    from speechkit.encoders.pretraining.sizes import sized_config

    if config.init is None:
        return Wav2Vec2Model(sized_config(config.size, **encoder_settings(config)))
    return initial(Wav2Vec2Model, config, apply_spec_augment=True)


def encoder_settings(config: TrainConfig) -> dict[str, Any]:
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


def initial(network: Any, config: TrainConfig, **settings: Any) -> Any:
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
