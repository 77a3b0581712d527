"""The recipe from recordings to scores, on a few seconds of real speech and an encoder that knows nothing."""

from pathlib import Path

import msgspec
import pytest

from speechkit.data import Utterance, write_manifest
from speechkit.data.manifest import read_manifest
from speechkit.data.records import AlignmentItem
from speechkit.encoders import load_encoder
from speechkit.errors import ConfigError, UserError
from speechkit.io.audio import audio_info, read_audio
from speechkit.pipeline import outputs, run_recipe
from speechkit.pipeline.discover import recipe_module
from speechkit.syllables.comparison import SyllableScores
from speechkit.syllables.training_segments import Seeds, tier_spans

recipe = recipe_module("sylber").recipe

TINY = Path(__file__).resolve().parents[2] / "recipes" / "sylber" / "conf" / "tiny.yaml"


@pytest.fixture(scope="module")
def settings(shared_data, tiny_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sylber")
    rows = []
    for speaker, chapter in (("84", "121123"), ("1272", "128104")):
        source = shared_data / "LibriSpeech" / "dev-clean" / speaker / chapter
        for line in (source / f"{speaker}-{chapter}.trans.txt").read_text().splitlines():
            name, _, text = line.partition(" ")
            info = audio_info(source / f"{name}.mp3")
            if 2 < info.duration < 5 and sum(row.speaker == speaker for row in rows) < 2:
                rows.append(
                    Utterance.from_samples(
                        id=name,
                        audio_filepath=str((source / f"{name}.mp3").resolve()),
                        num_samples=info.num_samples,
                        sample_rate=info.sample_rate,
                        text=text,
                        speaker=speaker,
                    )
                )
    manifest = write_manifest(folder / "speech.jsonl", rows)
    assert manifest
    names = ("train_manifest", "dev_manifest", "truth_manifest")
    return [
        *(f"{name}={folder / 'speech.jsonl'}" for name in names),
        f"seeds.encoder={tiny_checkpoint}",
        "prepare.test_speakers=84",
    ]


def run(folder, settings, *more):
    return run_recipe(recipe, folder, overrides=[*settings, *more], config_files=[TINY], device="cpu")


@pytest.mark.slow
def test_all_stages_run_and_judge_every_system_on_the_test_speaker(settings, tmp_path):
    assert run(tmp_path, settings, "train1.processes=2") == 0
    scores = msgspec.json.decode((outputs(recipe, tmp_path, "score") / "scores.json").read_bytes(), type=SyllableScores)
    assert [system.system for system in scores.systems] == [
        "envelope",
        *(f"{encoder} {name}" for encoder in ("untrained", "first", "second") for name in ("greedy", "dynamic")),
    ]
    assert scores.utterances == 2
    assert 2 < scores.syllables_per_second < 7
    assert {evaluation.protocol for evaluation in scores.systems[0].evaluations} == {"sdhubert", "zerosyl", "plain"}
    silver = list(read_manifest(outputs(recipe, tmp_path, "silver") / "silver.jsonl"))
    assert all({"word", "phone", "syllable"} <= set(row.alignment or {}) for row in silver)
    assert all(row.custom["silver"]["worst_seconds"] < 0.5 for row in silver)
    encoder = load_encoder(str(outputs(recipe, tmp_path, "train2") / "model"), device="cpu")
    row = silver[0]
    assert len(encoder.encode(read_audio(row.audio_filepath))) == int(row.duration * 50)


def test_recordings_that_cannot_be_read_teach_nothing_and_stop_nothing(settings, tmp_path):
    speech = Path(settings[0].partition("=")[2])
    rows = [row for row in read_manifest(speech) if row.speaker != "84"]
    broken = [
        msgspec.structs.replace(rows[0], id="gone", audio_filepath="gone.wav"),
        msgspec.structs.replace(rows[0], id="rate", sample_rate=8000),
    ]
    write_manifest(tmp_path / "more.jsonl", [*rows, *broken])
    exp = tmp_path / "exp"
    assert run_recipe(
        recipe, exp, [*settings, f"train_manifest={tmp_path / 'more.jsonl'}"], stop=1, config_files=[TINY], device="cpu"
    ) == 0  # fmt: skip
    kept = read_manifest(outputs(recipe, exp, "prepare") / "train.jsonl")
    assert sorted(row.id for row in kept) == sorted(row.id for row in rows)


def test_what_is_missing_is_named(settings, tmp_path):
    with pytest.raises(ConfigError, match="train_manifest is not set"):
        run_recipe(recipe, tmp_path, overrides=[], device="cpu")
    with pytest.raises(ConfigError, match="'nobody' is not a speaker"):
        run(tmp_path, settings[:-1], "prepare.test_speakers=nobody")


def test_segments_of_a_tier_are_taken_as_they_are():
    row = Utterance(
        id="u",
        audio_filepath="u.wav",
        duration=1.0,
        sample_rate=16_000,
        alignment={"syllable": [AlignmentItem("a", 0.1, 0.2), AlignmentItem("b", 0.5, 0.1)]},
    )
    assert tier_spans(row).tolist() == [[5, 15], [25, 30]]
    seeds = Seeds("tier", 4, 30, 32.0, 6)
    assert seeds.settings([row], Path())["stored"](0).tolist() == [[5, 15], [25, 30]]
    with pytest.raises(UserError, match="has no tier 'syllable'"):
        tier_spans(msgspec.structs.replace(row, alignment=None))
