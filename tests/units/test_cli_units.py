"""Claims about `speechkit units` on features of real speech."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.cli.main import call
from speechkit.cli.unit_drawing import _ribbon_names
from speechkit.data.records import AlignmentItem, Utterance
from speechkit.encoders import FeatureStore, FeatureWriter
from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError
from speechkit.io.arrays import read_arrays, write_arrays
from speechkit.units.acoustic_bpe import AcousticBpe, learn_bpe
from speechkit.units.codebook import Codebook
from speechkit.units.deduplication import deduplicate
from speechkit.units.sequences import UnitSequence, read_sequences
from speechkit.units.stacked import StackedQuantizer
from speechkit.units.token_sequences import decode_sequence, encode_sequence


@pytest.fixture(scope="module")
def made(tmp_path_factory, shared_data):
    folder = tmp_path_factory.mktemp("units")
    recordings = sorted((shared_data / "LJSpeech-1.1").rglob("*.flac"))[:3]
    assert call(["features", *map(str, recordings), "--encoder", "mfcc", "--out", str(folder / "features")]) == 0
    train = ["units", "train", str(folder / "features"), "--clusters", "20", "--out", str(folder / "book")]
    assert call([*train, "--normalization", "standardized"]) == 0
    assign = ["units", "assign", str(folder / "features"), "--codebook", str(folder / "book")]
    assert call([*assign, "--out", str(folder / "units.jsonl")]) == 0
    return folder


def rows(folder):
    return [msgspec.json.decode(line, type=UnitSequence) for line in (folder / "units.jsonl").open()]


def test_every_frame_has_the_unit_of_its_codebook(made):
    store, book = FeatureStore(made / "features"), Codebook.load(made / "book")
    found = {row.id: row.frames() for row in rows(made)}
    assert list(found) == store.ids()
    for name in store.ids():
        assert found[name].tolist() == book.assign(store[name]).tolist()


def test_averages_and_a_price_make_units_last_longer(made, tmp_path, capsys):
    train = ["units", "train", str(made / "features"), "--clusters", "20", "--out", str(tmp_path / "book")]
    assert call([*train, "--average", "3", "--switch-penalty", "1"]) == 0
    assign = ["units", "assign", str(made / "features"), "--codebook", str(tmp_path / "book")]
    assert call([*assign, "--out", str(tmp_path / "units.jsonl")]) == 0
    plain, smoothed = (sum(len(row.units) for row in rows(folder)) for folder in (made, tmp_path))
    assert smoothed < 0.8 * plain
    capsys.readouterr()
    assert call([*train, "--average", "2"]) == 2
    assert "--average is 2" in capsys.readouterr().err
    assert call([*train, "--switch-penalty", "inf"]) == 2
    assert "--switch-penalty is inf" in capsys.readouterr().err
    assert call([*train, "--switch-penalty", "1", "--residual", "2"]) == 2
    assert "leave --residual" in capsys.readouterr().err


def test_health_tells_use_and_what_units_say_of_an_alignment(made, capsys):
    told = []
    for row in rows(made):
        tier = [AlignmentItem(str(unit), place / 50, 0.02) for place, unit in enumerate(row.frames().tolist())]
        told.append(
            Utterance(id=row.id, audio_filepath="x", duration=1.0, sample_rate=16_000, alignment={"same": tier})
        )
    (made / "same.jsonl").write_bytes(b"\n".join(msgspec.json.encode(row) for row in told) + b"\n")
    capsys.readouterr()
    command = ["units", "health", str(made / "units.jsonl"), "--codebook", str(made / "book"), "--json"]
    assert call([*command, "--alignment", str(made / "same.jsonl"), "--tier", "same"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["clusters"] == 20
    assert 1 < facts["perplexity"] <= 20
    assert facts["same normalized information"] == pytest.approx(1)
    assert call([*command, "--alignment", str(made / "same.jsonl"), "--tier", "phone"]) == 2
    assert "no recording with units has a tier phone" in capsys.readouterr().err


def test_merges_shorten_the_units_and_give_them_back(made, capsys):
    command = ["units", "bpe", str(made / "units.jsonl"), "--codebook", str(made / "book"), "--tokens", "60"]
    assert call([*command, "--out", str(made / "bpe.json"), "--json"]) == 0
    curve = json.loads(capsys.readouterr().out)["units for each token"]
    assert curve["20"] == 1
    assert sorted(curve.values()) == list(curve.values())
    assert call([*command[:-1], "100000", "--out", str(made / "more.json"), "--json"]) == 0
    told = capsys.readouterr()
    assert f"{json.loads(told.out)['tokens']} of 100000 tokens were learnt: no pair" in told.err
    bpe = AcousticBpe.load(made / "bpe.json")
    for row in rows(made):
        assert bpe.decode(bpe.encode(row.units)) == row.units


@pytest.mark.parametrize("way", ["residual", "product"])
def test_codebooks_can_be_stacked_and_each_names_the_frames(made, way, tmp_path, capsys):
    command = ["units", "train", str(made / "features"), "--clusters", "4", f"--{way}", "3"]
    assert call([*command, "--out", str(tmp_path / "q")]) == 0
    assign = ["units", "assign", str(made / "features"), "--codebook", str(tmp_path / "q")]
    assert call([*assign, "--out", str(tmp_path / "u.jsonl")]) == 0
    store, quantizer = FeatureStore(made / "features"), StackedQuantizer.load(tmp_path / "q")
    for place in range(3):
        (row, *others) = read_sequences([tmp_path / f"u-{place}.jsonl"], quantizer.codebooks[place].spec.digest)
        assert row.frames().tolist() == quantizer.assign(store[row.id])[:, place].tolist()
        assert len(others) == 2
    last = ["--codebook", str(tmp_path / "q"), "--json"]
    capsys.readouterr()
    assert call(["units", "health", str(tmp_path / "u-2.jsonl"), *last]) == 0
    assert json.loads(capsys.readouterr().out)["clusters"] == 4
    bpe = ["units", "bpe", str(tmp_path / "u-1.jsonl"), *last, "--tokens", "9", "--out", str(tmp_path / "b.json")]
    assert call(bpe) == 0
    assert AcousticBpe.load(tmp_path / "b.json").codebook == quantizer.codebooks[1].spec.digest


def test_pictures_of_units_and_words_are_written(made, shared_data, tmp_path, capsys):
    found = rows(made)
    names = {path.stem: path for path in (shared_data / "LJSpeech-1.1").rglob("*.flac")}
    told = [
        Utterance(
            id=row.id,
            audio_filepath=str(names[row.id.rpartition("/")[2]]),
            duration=1.5,
            sample_rate=22_050,
            alignment={"word": [AlignmentItem("printing", 0.1, 0.4)]},
        )
        for row in found
    ]
    (tmp_path / "m.jsonl").write_bytes(b"\n".join(msgspec.json.encode(row) for row in told) + b"\n")
    units = str(made / "units.jsonl")
    draw = ["units", "draw", str(tmp_path / "m.jsonl"), "--units", units, "--out", str(tmp_path / "png")]
    capsys.readouterr()
    assert call([*draw, "--units", units, "--limit", "2"]) == 0
    written = capsys.readouterr().out.split()
    assert len(written) == 2
    assert all(Path(path).read_bytes().startswith(b"\x89PNG\r\n\x1a\n") for path in written)
    gone = [msgspec.structs.replace(told[0], audio_filepath="gone.flac"), *told[1:]]
    (tmp_path / "m.jsonl").write_bytes(b"\n".join(msgspec.json.encode(row) for row in gone) + b"\n")
    assert call(draw) == 2
    said = capsys.readouterr()
    assert len(said.out.split()) == 2
    assert f"left out {told[0].id}: " in said.err
    assert call([*draw, "--limit", "1"]) == 2
    assert "none of 1 recordings could be processed" in capsys.readouterr().err
    assert call([*draw, "--ids", "nobody"]) == 2
    assert "has no recording nobody" in capsys.readouterr().err


def test_ribbons_are_named_by_what_tells_their_files_apart():
    def named(*paths):
        return _ribbon_names([Path(path) for path in paths])

    assert named("units/layer-2/k-100/test.jsonl", "units/layer-3/k-100/test.jsonl") == ["layer-2", "layer-3"]
    assert named("a/b/x.jsonl", "a/c/y.jsonl") == ["b/x", "c/y"]
    assert named("k-50.jsonl", "k-100.jsonl") == ["k-50", "k-100"]
    assert named("a/u.jsonl") == ["u"]
    assert named("a/u.jsonl", "a/u.jsonl") == ["u", "u"]
    assert named("u.jsonl", "a/u.jsonl") == ["u", "a"]


def test_what_does_not_fit_is_one_sentence(made, tmp_path, capsys):
    train = ["units", "train", str(made / "features"), "--out", str(tmp_path / "b")]
    for more, sentence in (
        (["--clusters", "100000"], "too few for 100000 clusters"),
        (["--normalization", "loud"], "see speechkit units train --help"),
        (["--residual", "2", "--product", "2"], "give one"),
    ):
        assert call([*train, *more]) == 2
        assert sentence in capsys.readouterr().err
    assert call([*train[:2], str(made / "features"), "--clusters", "5", "--out", str(tmp_path / "other")]) == 0
    command = ["units", "health", str(made / "units.jsonl"), "--codebook", str(tmp_path / "other")]
    capsys.readouterr()
    assert call(command) == 2
    assert "is of the codebook" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--average", "3"], ["--residual", "2"], ["--product", "2"]])
def test_a_recording_that_holds_no_numbers_is_named(tmp_path, capsys, more):
    spec = EncoderSpec(model="planted", weights="w", layer="0", normalization="none", dim=4)
    random = np.random.default_rng(0)
    with FeatureWriter(tmp_path / "store", spec, "float32") as writer:
        for name in ("first", "second"):
            writer.add(name, random.standard_normal((50, 4)))
    path = tmp_path / "store/features-00000.safetensors"
    frames = read_arrays(path)["frames"].copy()
    frames[57, 2] = np.nan
    write_arrays(path, {"frames": frames})
    train = ["units", "train", str(tmp_path / "store"), "--clusters", "3", "--out", str(tmp_path / "b")]
    assert call([*train, *more]) == 2
    assert "second: frame 7 of the features contains NaN or infinity" in capsys.readouterr().err


def test_a_store_without_recordings_gives_no_units(made, tmp_path, capsys):
    store = FeatureStore(made / "features")
    with FeatureWriter(tmp_path / "store", store.spec):
        pass
    assign = ["units", "assign", str(tmp_path / "store"), "--codebook", str(made / "book")]
    assert call([*assign, "--out", str(tmp_path / "u.jsonl")]) == 2
    assert f"{tmp_path / 'store'}: contains no recordings" in capsys.readouterr().err
    assert not (tmp_path / "u.jsonl").exists()
    for more in ([], ["--residual", "2"], ["--average", "3"]):
        train = ["units", "train", str(tmp_path / "store"), "--clusters", "3", *more]
        assert call([*train, "--out", str(tmp_path / "b")]) == 2
        assert "there are no frames to cluster" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["health"], ["bpe", "--tokens", "30", "--out", "never.json"]])
def test_units_without_their_durations_are_refused_with_the_recording(made, tmp_path, capsys, command):
    first, second, *_ = rows(made)
    torn = msgspec.structs.replace(second, durations=second.durations[:-1])
    (tmp_path / "u.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, (first, torn))) + b"\n")
    name, *more = command
    assert call(["units", name, str(tmp_path / "u.jsonl"), "--codebook", str(made / "book"), *more]) == 2
    assert f"{tmp_path / 'u.jsonl'}: {second.id}: {len(second.units)} units but" in capsys.readouterr().err


def test_the_help_lists_what_is_about_units_alone(capsys):
    assert call(["units", "--help"]) == 0
    assert "completion" not in capsys.readouterr().out


def test_tokens_keep_all_durations_and_give_the_units_back(made, tmp_path, capsys):
    learn = ["units", "bpe", str(made / "units.jsonl"), "--codebook", str(made / "book"), "--tokens", "60"]
    assert call([*learn, "--out", str(tmp_path / "bpe.json")]) == 0
    merges = ["--bpe", str(tmp_path / "bpe.json")]
    encode = ["units", "encode", str(made / "units.jsonl"), *merges, "--out", str(tmp_path / "tokens.jsonl")]
    assert call(encode) == 0
    decode = ["units", "decode", str(tmp_path / "tokens.jsonl"), *merges, "--out", str(tmp_path / "back.jsonl")]
    assert call(decode) == 0
    assert (tmp_path / "back.jsonl").read_bytes() == (made / "units.jsonl").read_bytes()
    bpe = AcousticBpe.load(tmp_path / "bpe.json")
    tokens = read_sequences([tmp_path / "tokens.jsonl"], bpe.digest)
    for row, whole in zip(rows(made), tokens, strict=True):
        assert whole.units == bpe.encode(row.units)
        frames, place = row.frames(), 0
        for token, duration in zip(whole.units, whole.durations, strict=True):
            assert deduplicate(frames[place : place + duration])[0].tolist() == bpe.decode([token])
            place += duration
        assert place == len(frames)
    capsys.readouterr()
    for command, sentence in (
        (["bpe", str(tmp_path / "tokens.jsonl"), *learn[3:], "--out", str(tmp_path / "b.json")], "holds tokens"),
        (["encode", str(tmp_path / "tokens.jsonl"), *encode[3:]], "is of the codebook"),
        (["decode", str(made / "units.jsonl"), *decode[3:]], "is of the codebook"),
        (["encode", str(made / "units.jsonl"), "--bpe", "no.json", "--out", "x"], "speechkit units bpe wrote"),
    ):
        assert call(["units", *command]) == 2
        assert sentence in capsys.readouterr().err


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=20), min_size=1, max_size=5))
@settings(max_examples=50)
def test_any_units_come_back_with_their_durations(items):
    learnt = learn_bpe([[unit for unit, _ in runs] for runs in items], 4, 9, "book")
    for runs in items:
        row = UnitSequence("a", [unit for unit, _ in runs], [frames for _, frames in runs], "book")
        tokens = encode_sequence(row, learnt)
        assert sum(tokens.durations) == sum(row.durations)
        assert decode_sequence(tokens, learnt) == row


def test_tokens_that_contradict_themselves_or_are_of_other_merges_are_refused():
    learnt, other = learn_bpe([[0, 1, 0, 1]], 2, 3, "book"), learn_bpe([[1, 0, 1, 0]], 2, 3, "book")
    row = UnitSequence("talk", [0, 1], [3, 4], "book")
    tokens = encode_sequence(row, learnt)
    for wrong, sentence in (
        (msgspec.structs.replace(tokens, unit_durations=None), "talk: has no durations of its units"),
        (msgspec.structs.replace(tokens, unit_durations=[3]), "talk: 2 units but 1 durations"),
        (msgspec.structs.replace(tokens, durations=[9]), "talk: the durations of its tokens"),
        (msgspec.structs.replace(tokens, units=[7]), "talk: token 7 is out of range"),
        (encode_sequence(row, other), "talk: its tokens are of the merges"),
    ):
        with pytest.raises(UserError, match=sentence):
            decode_sequence(wrong, learnt)
    with pytest.raises(UserError, match=r"talk: its units.*codebook other"):
        encode_sequence(msgspec.structs.replace(row, codebook="other"), learnt)
    with pytest.raises(UserError, match=r"talk: unit 2.*out of range"):
        encode_sequence(msgspec.structs.replace(row, units=[0, 2]), learnt)
