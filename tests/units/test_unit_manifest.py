"""Units leave with their audio path, speaker, split and text, and come back from every format that can hold them."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.cli.main import call
from speechkit.data import Utterance, read_manifest, write_manifest
from speechkit.encoders import EncoderSpec
from speechkit.errors import ManifestError, UserError
from speechkit.io.arrays import read_arrays, write_arrays
from speechkit.io.audio import write_audio
from speechkit.units import SpeechTokenizer, load_tokenizer
from speechkit.units.quantizers import load_quantizer
from speechkit.units.sequences import read_sequences
from speechkit.units.token_shards import INDEX, read_shards, write_shards
from speechkit.units.tokenizer import Units
from speechkit.units.tokenizer_spec import TokenizerSpec
from speechkit.units.unit_manifest import read_tokenizer_spec, read_unit_manifest, spec_path, units_of, with_units
from speechkit.units.unit_text import (
    detect_text,
    read_lines,
    read_slamkit,
    write_fairseq,
    write_slamkit,
    write_textless,
)

from .test_tokenizer import encoder, quantizers, speech  # noqa: F401 - fixtures

ENCODER = EncoderSpec("planted", "w", "3", "none", 4)
SPEC = TokenizerSpec("mine", "codebook", ENCODER, ["abc"], [500])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, encoder, quantizers):  # noqa: F811
    """Three recordings with speakers, texts and a split, one of them long, and a saved tokenizer."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = []
    for number, seconds in enumerate((2, 37, 1)):
        waveform = speech(seconds, number)
        write_audio(folder / f"{number}.flac", waveform, 16_000)
        rows.append(
            Utterance.from_samples(
                id=f"r{number}",
                audio_filepath=f"{number}.flac",
                num_samples=len(waveform),
                sample_rate=16_000,
                text="one two",
                speaker="anna",
                custom={"split": "dev", "durations": [7]},
            )
        )
    write_manifest(folder / "m.jsonl", rows)
    SpeechTokenizer(encoder, quantizers["codebook"], "mine").save(folder / "t", "mfcc")
    SpeechTokenizer(encoder, quantizers["residual"], "stack").save(folder / "s", "mfcc")
    return folder


def encode(corpus, out, *more, tokenizer="t"):
    return call(["units", "encode", *more, "--codebook", str(corpus / tokenizer), "--out", str(out), "--device", "cpu"])


@pytest.mark.parametrize("tokenizer", ["t", "s"])
def test_a_manifest_keeps_what_its_rows_had_and_gains_units(corpus, tmp_path, tokenizer):
    out = tmp_path / "deep" / "u.jsonl"
    assert encode(corpus, out, str(corpus / "m.jsonl"), tokenizer=tokenizer) == 0
    loaded = load_tokenizer(corpus / tokenizer, device="cpu")
    assert read_tokenizer_spec(out) == loaded.spec
    pairs = list(read_unit_manifest(out))
    assert [row.id for row, _ in pairs] == ["r0", "r1", "r2"]
    for number, (row, units) in enumerate(pairs):
        assert (row.speaker, row.text, row.custom["split"]) == ("anna", "one two", "dev")
        assert (out.parent / row.audio_filepath).resolve() == corpus / f"{number}.flac"
        expected = loaded.encode(corpus / f"{number}.flac")
        np.testing.assert_array_equal(loaded.decode(units), loaded.decode(expected))
        assert len(row.units) == expected.units.size
        assert max(row.units) < loaded.num_units


def test_recordings_become_rows_and_bad_ones_are_named(corpus, tmp_path, capsys):
    (tmp_path / "torn.wav").write_bytes(b"RIFF")
    write_audio(tmp_path / "short.wav", np.zeros(100, np.float32), 16_000)
    write_audio(tmp_path / "8k.wav", speech(2, rate=8_000), 8_000)
    files = [str(tmp_path / name) for name in ("torn.wav", "short.wav", "8k.wav")]
    assert encode(corpus, tmp_path / "u.jsonl", *files, "--split", "train", "--json") == 2
    said = capsys.readouterr()
    facts = json.loads(said.out)
    assert facts["recordings"] == 1
    assert set(facts["dropped"]) == {"short", str(tmp_path / "torn.wav")}
    assert "left out short: shorter than a frame" in said.err
    (row,) = read_manifest(tmp_path / "u.jsonl")
    assert (row.id, row.sample_rate, row.custom["split"], sum(row.custom["durations"])) == ("8k", 8_000, "train", 100)
    before = (tmp_path / "u.jsonl").read_bytes()
    assert encode(corpus, tmp_path / "u.jsonl", *files[:2]) == 2
    assert "none of 2 recordings could be processed" in capsys.readouterr().err
    assert (tmp_path / "u.jsonl").read_bytes() == before
    for arguments, sentence in (
        ((files[2], files[2]), "duplicate id"),
        ((str(tmp_path / "gone.wav"),), "no such file"),
        ((str(tmp_path / "u.jsonl"),), "is an input, and would be replaced"),
    ):
        assert encode(corpus, tmp_path / "u.jsonl", *arguments) == 2
        assert sentence in capsys.readouterr().err


def test_speech_without_a_codebook_becomes_units_of_the_one_inside_the_package(corpus, tmp_path):
    out = tmp_path / "u.jsonl"
    assert call(["units", "encode", str(corpus / "m.jsonl"), "--out", str(out), "--device", "cpu"]) == 0
    spec = read_tokenizer_spec(out)
    assert spec.name == "embedded-100"
    assert spec.num_units == 100
    assert spec.digest == load_quantizer("embedded-100").spec.digest
    assert all(sum(units.durations) > 0 for _, units in read_unit_manifest(out))


def test_commands_about_units_take_manifests_of_units(corpus, tmp_path, capsys):
    out = tmp_path / "u.jsonl"
    assert encode(corpus, out, str(corpus / "m.jsonl")) == 0
    quantizer = ["--codebook", str(corpus / "t" / "quantizer")]
    assert call(["units", "health", str(out), *quantizer]) == 0
    merges = ["units", "bpe", str(out), *quantizer, "--tokens", "20", "--out", str(tmp_path / "b.json")]
    assert call(merges) == 0
    tokens = tmp_path / "tokens.jsonl"
    assert encode(corpus, tokens, str(corpus / "m.jsonl"), "--bpe", str(tmp_path / "b.json")) == 0
    units = ["units", "encode", str(out), "--bpe", str(tmp_path / "b.json"), "--out", str(tmp_path / "plain.jsonl")]
    assert call(units) == 0
    assert read_sequences([tokens]) == read_sequences([tmp_path / "plain.jsonl"])
    stacked = tmp_path / "s.jsonl"
    assert encode(corpus, stacked, str(corpus / "m.jsonl"), tokenizer="s") == 0
    capsys.readouterr()
    assert call(["units", "health", str(stacked), *quantizer]) == 2
    assert "units but" in capsys.readouterr().err


def some_rows(counts=(5, 3), together=1):
    random = np.random.default_rng(0)
    spec = SPEC if together == 1 else msgspec.structs.replace(SPEC, codebooks=["a", "b"], clusters=[500, 3])
    rows = []
    for number, count in enumerate(counts):
        row = Utterance(
            id=f"a{number}", audio_filepath=f"sub/a{number}.wav", duration=1.0, sample_rate=16_000, text="x"
        )
        units = random.integers(0, 3, (count, together)).astype(np.int32)
        units = units[:, 0] if together == 1 else units
        rows.append((row, Units(units, random.integers(1, 9, count).astype(np.int32))))
    return rows, spec


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("shard_tokens", [1, 6, 1000])
def test_shards_give_rows_and_units_back(tmp_path, together, shard_tokens):
    rows, spec = some_rows((5, 3, 0, 4), together)
    assert write_shards(tmp_path, rows, spec, shard_tokens) == 4
    assert [*read_shards(tmp_path)] == [with_units(row, units, spec) for row, units in rows]
    tokens = read_arrays(tmp_path / "tokens-00000.safetensors")["tokens"]
    assert tokens.dtype == np.uint16
    for row, (_, units) in zip(read_shards(tmp_path), rows, strict=True):
        np.testing.assert_array_equal(units_of(row, spec).units, units.units)


def test_hostile_shards_are_one_sentence(tmp_path):
    rows, spec = some_rows()
    write_shards(tmp_path, rows, spec)
    path = tmp_path / "tokens-00000.safetensors"
    good = read_arrays(path)
    good = {name: np.array(array) for name, array in good.items()}
    for name, array in (
        ("tokens", good["tokens"][:-1]),
        ("tokens", np.full(8, 500, np.uint16)),
        ("offsets", np.array([0, 9, 8])),
        ("offsets", np.array([0, 8])),
        ("offsets", np.array([1, 5, 8])),
        ("durations", good["durations"][:-2]),
        ("durations", np.zeros(8, np.uint32)),
    ):
        write_arrays(path, {**good, name: array})
        with pytest.raises(UserError, match=r"does not match|out of range") as caught:
            list(read_shards(tmp_path))
        assert "\n" not in str(caught.value)
    index = json.loads((tmp_path / INDEX).read_text())
    index["shards"][0]["file"] = "../../etc/passwd"
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(UserError, match="leads out of"):
        list(read_shards(tmp_path))
    (tmp_path / INDEX).write_text("{}")
    with pytest.raises(UserError, match="create it again"):
        list(read_shards(tmp_path))


def written(path, write, rows, **options):
    write(path, rows, **options)
    return path


def test_what_slamkit_wrote_is_read_and_what_we_write_has_its_fields(tmp_path):
    theirs = tmp_path / "features.jsonl"  # as in its repository's example_data
    theirs.write_text('{"units": [3, 49, 7], "duration": [1, 1, 4], "file_name": "audio/audio2.flac"}\n')
    (row,) = read_slamkit(theirs, SPEC)
    assert (row.id, row.units, row.custom["durations"]) == ("audio2", [3, 49, 7], [1, 1, 4])
    assert row.audio_filepath == str(tmp_path / "audio/audio2.flac")
    assert row.duration == 6 * 0.02  # the audio is not there
    tokens = tmp_path / "tokens.jsonl"
    tokens.write_text('{"file_name": "a.flac", "audio_repr": "<Un3><Un49><Un7>"}\n')
    (row,) = read_slamkit(tokens, SPEC)
    assert (row.units, row.custom["durations"]) == ([3, 49, 7], [1, 1, 1])
    rows, _ = some_rows()
    ours = [json.loads(line) for line in written(tmp_path / "f", write_slamkit, rows).open()]
    assert [set(each) for each in ours] == [{"file_name", "units", "duration"}] * 2
    back = list(read_slamkit(tmp_path / "f", SPEC))
    assert [units_of(row, SPEC).units.tolist() for row in back] == [units.units.tolist() for _, units in rows]
    strings = [json.loads(line) for line in written(tmp_path / "g", write_slamkit, rows, tokens=True).open()]
    assert strings[0]["audio_repr"] == "".join(f"<Un{unit}>" for unit in rows[0][1].units)


def test_lines_of_textlesslib_and_fairseq_are_read_and_written(tmp_path):
    rows, _ = some_rows()
    path = written(tmp_path / "train.units", write_textless, rows)
    assert path.read_text().splitlines()[0] == "sub/a0.wav\t" + " ".join(map(str, rows[0][1].units))
    back = list(read_lines(path, SPEC))
    assert [row.custom["durations"] for row in back] == [units.durations.tolist() for _, units in rows]
    assert back[0].audio_filepath == str(tmp_path / "sub/a0.wav")
    frames = written(tmp_path / "q.txt", write_fairseq, rows)
    assert frames.read_text().splitlines()[1].partition("|")[0] == "sub/a1.wav"
    for row, (_, units) in zip(read_lines(frames, SPEC), rows, strict=True):
        expected = np.repeat(units.units, units.durations).tolist()
        assert np.repeat(row.units, row.custom["durations"]).tolist() == expected
        assert all(one != other for one, other in zip(row.units, row.units[1:], strict=False))
    (tmp_path / "train.durations").write_text("sub/a0.wav\t1\n")
    with pytest.raises(ManifestError, match="units but 1 durations"):
        list(read_lines(path, SPEC))
    with pytest.raises(UserError, match="tab, a bar or a line end"):
        write_fairseq(tmp_path / "x", [(msgspec.structs.replace(rows[0][0], audio_filepath="a|b"), rows[0][1])])
    with pytest.raises(UserError, match="several codebooks"):
        write_slamkit(tmp_path / "x", some_rows(together=2)[0])


@pytest.mark.parametrize(
    "line",
    [
        b"no units here",
        b"a|1 2 -3",
        b"a|1 2 500",
        b"a|99999999999999999999",
        b"\t1 2",
        b"a|\xff\xfe",
        b'{"file_name": "a"}',
        b'{"file_name": "a", "units": [1], "duration": [0]}',
        b'{"file_name": "a", "units": [1], "duration": [99999999999]}',
        b'{"file_name": "a", "units": [1, 2], "duration": [1]}',
        b'{"file_name": "a", "units": [500]}',
        b'{"file_name": "a", "audio_repr": "<Un1>hello"}',
        b'{"file_name": "a", "audio_repr": "<Un99999999999>"}',
    ],
)
def test_hostile_lines_are_one_sentence_with_their_place(tmp_path, line):
    path = tmp_path / "x.txt"
    path.write_bytes(line + b"\n")
    read = read_slamkit if line.startswith(b"{") else read_lines
    with pytest.raises(ManifestError, match=r"x\.txt") as caught:
        list(read(path, SPEC))
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=60))
@settings(max_examples=60)
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(content)
    said = ""
    try:
        read = {"slamkit": read_slamkit, "lines": read_lines}.get(detect_text(path), read_lines)
        list(read(path, SPEC))
    except UserError as error:
        said = str(error)
    assert "\n" not in said


def test_rows_whose_units_contradict_them_are_refused_by_name():
    row = with_units(some_rows()[0][0][0], some_rows()[0][0][1], SPEC)

    def other(**changes):
        return msgspec.structs.replace(row, custom={**row.custom, **changes})

    for wrong, sentence in (
        (msgspec.structs.replace(row, units=None), "a0: has no units"),
        (other(durations=[1]), "a0: 5 units but 1 durations"),
        (other(durations="many"), "a0: durations or codebook in custom are invalid"),
        (other(durations=[0, 1, 1, 1, 1]), "a0: a unit or a duration is out of range"),
        (other(codebook="zzz"), "of the codebook zzz, not abc"),
        (msgspec.structs.replace(row, units=[1 << 40] * 5), "out of range"),
    ):
        with pytest.raises(UserError, match=sentence):
            units_of(wrong, SPEC)


@pytest.mark.parametrize("way", ["slamkit", "textless", "fairseq", "parquet", "shards", "manifest"])
def test_converted_and_back_rows_have_the_same_units(corpus, tmp_path, way):
    source = tmp_path / "u.jsonl"
    assert encode(corpus, source, str(corpus / "m.jsonl")) == 0
    name = {"textless": "x.units", "parquet": "x.parquet", "shards": "x", "manifest": "y/x.jsonl"}.get(way, "x.txt")
    assert call(["units", "convert", str(source), str(tmp_path / name), "--to", way]) == 0
    back = ["units", "convert", str(tmp_path / name), str(tmp_path / "z/back.jsonl"), "--to", "manifest"]
    assert call([*back, "--like", str(source)] if way in ("slamkit", "textless", "fairseq") else back) == 0
    assert read_tokenizer_spec(tmp_path / "z/back.jsonl") == read_tokenizer_spec(source)
    before, after = (list(read_manifest(path)) for path in (source, tmp_path / "z/back.jsonl"))
    for old, new in zip(before, after, strict=True):
        assert (old.units, old.custom["durations"]) == (new.units, new.custom["durations"])
        assert old.num_samples == new.num_samples
        assert (tmp_path / "z" / new.audio_filepath).resolve() == (tmp_path / old.audio_filepath).resolve()
        if way in ("parquet", "shards", "manifest"):
            assert (old.text, old.speaker, old.custom, old.id) == (new.text, new.speaker, new.custom, new.id)


def test_hugging_face_reads_units_and_durations_as_numbers(corpus, tmp_path):
    datasets = pytest.importorskip("datasets")
    source = tmp_path / "u.jsonl"
    assert encode(corpus, source, str(corpus / "m.jsonl")) == 0
    assert call(["units", "convert", str(source), str(tmp_path / "x.parquet"), "--to", "parquet"]) == 0
    found = datasets.Dataset.from_parquet(str(tmp_path / "x.parquet"), cache_dir=str(tmp_path / "cache"))
    rows = list(read_manifest(source))
    assert found["units"][:] == [row.units for row in rows]
    assert found["durations"][:] == [row.custom["durations"] for row in rows]
    assert found["speaker"][:] == ["anna"] * 3
    assert isinstance(found.features["audio"], datasets.Audio)


def test_what_cannot_be_converted_is_one_sentence(corpus, tmp_path, capsys):
    source = tmp_path / "u.jsonl"
    assert encode(corpus, source, str(corpus / "m.jsonl")) == 0
    (tmp_path / "lines.txt").write_text("a|1 2\n")
    spec_path(tmp_path / "v.jsonl").write_text("{}")
    write_manifest(tmp_path / "v.jsonl", read_manifest(corpus / "m.jsonl"))
    capsys.readouterr()
    for arguments, sentence in (
        ((source, tmp_path / "x", "--to", "wav"), "--to is 'wav'"),
        ((source, source, "--to", "slamkit"), "is the source itself"),
        ((tmp_path / "lines.txt", tmp_path / "x", "--to", "manifest"), "--like is missing"),
        ((tmp_path / "v.jsonl", tmp_path / "x", "--to", "shards"), "create it again"),
        ((tmp_path / "v.jsonl", tmp_path / "x", "--to", "shards", "--like", source), "r0: has no units"),
        ((corpus / "m.jsonl", tmp_path / "x", "--to", "shards"), "encode the speech again"),
        ((tmp_path / "gone", tmp_path / "x", "--to", "shards"), "cannot be read"),
    ):
        assert call(["units", "convert", *map(str, arguments)]) == 2
        assert sentence in capsys.readouterr().err
    assert call(["units", "known", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hubert-base-ls960/9/km500"]["layer"] == 9


def test_files_of_one_name_in_two_folders_have_two_ids(tmp_path):
    (tmp_path / "q.txt").write_text("a/001.wav|1 1 2\nb/001.wav|3 4\nb/002.wav|3\nb/001.wav|5\n")
    (tmp_path / "f").write_text('{"file_name": "a/1.wav", "units": [1]}\n{"file_name": "b/1.wav", "units": [2]}\n')
    assert [row.id for row in read_lines(tmp_path / "q.txt", SPEC)] == ["001", "b-001", "002", "b-001-2"]
    assert [row.id for row in read_slamkit(tmp_path / "f", SPEC)] == ["1", "b-1"]


def test_options_that_would_do_nothing_are_refused(tmp_path, capsys):
    for arguments, sentence in (
        (("encode", "u.jsonl", "--bpe", "b.json", "--out", "t.jsonl", "--split", "dev"), "--split has no effect"),
        (("encode", "u.jsonl", "--bpe", "b.json", "--out", "t.jsonl", "--every-frame"), "--every-frame has no effect"),
        (("convert", "u.jsonl", "x", "--to", "slamkit", "--embed"), "--embed is for --to parquet"),
        (("convert", str(tmp_path), "x", "--to", "slamkit", "--like", "u.jsonl"), "shards hold the spec"),
    ):
        assert call(["units", *arguments]) == 2
        assert sentence in capsys.readouterr().err
    with pytest.raises(UserError, match="embedded-100: is no published codebook"):
        load_tokenizer("embedded-100", folder=tmp_path)
