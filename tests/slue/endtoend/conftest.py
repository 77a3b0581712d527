"""Made-up speech, every letter a tone, with the labels of all tasks; and a small encoder with random weights."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from speechkit.augment.waveforms import NO_AUGMENTATION
from speechkit.data.manifest import write_manifest
from speechkit.data.records import Utterance
from speechkit.io.audio import write_audio
from speechkit.slue.systems.endtoend import train_system
from speechkit.slue.systems.system_spec import SystemConfig
from speechkit.training import TrainingConfig

LETTER_SECONDS = 0.08
GAP_SECONDS = 0.08


def speak(words, pitch, generator):
    """Samples, and begin and end in seconds of each word."""
    pieces, times, at = [generator.normal(0, 0.003, 1280)], [], 0.08
    for word in words:
        times.append((at, at + LETTER_SECONDS * len(word)))
        for letter in word:
            time = np.arange(round(16_000 * LETTER_SECONDS)) / 16_000
            frequency = pitch * 180 * 1.12 ** (ord(letter) - ord("a"))
            pieces.append(0.3 * np.sin(2 * np.pi * frequency * time) + generator.normal(0, 0.003, len(time)))
            at += LETTER_SECONDS
        pieces.append(generator.normal(0, 0.003, round(16_000 * GAP_SECONDS)))
        at += GAP_SECONDS
    return np.concatenate(pieces).astype(np.float32), times


class Speaker:
    """Writes recordings and their rows into one folder; a recording does not depend on those made before it."""

    def __init__(self, folder):
        self.folder = folder

    def say(self, name, words, **custom):
        generator = np.random.default_rng(list(name.encode()))
        samples, times = speak(words, generator.uniform(0.98, 1.02), generator)
        write_audio(self.folder / f"{name}.wav", samples, 16_000)
        row = Utterance.from_samples(
            id=name,
            audio_filepath=f"{name}.wav",
            num_samples=len(samples),
            sample_rate=16_000,
            text=" ".join(words),
            custom=custom or None,
        )
        return row, times

    def write(self, name, rows):
        path = self.folder / f"{name}.jsonl"
        write_manifest(path, rows)
        return path


@pytest.fixture(scope="session")
def speaker(tmp_path_factory):
    return Speaker(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="session")
def orders(speaker):
    """Training and test manifests of orders: a drink, mostly a size, a mood, acts, and a place that is an entity."""
    rows = []
    draw = np.random.default_rng(0)
    for number in range(60):
        drink = ["tea", "milk", "cola"][number % 3]
        size = [None, "big", "wee"][draw.integers(3)]
        place = [None, "rome", "oslo"][draw.integers(3)]
        words = [*([size] if size else []), drink, *(["in", place] if place else [])]
        text = " ".join(words)
        row, times = speaker.say(
            f"order{number}",
            words,
            intent=f"order_{drink}",
            slots={"drink": drink} | ({"size": size} if size else {}),
            sentiment={"tea": "Positive", "milk": "Neutral", "cola": "Negative"}[drink],
            dialog_acts=[*(["thanks"] if size else []), *(["apology"] if place else [])],
            normalized_text=text,
            normalized_ner=[["GPE", text.index(place), len(place)]] if place else [],
            summary=f"{drink}.",
        )
        marked = [("#" if word == place else "") + word for word in words]
        row.custom["words"] = [[word, *span] for word, span in zip(marked, times, strict=True)]
        rows.append(row)
    return speaker.write("train", rows[:48]), speaker.write("test", rows[48:])


@pytest.fixture(scope="session")
def ner_system(orders, quick, made_once):
    """A system that writes transcripts with entity symbols."""

    def make(folder):
        config = quick(steps=200, rate=1e-2, patience=0)
        assert train_system("ner", orders[0], folder, config, log=lambda _: None)

    return made_once("ner-system", make)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory):
    """A wav2vec 2.0 network of two layers with random weights."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("encoder")
    config = Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm="group",
        layerdrop=0.5,
    )
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def quick():
    """Settings that learn tones within seconds; overrides by name."""

    def make(steps=80, rate=5e-3, **options):
        loop = TrainingConfig(
            steps=steps,
            learning_rates=(rate,),
            warmup_steps=5,
            average_decay=0.9,
            evaluate_every=20,
            save_every=40,
            log_every=20,
        )
        config = SystemConfig(
            encoder="log-mel", width=48, dropout=0.05, batch_seconds=20.0, augment=NO_AUGMENTATION, loop=loop
        )
        return msgspec.structs.replace(config, **options)

    return make
