"""The work of the stages; heavy libraries load when they run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.pipeline import Context

if TYPE_CHECKING:
    from speechkit.training import Objective

    from .config import TrainConfig


def prepare(context: Context) -> None:
    """Normalise texts, drop what cannot be learnt from, and collect the characters of the training texts."""
    from speechkit.asr.ctc_training import character_set
    from speechkit.text import get_normalizer

    config = context.config
    for field in ("train_manifest", "test_manifest"):
        if getattr(config, field) is None:
            raise ConfigError(f"{field} is not set; run with {field}=FILE.jsonl")
    normalizer = get_normalizer(config.normalizer)

    def kept(name: str, known: set[str] | None) -> Iterator[Utterance]:
        for row in context.read(name):
            text = " ".join(normalizer.normalize(row.text or "").text.split())
            if not text:
                context.drop(row.id, "no_text")
            elif row.duration < config.min_seconds:
                context.drop(row.id, "too_short", f"{row.duration:.2f} s")
            elif row.duration > config.max_seconds and known is None:
                context.drop(row.id, "too_long", f"{row.duration:.2f} s")
            elif len(text) / row.duration > config.max_characters_per_second:
                context.drop(row.id, "too_fast", f"{len(text) / row.duration:.1f} characters/s")
            else:
                if known is not None and set(text) - known:
                    # Counted as errors all the same: a recogniser that lacks a character cannot write it.
                    context.log(f"{row.id}: {sorted(set(text) - known)} never occur in the training texts")
                yield msgspec.structs.replace(row, text=text)

    texts: list[str] = []

    def collected() -> Iterator[Utterance]:
        for row in kept("train_manifest", None):
            texts.append(row.text or "")
            yield row

    context.write("train.jsonl", collected())
    vocabulary = character_set(texts)
    context.write("test.jsonl", kept("test_manifest", set(vocabulary)))
    context.output("vocabulary.json").write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n", encoding="utf-8")


def train_model(context: Context) -> None:
    """Train for as long as the configuration says; an interrupted run goes on from its checkpoint."""
    from speechkit.training import train_stage

    config: TrainConfig = context.config
    peak = config.loop.learning_rates[0]
    rates = peak * (config.encoder_rate if config.init is not None else 1.0), peak
    loop = msgspec.structs.replace(config.loop, learning_rates=rates)
    train_stage(context, ctc_objective, loop, tensorboard=config.tensorboard)


def ctc_objective(context: Context) -> Objective:
    """The model of the configuration, what it learns from and what it is judged by."""
    from speechkit.asr.ctc_training import (
        CtcBatches,
        UpperPart,
        hugging_face_loss,
        log_mel_features,
        lower_features,
        own_model_loss,
    )
    from speechkit.augment.waveforms import NO_AUGMENTATION
    from speechkit.data.manifest import read_manifest
    from speechkit.training import Objective, Turn
    from speechkit.training.config import mixed_precision

    config: TrainConfig = context.config
    vocabulary = tuple(json.loads(Path(context.inputs["vocabulary"]).read_text(encoding="utf-8")))
    rows = list(read_manifest(context.inputs["train"]))
    held_out = list(read_manifest(context.inputs["test"]))[: config.dev_utterances]
    own = config.family == "speechkit"
    network = own_model(config, vocabulary) if own else hf_model(config, vocabulary)
    features = log_mel_features(network) if own else None
    trained, variants = network, 0
    if own and config.frozen_layers is not None:
        half = mixed_precision(config.loop.precision, context.device) == "bf16"
        features = lower_features(network, config.frozen_layers, bfloat16=half)
        trained, variants = UpperPart(network, config.frozen_layers), config.variants
    batches = CtcBatches(
        rows,
        Path(context.inputs["train_manifest"]),
        vocabulary,
        features,
        config.batch_seconds,
        config.augment,
        config.loop.seed,
        variants=variants,
    )
    judged = (
        CtcBatches(held_out, Path(context.inputs["test_manifest"]), vocabulary, features, 1.0, NO_AUGMENTATION, 0)
        if all(set(row.text or "") <= set(vocabulary) for row in held_out)
        else None
    )

    def evaluate(current: Any) -> dict[str, float]:
        return error_rate(current, judged, len(held_out), vocabulary, own)

    def save(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        network.cpu().save_pretrained(folder)
        if not own:
            save_hf_processor(folder, vocabulary)

    encoder = ("conv1", "conv2", "layers", "encoder_norm") if own else (network.base_model_prefix,)
    learning = [(name, value) for name, value in network.named_parameters() if value.requires_grad]
    lower = [value for name, value in learning if name.startswith(encoder)]
    upper = [value for name, value in learning if not name.startswith(encoder)]
    turn = Turn(own_model_loss if own else hugging_face_loss, [lower, upper])
    return Objective(trained, [turn], batches, evaluate if judged is not None else None, save=save)


def own_model(config: TrainConfig, vocabulary: tuple[str, ...]) -> Any:
    """A model of ours: new, from a Whisper encoder, or from another model of ours whose shape it takes over."""
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
            raise UserError(f"train.init {init} is no model of ours; set train.family=huggingface for other encoders")
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


def hf_model(config: TrainConfig, vocabulary: tuple[str, ...]) -> Any:
    """A Hugging Face encoder with a new output over the vocabulary."""
    from transformers import AutoModelForCTC

    from speechkit.encoders.checkpoint import load_whole

    if config.init is None:
        raise ConfigError("train.init is not set; give the folder or hub id of a Hugging Face encoder")
    network, _ = load_whole(AutoModelForCTC, config.init, new_head=True, vocab_size=len(vocabulary), pad_token_id=0)
    if getattr(network.config, "conv_stride", None) is None:
        raise UserError(f"{config.init}: takes features, not waveforms; choose a Wav2Vec2, HuBERT or WavLM encoder")
    return network


def save_hf_processor(folder: Path, vocabulary: tuple[str, ...]) -> None:
    """Tokenizer and feature extractor beside the weights, so that the folder loads as any checkpoint does."""
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
    said, heard = [], []
    for number in range(count):
        batch = batches(number)
        with torch.no_grad():
            inputs = batch["inputs"].to(device)
            log_probs = network(inputs)[0] if own else network(inputs).logits.float().log_softmax(-1)
        heard += greedy_texts([log_probs[0].float().cpu().numpy()], vocabulary)
        said.append("".join(vocabulary[index] for index in batch["targets"].tolist()))
    return {"dev_cer": character_errors(said, heard).rate, "dev_wer": word_errors(said, heard).rate}


def transcribe(context: Context) -> None:
    """Read every test utterance through `load_recognizer`, windows and all."""
    import numpy as np

    from speechkit.asr import load_recognizer
    from speechkit.data.audio import read_waveform
    from speechkit.io.audio import write_audio

    recognizer = load_recognizer(
        str(Path(context.inputs["train"]) / "model"), lang=context.config.lang, device=context.device
    )
    rows = list(context.read("test"))

    def hypotheses() -> Iterator[Utterance]:
        with tempfile.TemporaryDirectory() as temporary:
            piece = Path(temporary) / "utterance.wav"
            for done, row in enumerate(rows, 1):
                waveform = read_waveform(row, context.inputs["test_manifest"])
                write_audio(piece, np.clip(waveform, -1, 1), 16_000)
                yield msgspec.structs.replace(row, text=recognizer.recognize(str(piece)).text)
                context.progress.update(done, len(rows))

    context.write("hypotheses.jsonl", hypotheses())


def score(context: Context) -> None:
    """Word and character error rates with bootstrap intervals."""
    from speechkit.metrics import character_errors, word_errors

    said = {row.id: row.text or "" for row in context.read("test")}
    heard = {row.id: row.text or "" for row in context.read("hypotheses")}
    answers = {}
    for name, errors in (("wer", word_errors), ("cer", character_errors)):
        result = errors(said, heard, normalizer=context.config.normalizer)
        answers[name] = result.rate
        context.say(f"{name} {result.rate:.4f}")
    answers["utterances"] = len(said)
    context.output("scores.json").write_text(json.dumps(answers, indent=2) + "\n", encoding="utf-8")
