"""The recipe from recordings to a page: speakers are kept apart, mixtures add up, everything is scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from speechkit.data.audio import read_waveform
from speechkit.data.manifest import read_jsonl, read_manifest, write_manifest
from speechkit.data.mixtures import mixture_of, read_sources
from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.io.audio import write_audio
from speechkit.pipeline import outputs, run_recipe
from speechkit.pipeline.discover import recipe_module
from speechkit.separation.model import load_separator

recipe = recipe_module("mossformer2").recipe
RATE = 8000
QUICK = [
    "prepare.dev_speakers=2",
    "prepare.test_speakers=2",
    "mixtures.dev_mixtures=1",
    "mixtures.test_mixtures=1",
    "train.batch_size=2",
    "train.judged_mixtures=2",
    "train.mixing.seconds=[0.25, 0.25]",
    "train.loop.steps=2",
    "train.loop.warmup_steps=1",
]


def voice(number: int, seconds: float, random: np.random.Generator) -> np.ndarray:
    """Syllables of a hum, with pauses."""
    time = np.arange(int(seconds * RATE)) / RATE
    hum = sum(np.sin(2 * np.pi * (110 + 30 * number) * harmonic * time) for harmonic in (1, 2, 3))
    return (0.1 * hum * (np.sin(2 * np.pi * 2 * time) > -0.5) + 1e-4 * random.standard_normal(len(time))).astype(
        np.float32
    )


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("speech")
    random = np.random.default_rng(0)
    rows = []
    for speaker in range(7):
        for number in range(2):
            name = f"voice-{speaker}-{number}"
            write_audio(folder / f"{name}.wav", voice(speaker, 1.5, random), RATE)
            rows.append(
                Utterance.from_samples(
                    id=name,
                    audio_filepath=f"{name}.wav",
                    num_samples=int(1.5 * RATE),
                    sample_rate=RATE,
                    speaker=None if speaker == 6 else f"speaker-{speaker}",
                )
            )
    write_audio(folder / "hiss.wav", 0.1 * random.standard_normal(2 * RATE), RATE)
    rows.append(
        Utterance.from_samples(
            id="hiss", audio_filepath="hiss.wav", num_samples=2 * RATE, sample_rate=RATE, speaker="speaker-0"
        )
    )
    write_manifest(folder / "speech.jsonl", rows)
    return folder / "speech.jsonl"


@pytest.fixture(scope="module")
def mixed(speech, tmp_path_factory) -> Path:
    exp = tmp_path_factory.mktemp("exp")
    assert run_recipe(recipe, exp, overrides=[f"speech_manifest={speech}", *QUICK], stop=2) == 0
    return exp


def test_every_speaker_has_one_part_and_noise_is_dropped(mixed):
    folder = outputs(recipe, mixed, "prepare")
    parts = {
        part: {row.speaker for row in read_manifest(folder / f"{part}.jsonl")} for part in ("train", "dev", "test")
    }
    assert {part: len(speakers) for part, speakers in parts.items()} == {"train": 2, "dev": 2, "test": 2}
    assert len(set.union(*parts.values())) == 6
    drops = {drop["id"]: drop["reason"] for drop in read_jsonl(folder / "drops.jsonl", dict)}
    assert drops == {"voice-6-0": "no_speaker", "voice-6-1": "no_speaker", "hiss": "noisy"}


def test_mixtures_are_of_their_parts_speakers_and_add_up(mixed):
    cuts, folder = outputs(recipe, mixed, "prepare"), outputs(recipe, mixed, "mixtures")
    for part in ("dev", "test"):
        speakers = {row.speaker for row in read_manifest(cuts / f"{part}.jsonl")}
        manifest = folder / f"{part}.jsonl"
        rows = list(read_manifest(manifest))
        assert [row.custom["set"] for row in rows] == ["pairs", "turns", "noisy", "alone"]
        for row in rows:
            facts = mixture_of(row, manifest)
            assert set(facts.speakers) <= speakers
            if facts.noise is None:
                total = sum(read_sources(row, manifest, RATE))
                assert np.array_equal(total, read_waveform(row, manifest, sample_rate=RATE))


def test_too_few_speakers_are_named(speech, tmp_path):
    with pytest.raises(ConfigError, match="6 speakers are left of 15 recordings"):
        run_recipe(recipe, tmp_path, overrides=[f"speech_manifest={speech}", "prepare.test_speakers=4"], stop=1)


def test_a_recipe_without_a_manifest_says_so(tmp_path):
    with pytest.raises(ConfigError, match="speech_manifest is not set"):
        run_recipe(recipe, tmp_path, stop=1)


@pytest.mark.slow
def test_the_recipe_trains_a_separator_of_its_mixtures(speech, mixed):
    assert run_recipe(recipe, mixed, overrides=[f"speech_manifest={speech}", *QUICK], stop=3) == 0
    trained = load_separator(outputs(recipe, mixed, "train") / "model", device="cpu")
    assert (trained.speakers, trained.sample_rate) == (2, RATE)
    further = [f"speech_manifest={speech}", *QUICK, f"train.start={outputs(recipe, mixed, 'train') / 'model'}"]
    assert run_recipe(recipe, mixed, overrides=further, stop=3) == 0
    with pytest.raises(UserError, match="has 2 tracks at 8000 Hz, not 3"):
        run_recipe(recipe, mixed, overrides=[*further, "train.mixing.counts=[0, 0.5, 0.5]"], stop=3)
