"""Claims about the recipe: from sound to bits a second and continued speech, and nobody who judges teaches."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from speechkit.data.manifest import read_jsonl, write_manifest
from speechkit.data.records import Utterance
from speechkit.io.audio import write_audio
from speechkit.lm.networks import load_unit_network
from speechkit.lm.records import UnitLmReport
from speechkit.lm.unit_costs import network_costs, summarize
from speechkit.pipeline import outputs, run_recipe
from speechkit.pipeline.discover import recipe_module
from speechkit.units.sequences import UnitSequence

recipe = recipe_module("unit_lm").recipe
TINY = Path(__file__).parents[2] / "recipes/unit_lm/conf/tiny.yaml"


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Tones in an order, by five speakers."""
    folder = tmp_path_factory.mktemp("tones")
    random = np.random.default_rng(0)
    rows = []
    for speaker in "ABCDE":
        for number in range(4):
            pitches = 300 * 1.4 ** ((np.arange(12) + random.integers(4)) % 4)
            times = np.arange(1600) / 16_000
            sound = np.concatenate([0.3 * np.sin(2 * np.pi * pitch * times) for pitch in pitches])
            sound = (sound + random.normal(0, 0.003, len(sound))).astype(np.float32)
            write_audio(folder / f"{speaker}{number}.wav", sound, 16_000)
            rows.append(
                Utterance.from_samples(
                    id=f"{speaker}{number}",
                    audio_filepath=f"{speaker}{number}.wav",
                    num_samples=len(sound),
                    sample_rate=16_000,
                    speaker=speaker,
                )
            )
    write_manifest(folder / "all.jsonl", rows)
    return folder


def given(speech, *more):
    manifest = speech / "all.jsonl"
    return [f"train_manifest={manifest}", f"test_manifest={manifest}", "prepare.test_speakers=E", *more]


@pytest.fixture(scope="module")
def done(speech, tmp_path_factory):
    exp = tmp_path_factory.mktemp("exp")
    run_recipe(recipe, exp, given(speech), config_files=[TINY], quiet=True, device="cpu")
    return exp


@pytest.mark.slow
def test_all_models_are_measured_on_the_same_unseen_speakers(done):
    folder = outputs(recipe, done, "report")
    report = msgspec.json.decode((folder / "report.json").read_bytes(), type=UnitLmReport)
    assert [each.system for each in report.systems] == ["1-gram", "2-gram", "baseline (gru)", "unit model"]
    assert len({(each.recordings, each.units, each.seconds) for each in report.systems}) == 1
    assert all(each.full_bits_per_second > each.bits_per_second > 0 for each in report.systems)
    assert {each.other for each in report.savings} == {"1-gram", "2-gram", "baseline (gru)"}
    table = (folder / "table.md").read_text()
    assert "the end of each recording" in table
    assert "unit model" in (folder / "report.html").read_text()


@pytest.mark.slow
def test_bits_of_the_report_are_those_of_the_stored_model(done):
    report = msgspec.json.decode((outputs(recipe, done, "report") / "report.json").read_bytes(), type=UnitLmReport)
    network = load_unit_network(outputs(recipe, done, "train") / "model")
    rows = list(read_jsonl(outputs(recipe, done, "tokens") / "tokens.jsonl", UnitSequence))
    test = [row for row in rows if row.id.startswith("test/")]
    again = summarize("again", list(network_costs(network, test)))
    assert again.bits_per_second == pytest.approx(report.systems[-1].bits_per_second)


@pytest.mark.slow
def test_nobody_who_judges_or_looks_on_teaches(done):
    rows = read_jsonl(outputs(recipe, done, "prepare") / "recordings.jsonl", Utterance)
    speakers = {"train": set(), "dev": set(), "test": set()}
    for row in rows:
        speakers[row.custom["part"]].add(row.speaker)
    assert speakers["test"] == {"E"}
    assert speakers["train"]
    assert speakers["dev"]
    assert not speakers["train"] & speakers["dev"]


@pytest.mark.slow
def test_continuations_are_units_beside_those_of_speech(done):
    folder = outputs(recipe, done, "continue")
    rows = list(read_jsonl(folder / "continued/units.jsonl", UnitSequence))
    assert len(rows) == 4
    assert all(sum(row.durations) <= 25 and max(row.units, default=0) < 100 for row in rows)
    said = json.loads((folder / "degeneration.json").read_text())
    assert said["test"]["cut_off"] is None
    assert said["continued"]["cut_off"] is not None


@pytest.mark.slow
def test_tokens_of_acoustic_bpe_go_the_same_way(speech, tmp_path):
    run_recipe(recipe, tmp_path, given(speech, "bpe=110"), config_files=[TINY], quiet=True, device="cpu")
    report = msgspec.json.decode((outputs(recipe, tmp_path, "report") / "report.json").read_bytes(), type=UnitLmReport)
    network = load_unit_network(outputs(recipe, tmp_path, "train") / "model")
    assert 100 < network.vocabulary.units.clusters <= 110
    assert report.systems[-1].bits_per_second > 0
