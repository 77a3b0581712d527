"""Stage 1 of the recipe: who is learnt from and who is judged by, and what is refused before anything is computed."""

import json

import pytest

from speechkit.data import Utterance, write_manifest
from speechkit.data.manifest import read_manifest
from speechkit.errors import ConfigError, UserError
from speechkit.pipeline import outputs, run_recipe
from speechkit.pipeline.config import read_settings
from speechkit.pipeline.discover import recipe_module

recipe = recipe_module("sylber").recipe


def said(name, speaker, text="some words", duration=2.0):
    return Utterance(
        id=name, audio_filepath=f"{name}.wav", duration=duration, sample_rate=16_000, text=text, speaker=speaker
    )


TRUTH = [said("a1", "a"), said("a2", "a"), said("b1", "b"), said("b2", "b")]
OTHERS = [said("c1", "c", None), said("d1", "d", None)]


@pytest.fixture
def prepare(tmp_path):
    def run(*overrides, train=OTHERS, dev=OTHERS, truth=TRUTH, speakers="a"):
        given = {"train_manifest": train, "dev_manifest": dev, "truth_manifest": truth}
        for name, rows in given.items():
            write_manifest(tmp_path / f"{name}.jsonl", rows)
        settings = [f"{name}={tmp_path / name}.jsonl" for name in given]
        settings += ["prepare.check_audio=false", f"prepare.test_speakers={speakers}", *overrides]
        assert run_recipe(recipe, tmp_path / "exp", settings, stop=1, device="cpu", quiet=True) == 0
        return outputs(recipe, tmp_path / "exp", "prepare")

    return run


def ids(path):
    return sorted(row.id for row in read_manifest(path))


def test_the_test_speakers_are_kept_out_of_what_is_learnt_from(prepare):
    folder = prepare(train=[*OTHERS, *TRUTH], dev=TRUTH)
    assert ids(folder / "train.jsonl") == ["b1", "b2", "c1", "d1"]
    assert ids(folder / "dev.jsonl") == ["b1", "b2"]
    assert {row.id: row.custom["part"] for row in read_manifest(folder / "truth.jsonl")} == {
        "a1": "test", "a2": "test", "b1": "tune", "b2": "tune"
    }  # fmt: skip
    drops = [json.loads(line) for line in (folder / "drops.jsonl").read_text().splitlines()]
    assert [(drop["id"], drop["reason"]) for drop in drops].count(("a1", "test_speaker")) == 2


def test_recordings_that_name_no_speaker_are_learnt_from_and_said(prepare, tmp_path):
    assert ids(prepare(train=[*OTHERS, said("e1", None)]) / "train.jsonl") == ["c1", "d1", "e1"]
    assert "train_manifest: 1 of 3 recordings have no speaker" in (tmp_path / "exp" / "run.log").read_text()


@pytest.mark.parametrize("name", ["train", "dev", "truth"])
def test_an_id_that_comes_twice_is_refused(prepare, name):
    rows = [*(TRUTH if name == "truth" else OTHERS), said("x", "b"), said("x", "d")]
    with pytest.raises(UserError, match=rf"{name}_manifest\.jsonl:.*duplicate id 'x'.*give every recording"):
        prepare(**{name: rows})


def test_test_speakers_must_be_some_of_several(prepare):
    with pytest.raises(ConfigError, match=r"test_speakers.*not set.*name.*2 speakers.*test_speakers=a"):
        prepare(speakers="")
    with pytest.raises(ConfigError, match=r"test_speakers names all 2 speakers.*truth_manifest"):
        prepare(speakers="a,b")
    with pytest.raises(ConfigError, match=r"no utterance.*'b'.*text.*most 36 s"):
        prepare(speakers="a,b", truth=[*TRUTH[:2], said("b1", "b", ""), said("e1", "e")])
    with pytest.raises(UserError, match=r"truth_manifest\.jsonl: has no speakers"):
        prepare(truth=[said("x", None)])


def test_a_part_of_which_nothing_is_left_is_named_with_the_commonest_reason(prepare):
    without = [said(row.id, row.speaker, "") for row in TRUTH]
    with pytest.raises(UserError, match=r"truth_manifest\.jsonl: none.*2 utterances.*test speakers.*left, 2"):
        prepare(truth=without)
    with pytest.raises(UserError, match=r"none.*2 utterances.*other speakers.*left, 2 dropped.*no_text"):
        prepare(truth=[*TRUTH[:2], *without[2:]])
    with pytest.raises(UserError, match=r"none.*2 recordings.*train_manifest.*left, 2 dropped.*too_short: lower"):
        prepare("prepare.min_seconds=3")
    with pytest.raises(UserError, match=r"none.*2 recordings.*dev_manifest.*left, 2 dropped.*test_speaker"):
        prepare(dev=TRUTH[:2])
    # The files are not there.
    with pytest.raises(UserError, match=r"2 recordings.*train_manifest.*left, 2 dropped.*unreadable_audio: fix"):
        prepare("prepare.check_audio=true")
    with pytest.raises(UserError, match=r"dev_manifest\.jsonl: holds no recording"):
        prepare(dev=[])


def written(folder, section):
    """Settings of a run on manifests that are written there."""
    settings = ["prepare.check_audio=false", "prepare.test_speakers=a"]
    for name, rows in (("train_manifest", OTHERS), ("dev_manifest", OTHERS), ("truth_manifest", TRUTH)):
        write_manifest(folder / f"{name}.jsonl", rows)
        settings.append(f"{section}{name}={folder / name}.jsonl")
    return settings


def test_later_stages_read_the_audio_of_the_manifests_of_the_first(tmp_path):
    settings = written(tmp_path, "prepare.")
    assert run_recipe(recipe, tmp_path / "exp", settings, stop=2, device="cpu", quiet=True) == 0
    drops = (outputs(recipe, tmp_path / "exp", "words") / "drops.jsonl").read_text().splitlines()
    assert len(drops) == 4
    assert str(tmp_path / "a1.wav") in drops[0]


def test_a_manifest_is_given_to_the_first_stage_alone():
    for section in ("words", "train1", "tokens"):
        with pytest.raises(ConfigError, match=rf"'{section}.truth_manifest'.*give truth_manifest=…,.*prepare"):
            read_settings(recipe, overrides=[f"{section}.truth_manifest=x.jsonl"])


def test_a_truth_that_cannot_be_aligned_ends_the_run_before_training(tmp_path):
    settings = written(tmp_path, "")
    with pytest.raises(UserError, match=r"no utterance.*test speakers.*left.*, 4 dropped.*unreadable_audio"):
        run_recipe(recipe, tmp_path / "exp", settings, device="cpu", quiet=True)
