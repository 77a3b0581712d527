"""Claims about which recordings teach and which judge, in both recipes of units."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
import soundfile

from speechkit.data.manifest import read_jsonl, write_manifest
from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.pipeline import outputs, run_recipe
from speechkit.pipeline.discover import recipe_module
from speechkit.report.invariant_units_page import markdown
from speechkit.report.units_page import lead
from speechkit.units.invariant.records import InvariantReport
from speechkit.units.records import UnitsReport

units = recipe_module("units").recipe
invariant = recipe_module("units_invariant").recipe

BOTH = pytest.mark.parametrize("recipe", [units, invariant], ids=lambda recipe: recipe.name)
RATE = 16_000


def row(name, file="a.wav", begin=0.0, seconds=2.0, **more):
    return Utterance.from_samples(
        id=name,
        audio_filepath=file,
        offset_samples=round(begin * RATE),
        num_samples=round(seconds * RATE),
        sample_rate=RATE,
        **more,
    )


def manifests(folder, train, test):
    write_manifest(folder / "train.jsonl", train)
    write_manifest(folder / "test.jsonl", test)
    return [f"train_manifest={folder / 'train.jsonl'}", f"test_manifest={folder / 'test.jsonl'}"]


@BOTH
@pytest.mark.parametrize("part", ["train", "test"])
def test_an_id_that_comes_twice_is_refused_before_anything_is_encoded(recipe, part, tmp_path):
    rows = {"train": [row("a"), row("b", "b.wav")], "test": [row("c", "c.wav")]}
    rows[part].append(msgspec.structs.replace(rows[part][0], audio_filepath="other.wav", text="another"))
    given = manifests(tmp_path, rows["train"], rows["test"])
    with pytest.raises(UserError, match=rf"{part}\.jsonl:.*duplicate id '[ac]'.*give every recording.*unique"):
        run_recipe(recipe, tmp_path / "exp", given, stop=1, quiet=True)


@BOTH
def test_audio_that_judges_teaches_nothing_though_no_speaker_is_named(recipe, tmp_path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "linked.wav").symlink_to("a.wav")
    train = [
        row("same"),
        row("inside", begin=0.5, seconds=1.0),
        row("across", begin=9.0, seconds=3.0),
        row("linked", "linked.wav", begin=1.5),
        row("absolute", str(tmp_path / "a.wav")),
        row("between", begin=2.0),
        row("behind", begin=20.0),
        row("second channel", channel=1),
        row("other file", "b.wav", speaker="B"),
    ]
    test = [row("long", seconds=1.5), row("short", begin=1.5, seconds=0.5 + 1 / RATE), row("late", begin=10.0)]
    test[1] = row("short", begin=0.0, seconds=2.0, speaker="T")
    run_recipe(recipe, tmp_path / "exp", [*manifests(tmp_path, train, test), "prepare.min_seconds=0.5"], stop=1)
    folder = outputs(recipe, tmp_path / "exp", "prepare")
    drops = {drop["id"]: drop for drop in map(json.loads, (folder / "drops.jsonl").open())}
    assert set(drops) == {f"train/{name}" for name in ("same", "inside", "across", "linked", "absolute")}
    assert {drop["reason"] for drop in drops.values()} == {"test_audio"}
    assert drops["train/across"]["detail"] == "the same audio as test/late"
    assert drops["train/linked"]["detail"] == "the same audio as test/short"
    name = "recordings.jsonl" if recipe is units else "train.jsonl"
    kept = {row.id for row in read_jsonl(folder / name, Utterance) if row.id.startswith("train/")}
    assert kept == {"train/between", "train/behind", "train/second channel", "train/other file"}
    told = (tmp_path / "exp" / "run.log").read_text()
    assert "3 of 4 training and 2 of 3 test recordings have no speaker" in told


@BOTH
def test_one_manifest_without_speakers_cannot_teach_and_judge(recipe, tmp_path):
    rows = [row("a"), row("b", "b.wav")]
    with pytest.raises(UserError, match=r"0 training.*2 test recordings.*left"):
        run_recipe(recipe, tmp_path / "exp", manifests(tmp_path, rows, rows), stop=1, quiet=True)


def test_the_pages_say_how_many_recordings_name_no_speaker():
    report = UnitsReport(recordings=5, seconds=60.0, speakers=2, tier=None, scores=[], curves=[], unnamed=3)
    assert "2 speakers (3 recordings name none). No training recording names one of these" in lead(report)
    named = msgspec.structs.replace(report, unnamed=0)
    assert "2 speakers. No training" in lead(named)
    assert "unnamed" not in msgspec.json.decode(msgspec.json.encode(named))
    other = InvariantReport("log-mel", 0, 5, 60.0, 2, 0, 0, [], unnamed=3)
    assert "2 speakers (3 utterances name none), 0 word" in markdown(other)
    assert "unnamed" not in msgspec.json.decode(msgspec.json.encode(msgspec.structs.replace(other, unnamed=0)))


def test_test_recordings_without_a_speaker_are_counted(tmp_path):
    random = np.random.default_rng(0)
    rows = []
    for name in "abcd":
        soundfile.write(tmp_path / f"{name}.wav", random.normal(0, 0.1, RATE), RATE)
        rows.append(row(name, f"{name}.wav", seconds=1.0, speaker="D" if name == "d" else None))
    given = [*manifests(tmp_path, rows[:2], rows[2:]), "encoder=log-mel", "layers=[0]", "clusters=[3]"]
    given += ["bpe.sizes=[4]", "bpe.ngram_order=0", "score.pictures=0"]
    run_recipe(units, tmp_path / "exp", given, quiet=True, device="cpu")
    report = msgspec.json.decode(
        (outputs(units, tmp_path / "exp", "score") / "scores.json").read_bytes(), type=UnitsReport
    )
    assert (report.recordings, report.speakers, report.unnamed) == (2, 1, 1)


@BOTH
def test_a_manifest_is_given_to_the_first_stage_alone(recipe, tmp_path):
    train, test = manifests(tmp_path, [row("a")], [row("b", "b.wav")])
    with pytest.raises(ConfigError, match=r"'features\.train_manifest'; give train_manifest=…, .* by prepare"):
        run_recipe(recipe, tmp_path / "exp", [train, test, f"features.{train}"], stop=3)
    with pytest.raises(ConfigError, match=r"test_manifest is not set.* test_manifest=FILE"):
        run_recipe(recipe, tmp_path / "none", [train], stop=1, quiet=True)


@pytest.mark.parametrize(
    "setting", ["clusters=[]", "clusters=[0]", "layers=[-1]", "kinds=[]", "score.pictures=-1", "bpe.sizes=[0]"]
)
def test_settings_that_cannot_be_meant_are_refused_before_the_first_stage(setting, tmp_path):
    with pytest.raises(ConfigError, match=setting.partition("=")[0].rpartition(".")[2]):
        run_recipe(units, tmp_path / "exp", [setting], quiet=True)
    assert not (tmp_path / "exp").exists()
