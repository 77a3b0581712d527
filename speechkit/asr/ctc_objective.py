"""Training of CTC recognisers: our own model or a Hugging Face encoder, its batches and its evaluation."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from speechkit.augment.waveforms import NO_AUGMENTATION, AugmentConfig
from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.training import TrainingConfig

if TYPE_CHECKING:
    from speechkit.training import Objective


class CtcTrainingConfig(msgspec.Struct, frozen=True):
    """The model and its training; the first learning rate is for the layers above the encoder.

    ``init`` initialises the model: a folder of one of our models, a CTranslate2 Whisper ``model.bin``, or with
    ``family: huggingface`` any encoder by folder or hub id. Without it our model starts from random weights.

    ``frozen_layers`` freezes the convolutions and this many encoder layers, and computes their outputs once for each of
    ``variants`` augmented versions of an utterance, so that a step costs a fraction of full fine-tuning.
    ``int8`` stores the large matrices of one of our models as int8, half the size of float16.
    """

    family: Literal["speechkit", "huggingface"] = "speechkit"
    init: str | None = None
    lang: str = "en"
    width: int = 384
    heads: int = 6
    encoder_layers: int = 4
    top_layers: int = 2
    dropout: float = 0.0
    batch_seconds: float = 40.0
    encoder_rate: float = 0.2
    frozen_layers: int | None = None
    variants: int = 3
    int8: bool = False
    dev_utterances: int = 50
    augment: AugmentConfig = AugmentConfig()
    loop: TrainingConfig = TrainingConfig(learning_rates=(3e-4,))

    @property
    def rates(self) -> TrainingConfig:
        """The loop's settings with two learning rates: for the layers above the encoder, and for the encoder."""
        peak = self.loop.learning_rates[0]
        lower = peak * (self.encoder_rate if self.init is not None else 1.0)
        return msgspec.structs.replace(self.loop, learning_rates=(lower, peak))


def ctc_objective(
    config: CtcTrainingConfig,
    vocabulary: tuple[str, ...],
    train: tuple[Sequence[Utterance], Path],
    held_out: tuple[Sequence[Utterance], Path],
    device: str,
) -> Objective:
    """The model of the configuration, to be trained with ``config.rates``.

    Args:
        config: the model and its training.
        vocabulary: symbols; the first is the blank.
        train: rows, and the manifest that their paths are relative to.
        held_out: likewise; evaluation uses the first ``config.dev_utterances`` whose characters are in the vocabulary.
        device: where it will be trained.
    """
    from speechkit.asr.ctc_training import (
        CtcBatches,
        UpperPart,
        hugging_face_loss,
        log_mel_features,
        lower_features,
        own_model_loss,
    )
    from speechkit.training import Objective, Turn
    from speechkit.training.config import mixed_precision

    own = config.family == "speechkit"
    network = own_model(config, vocabulary) if own else hf_model(config, vocabulary)
    features = log_mel_features(network) if own else None
    trained, variants = network, 0
    if own and config.frozen_layers is not None:
        half = mixed_precision(config.loop.precision, device) == "bf16"
        features = lower_features(network, config.frozen_layers, bfloat16=half)
        trained, variants = UpperPart(network, config.frozen_layers), config.variants
    batches = CtcBatches(
        *train, vocabulary, features, config.batch_seconds, config.augment, config.loop.seed, variants=variants
    )
    evaluated = held_out[0][: config.dev_utterances]
    evaluation_batches = None
    if all(set(row.text or "") <= set(vocabulary) for row in evaluated):
        evaluation_batches = CtcBatches(evaluated, held_out[1], vocabulary, features, 1.0, NO_AUGMENTATION, 0)

    def evaluate(current: Any) -> dict[str, float]:
        return error_rate(current, evaluation_batches, len(evaluated), vocabulary, own)

    def save(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        if own:
            network.cpu().save_pretrained(folder, int8=config.int8)
        else:
            network.cpu().save_pretrained(folder)
            save_hf_processor(folder, vocabulary)

    encoder = ("conv1", "conv2", "layers", "encoder_norm") if own else (network.base_model_prefix,)
    learning = [(name, value) for name, value in network.named_parameters() if value.requires_grad]
    lower = [value for name, value in learning if name.startswith(encoder)]
    upper = [value for name, value in learning if not name.startswith(encoder)]
    turn = Turn(own_model_loss if own else hugging_face_loss, [lower, upper])
    return Objective(trained, [turn], batches, evaluate if evaluation_batches is not None else None, save=save)


def own_model(config: CtcTrainingConfig, vocabulary: tuple[str, ...]) -> Any:
    """One of our models: new, from a Whisper encoder, or from another of our models with its shape."""
    from speechkit.asr.ctc_model import CtcConfig, CtcModel
    from speechkit.asr.load import is_own_model
    from speechkit.asr.whisper_weights import load_whisper_encoder

    shape = CtcConfig(
        vocabulary=vocabulary,
        lang=config.lang,
        width=config.width,
        heads=config.heads,
        encoder_layers=config.encoder_layers,
        top_layers=config.top_layers,
        dropout=config.dropout,
    )
    if config.init is None:
        return CtcModel(shape)
    init = Path(config.init)
    if not init.exists():
        raise UserError(f"train.init {init} does not exist; give a model.bin or the folder of a model")
    if init.is_dir():
        if not is_own_model(init):
            raise UserError(
                f"train.init {init} is not one of our models; set train.family=huggingface for other encoders"
            )
        source = CtcModel.from_pretrained(init)
        shape = msgspec.structs.replace(source.config, vocabulary=vocabulary, lang=config.lang, dropout=config.dropout)
        network = CtcModel(shape)
        weights = source.state_dict()
        if source.config.vocabulary != vocabulary:
            weights = {name: value for name, value in weights.items() if not name.startswith(("output.", "feedback."))}
        network.load_state_dict(weights, strict=False)
        return network
    network = CtcModel(shape)
    load_whisper_encoder(network, init)
    return network


def hf_model(config: CtcTrainingConfig, vocabulary: tuple[str, ...]) -> Any:
    """A Hugging Face encoder with a new output layer for the vocabulary."""
    from transformers import AutoModelForCTC

    from speechkit.encoders.checkpoint import load_whole

    if config.init is None:
        raise ConfigError("train.init is not set; give the folder or hub id of a Hugging Face encoder")
    network, _ = load_whole(AutoModelForCTC, config.init, new_head=True, vocab_size=len(vocabulary), pad_token_id=0)
    if getattr(network.config, "conv_stride", None) is None:
        raise UserError(f"{config.init}: takes features, not waveforms; choose a Wav2Vec2, HuBERT or WavLM encoder")
    return network


def save_hf_processor(folder: Path, vocabulary: tuple[str, ...]) -> None:
    """Write tokenizer and feature extractor next to the weights, so that the folder loads as a checkpoint."""
    from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor

    symbols = ["|" if symbol == " " else symbol for symbol in vocabulary]
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "vocab.json"
        path.write_text(json.dumps({symbol: index for index, symbol in enumerate(symbols)}), encoding="utf-8")
        tokenizer = Wav2Vec2CTCTokenizer(
            str(path), pad_token=vocabulary[0], unk_token=vocabulary[0], bos_token=None, eos_token=None
        )
        tokenizer.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)


def error_rate(network: Any, batches: Any, count: int, vocabulary: tuple[str, ...], own: bool) -> dict[str, float]:
    """Greedy character and word error rates of the first ``count`` single-utterance batches."""
    import torch

    from speechkit.asr.ctc_training import greedy_texts
    from speechkit.metrics import character_errors, word_errors

    device = next(network.parameters()).device
    references, hypotheses = [], []
    for number in range(count):
        batch = batches(number)
        with torch.no_grad():
            inputs = batch["inputs"].to(device)
            log_probs = network(inputs)[0] if own else network(inputs).logits.float().log_softmax(-1)
        hypotheses += greedy_texts([log_probs[0].float().cpu().numpy()], vocabulary)
        references.append("".join(vocabulary[index] for index in batch["targets"].tolist()))
    return {
        "dev_cer": character_errors(references, hypotheses).rate,
        "dev_wer": word_errors(references, hypotheses).rate,
    }
