"""Claims about the recipe: from sound to bits a second and continued speech, and nobody who judges teaches."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from speechkit.data.manifest import read_jsonl, write_manifest
from speechkit.data.records import Utterance
from speechkit.io.audio import write_audio
from speechkit.lm.networks import load_unit_network
from speechkit.lm.pair_scores import PairClip, PairScore
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


TEXTS = (
    "the keeper of the garden was waiting for a letter from the captain",
    "a letter came over the river and the captain was reading it",
    "the garden by the river was open and the keeper was sleeping",
    "the captain and the keeper opened the window over the garden",
)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_pairs_are_said_judged_and_stand_beside_what_knows_nothing(speech, tmp_path):
    rows = list(read_jsonl(speech / "all.jsonl", Utterance))
    own = [
        msgspec.structs.replace(row, text=TEXTS[number % 4]) for number, row in enumerate(rows) if row.speaker != "E"
    ]
    # Two chapters of the speaker who judges.
    sounds = [row for row in rows if row.speaker == "E"] * 3
    own += [msgspec.structs.replace(row, id=f"E-{n // 5}-{n % 5}") for n, row in enumerate(sounds[:10])]
    manifest = speech / "texts.jsonl"
    write_manifest(manifest, own)
    official = tmp_path / "lexical"
    official.mkdir()
    for name in ("good", "bad"):
        shutil.copy(speech / "A0.wav", official / f"{name}.wav")
    (official / "gold.csv").write_text("id,filename,voice,frequency,correct\n1,good,V,oov,1\n1,bad,V,oov,0\n")
    settings = [
        f"train_manifest={manifest}", f"test_manifest={manifest}", "prepare.test_speakers=E", "pairs.voices=[espeak]",
        "pairs.words=3", "pairs.sentences=6", f"pairs.swuggy={official}", "judge.ngram_order=2",
    ]  # fmt: skip
    run_recipe(recipe, tmp_path / "exp", settings, config_files=[TINY], quiet=True, device="cpu")
    clips = list(read_jsonl(outputs(recipe, tmp_path / "exp", "pairs") / "pairs.jsonl", PairClip))
    assert sum(each.test == "grammar" for each in clips) == 12
    assert sum(each.test == "words" for each in clips) in (2, 4, 6)
    folder = outputs(recipe, tmp_path / "exp", "judge")
    scores = msgspec.json.decode((folder / "scores.json").read_bytes(), type=list[PairScore])
    found = {(each.test, each.system): each for each in scores}
    assert {each.test for each in scores} == {"words", "grammar", "swuggy", "stories"}
    systems = {"unit model", "baseline", "random weights", "2-gram of units", "length alone"}
    assert {system for test, system in found if test == "stories"} == systems
    assert {system for test, system in found if test == "words"} == {*systems, "n-gram of phones"}
    # The two files of the official set are one sound: a tie, whatever the model.
    assert {each.by_sum for each in scores if each.test == "swuggy"} == {0.5}
    table = (folder / "pairs.md").read_text()
    assert "½ at a tie" in table
    assert "length alone" in table


@pytest.mark.slow
def test_without_voices_or_chapters_there_are_no_pairs_and_the_run_ends_well(done):
    assert (outputs(recipe, done, "pairs") / "pairs.jsonl").read_bytes() == b""
    assert "No pairs" in (outputs(recipe, done, "judge") / "pairs.md").read_text()
