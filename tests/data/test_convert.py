"""Round trips through every format: what a format can hold comes back, what it cannot is counted."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings

from speechkit.data import AlignmentItem, Source, Utterance, audio_path, read_manifest, write_manifest
from speechkit.data.convert import FORMATS, convert, detect_format, write_format
from speechkit.data.formats import fairseq, kaldi, lhotse, nemo, table
from speechkit.data.formats.identity import AbsoluteAudio
from speechkit.data.formats.kaldi import SortedLines
from speechkit.data.formats.losses import OPTIONAL
from speechkit.errors import ManifestError, UserError
from speechkit.io.audio import audio_info, read_audio

from .made import make_audio, utterances

NAMES = {
    "speechkit": "out/x.jsonl.gz",
    "nemo": "out/nemo.json",
    "lhotse": "out/cuts.jsonl.gz",
    "kaldi": "out/kaldi",
    "parquet": "out/p.parquet",
    "fairseq": "out/f.tsv",
    "csv": "out/c.csv",
}
# What each format brings back as it was, with id, audio, rate and duration.
HELD = {
    "speechkit": set(OPTIONAL),
    "nemo": nemo.HELD,
    "lhotse": set(OPTIONAL),
    "kaldi": kaldi.HELD,
    "parquet": set(OPTIONAL) - {"offset", "channel"},  # the audio inside is the cut itself
    "fairseq": fairseq.HELD - {"offset", "channel"},
    "csv": set(OPTIONAL),
}


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    make_audio(folder)
    return folder


def plain(text: str | None, name: str) -> str | None:
    """The text as a format is allowed to give it back; each change is counted in its output."""
    if name == "nemo":
        return text or ""
    if name == "csv":
        return text or None
    if name in ("kaldi", "fairseq"):
        text = None if text is None else " ".join(text.split())
        return (text or None) if name == "fairseq" else text
    return text


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=utterances())
@pytest.mark.parametrize("name", NAMES)
def test_a_round_trip_brings_back_what_the_format_holds(corpus, name, rows):
    source, target, back = corpus / "m.jsonl", corpus / NAMES[name], corpus / "back" / name / "m.jsonl"
    write_manifest(source, rows)
    written = convert(source, target, target_format=name)
    assert written.rows == len(rows)
    convert(target, back, source_format=name)
    found = {row.id: row for row in read_manifest(back)}
    expected = {" ".join(row.id.splitlines()) if name == "fairseq" else row.id: row for row in rows}
    assert found.keys() == expected.keys()
    for identifier, row in expected.items():
        got = found[identifier]
        assert (got.num_samples, got.sample_rate) == (row.num_samples, row.sample_rate)
        for field in HELD[name] - {"text", "speaker", "features"}:
            assert getattr(got, field) == getattr(row, field), field
        assert got.text == plain(row.text, name)
        if name not in ("kaldi", "fairseq"):
            assert got.speaker == row.speaker
        before, after = audio_path(source, row), audio_path(back, got)
        np.testing.assert_array_equal(
            read_audio(after, offset_samples=got.offset_samples, num_samples=got.num_samples, sample_rate=None),
            read_audio(before, offset_samples=row.offset_samples, num_samples=row.num_samples, sample_rate=None),
        )
    for field, default in OPTIONAL.items():
        gone = sum(getattr(row, field) != default for row in rows) if field in written.lost else 0
        assert written.lost.get(field, 0) == gone
        if field not in HELD[name] | {"offset", "channel"}:
            assert written.lost.get(field, 0) == sum(getattr(row, field) != default for row in rows)


def full_row(**fields) -> Utterance:
    given = {
        "id": "u1", "audio_filepath": "rec/one two.wav", "text": "hello world", "speaker": "s1", "lang": "en",
        "alignment": {"word": [AlignmentItem("hello", 0.0, 0.5, 0.9), AlignmentItem("world", 0.5, 0.5)]},
        "units": [1, 2], "score": 0.5, "source": Source("d.pdf", 1, 9, 2), "custom": {"a": 1},
    } | fields  # fmt: skip
    return Utterance.from_samples(offset_samples=8000, num_samples=16001, sample_rate=16000, **given)


def test_lhotse_itself_reads_the_cuts_with_word_alignments(corpus):
    cutset = pytest.importorskip("lhotse").CutSet
    write_manifest(corpus / "full.jsonl", [full_row()])
    convert(corpus / "full.jsonl", corpus / "out/full.cuts.jsonl.gz", target_format="lhotse")
    cut = next(iter(cutset.from_file(corpus / "out/full.cuts.jsonl.gz")))
    assert (cut.id, cut.num_samples, cut.sampling_rate) == ("u1", 16001, 16000)
    words = cut.supervisions[0].alignment["word"]
    assert [(item.symbol, item.start, item.duration, item.score) for item in words] == [
        ("hello", 0.0, 0.5, 0.9),
        ("world", 0.5, 0.5, None),
    ]
    assert cut.supervisions[0].language == "en"
    expected = read_audio(corpus / "rec/one two.wav", offset_samples=8000, num_samples=16001)
    np.testing.assert_array_equal(cut.load_audio()[0], expected)


def test_cuts_written_by_lhotse_are_read(corpus):
    lhotse_itself = pytest.importorskip("lhotse")
    from lhotse.supervision import AlignmentItem as Item

    recording = lhotse_itself.Recording.from_file(corpus / "rec/zwei.flac")
    word = Item("hi", 1.1, 0.2)
    parts = [
        lhotse_itself.SupervisionSegment("s-a", recording.id, 0.0, 1.0, text="first", speaker="x", gender="f"),
        lhotse_itself.SupervisionSegment("s-b", recording.id, 1.0, 0.5, text="second", alignment={"word": [word]}),
    ]
    cut = recording.to_cut().truncate(offset=0.5, duration=2.0, preserve_id=True)
    cut.supervisions = parts
    lhotse_itself.CutSet.from_cuts([cut]).to_file(corpus / "theirs.jsonl.gz")
    assert detect_format(corpus / "theirs.jsonl.gz") == "lhotse"
    convert(corpus / "theirs.jsonl.gz", corpus / "ours.jsonl")
    first, second = read_manifest(corpus / "ours.jsonl")
    assert (first.id, first.offset_samples, first.num_samples, first.speaker) == ("s-a", 11025, 22050, "x")
    assert first.custom == {"gender": "f"}
    assert (second.offset_samples, second.text) == (33075, "second")
    assert second.alignment == {"word": [AlignmentItem("hi", 0.1, 0.2)]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "MixedCut"}, "is a MixedCut; save its audio"),
        ({"recording": None}, "has features but no recording"),
        ({"channel": [0, 1]}, "split it by channel"),
        ({"start": "x"}, "is not a Lhotse cut"),
        ({"supervisions": [{"id": "a"}]}, "is not a Lhotse cut"),
    ],
)
def test_cuts_that_are_no_plain_audio_are_named(corpus, change, reason):
    cut = lhotse._cut(full_row(), str(corpus / "rec/one two.wav"))
    (corpus / "bad.jsonl").write_bytes(msgspec.json.encode(cut | change) + b"\n")
    with pytest.raises(ManifestError, match=rf"bad\.jsonl:1: .*{reason}"):
        list(lhotse.read_lhotse(corpus / "bad.jsonl", corpus))


def test_a_command_in_shards_never_runs(tmp_path):
    source = {"type": "command", "channels": [0], "source": f"touch {tmp_path}/ran"}
    recording = {"id": "r", "sources": [source], "sampling_rate": 16_000, "num_samples": 9, "duration": 9 / 16_000}
    cut = {"id": "c", "start": 0, "duration": 9 / 16_000, "channel": 0, "type": "MonoCut", "recording": recording}
    (tmp_path / "shar").mkdir()
    (tmp_path / "shar" / "cuts.000000.jsonl.gz").write_bytes(gzip.compress(msgspec.json.encode(cut) + b"\n"))
    with pytest.raises(ManifestError, match="'c' takes its audio from a command"):
        convert(tmp_path / "shar", tmp_path / "back.jsonl")
    assert not (tmp_path / "ran").exists()


def test_shar_becomes_a_manifest_of_a_relative_folder(corpus, tmp_path, monkeypatch):
    write_manifest(corpus / "mono.jsonl", [full_row()])
    convert(corpus / "mono.jsonl", tmp_path / "shar", target_format="shar")
    monkeypatch.chdir(tmp_path)
    convert("shar", "back/m.jsonl")
    (row,) = read_manifest("back/m.jsonl")
    assert row.audio_filepath.startswith("audio/")
    assert audio_info(audio_path("back/m.jsonl", row)).num_samples == row.num_samples


def test_shar_holds_the_audio_of_each_cut(corpus, tmp_path):
    pytest.importorskip("lhotse")
    rows = [full_row(), full_row(id="u2", audio_filepath="rec/one two.wav", text=None)]
    write_manifest(corpus / "shar.jsonl", rows)
    written = convert(corpus / "shar.jsonl", tmp_path / "shar", target_format="shar")
    assert written.lost == {"offset": 2}
    convert(tmp_path / "shar", tmp_path / "back.jsonl")
    back = list(read_manifest(tmp_path / "back.jsonl"))
    for before, after in zip(rows, back, strict=True):
        moved = msgspec.structs.replace(after, offset=before.offset, audio_filepath=before.audio_filepath)
        assert moved == before
        np.testing.assert_array_equal(
            read_audio(tmp_path / after.audio_filepath, sample_rate=None),
            read_audio(audio_path(corpus / "m", before), offset_samples=8000, num_samples=16001, sample_rate=None),
        )
    with pytest.raises(ManifestError, match="is not empty"):
        convert(corpus / "shar.jsonl", tmp_path / "shar", target_format="shar")


def test_parquet_carries_the_audio_feature_of_datasets(corpus):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_manifest(corpus / "full.jsonl", [full_row()])
    convert(corpus / "full.jsonl", corpus / "out/full.parquet")
    table_read = parquet.read_table(corpus / "out/full.parquet")
    features = msgspec.json.decode(table_read.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["audio"] == {"_type": "Audio"}
    assert list(features) == table_read.column_names
    audio = table_read["audio"][0].as_py()
    assert audio["bytes"][:4] == b"fLaC"
    by_path = convert(corpus / "full.jsonl", corpus / "out/path.parquet", embed=False)
    assert sum(by_path.changed.values()) == 1
    audio = parquet.read_table(corpus / "out/path.parquet")["audio"][0].as_py()
    assert audio == {"bytes": None, "path": str((corpus / "rec/one two.wav").resolve())}
    convert(corpus / "out/path.parquet", corpus / "by_path.jsonl")
    assert list(read_manifest(corpus / "by_path.jsonl")) == [full_row()]


def test_kaldi_tables_are_sorted_by_bytes_and_pass_kaldis_own_rules(corpus):
    rows = [
        full_row(id=f"{name}-{n}", speaker=name, units=None)
        for name in ("b", "B", "a10", "a1", "é")
        for n in (10, 9, 1)
    ]
    write_manifest(corpus / "k.jsonl", rows)
    convert(corpus / "k.jsonl", corpus / "k", target_format="kaldi")
    environment = {**os.environ, "LC_ALL": "C"}
    for name in ("wav.scp", "segments", "text", "utt2spk", "spk2utt", "utt2lang"):
        subprocess.run(["sort", "-c", "-u", str(corpus / "k" / name)], check=True, env=environment)
    subprocess.run(["sort", "-c", "-k2", str(corpus / "k" / "utt2spk")], check=True, env=environment)
    ids = [line.split()[0] for line in (corpus / "k" / "segments").read_bytes().splitlines()]
    assert ids == [line.split()[0] for line in (corpus / "k" / "utt2spk").read_bytes().splitlines()]
    by_speaker = [line.split() for line in (corpus / "k" / "spk2utt").read_bytes().splitlines()]
    assert sorted(utterance for line in by_speaker for utterance in line[1:]) == sorted(ids)
    assert not (corpus / "k" / "utt2id").exists()


def test_kaldi_ids_that_would_meet_stay_apart_or_are_named(corpus, tmp_path):
    rows = [full_row(id="a b", speaker="s 1"), full_row(id="a_b", speaker="s_1")]
    write_manifest(corpus / "meet.jsonl", rows)
    convert(corpus / "meet.jsonl", tmp_path / "k", target_format="kaldi")
    back = list(kaldi.read_kaldi(tmp_path / "k", corpus))
    assert {row.id for row in back} == {"a b", "a_b"}
    assert len({row.speaker for row in back}) == 2
    write_manifest(corpus / "meet.jsonl", [full_row(id="x"), full_row(id="x", text="other")])
    with pytest.raises(ManifestError, match=r"two utterances.*id 's1-x'"):
        convert(corpus / "meet.jsonl", tmp_path / "new", target_format="kaldi")
    assert not list((tmp_path / "new").glob("*"))


@pytest.mark.parametrize("name", ["p.parquet", "f.tsv"])
def test_rows_of_one_id_do_not_overwrite_each_others_audio(corpus, tmp_path, name):
    rows = [full_row(id="x"), full_row(id="x", audio_filepath="rec/one two.wav", custom=None)]
    rows[1] = msgspec.structs.replace(rows[1], offset=0.0)
    write_manifest(corpus / "same.jsonl", rows)
    convert(corpus / "same.jsonl", tmp_path / name)
    convert(tmp_path / name, tmp_path / "back.jsonl")
    for before, after in zip(rows, read_manifest(tmp_path / "back.jsonl"), strict=True):
        np.testing.assert_array_equal(
            read_audio(tmp_path / after.audio_filepath),
            read_audio(audio_path(corpus / "m", before), offset_samples=before.offset_samples, num_samples=16001),
        )


def test_kaldi_commands_are_read_and_never_run(corpus, tmp_path):
    folder = tmp_path / "k"
    folder.mkdir()
    wav = corpus / "rec/one two.wav"
    quoted = f"'{wav}'"
    for command, channel in (
        (str(wav), 0), (f"sox {quoted} -t wav - remix 1 |", 0), (f"ffmpeg -v error -i {quoted} -f wav - |", 0),
        (f"flac -c -d -s {quoted} |", 0), (f"/usr/bin/sph2pipe -f wav {quoted} |", 0),
        (f"sph2pipe -f wav -p -c 2 {quoted} |", 1), (f"sox {quoted} -t wav -r 16000 -b 16 - remix 3 |", 2),
        (f"ffmpeg -i {quoted} -map_channel 0.0.1 -f wav - |", 1), (f"cat {quoted} |", 0),
        (f"ffmpeg -i {quoted} -acodec pcm_s16le -ar 16000 -ac 1 -f wav - |", 0),
    ):  # fmt: skip
        (folder / "wav.scp").write_text(f"u {command}\n")
        (row,) = kaldi.read_kaldi(folder, tmp_path)
        assert (row.num_samples, row.channel) == (audio_info(wav).num_samples, channel)
    for command in (
        f"touch {tmp_path}/run |", f"cat {quoted} | touch {tmp_path}/run |", f"sox {quoted} -t wav - speed 2 |",
        "sox 'a |", "|", f"sox {quoted} -t wav - remix 1,2 |", f"sox {quoted} -t wav - pad 0.5 0 |",
        f"sox -v 2 {quoted} -t wav - |",
        f"sox {quoted} -t wav - reverse |", f"sox -r 8000 {quoted} -t wav - |",
        f"flac -c -d -s --skip=16000 {quoted} |",
        f"ffmpeg -ss 1 -t 1 -i {quoted} -f wav - |", f"ffmpeg -i {quoted} -af atempo=2.0 -f wav - |",
        f"sph2pipe -f wav -t 1:2 {quoted} |", f"sph2pipe -c 0 {quoted} |", f"cat {quoted} {quoted} |", "ffmpeg -i |",
        f"ffmpeg -i {quoted} -ac 2 -f wav - |", f"sox -m {quoted} {quoted} -t wav - |", "sox |",
    ):  # fmt: skip
        (folder / "wav.scp").write_text(f"u {command}\n")
        with pytest.raises(ManifestError, match=r"wav\.scp:1: "):
            list(kaldi.read_kaldi(folder, tmp_path))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("segments", "b r 0 1\na r 0 1\n", "segments:2: 'a' is not in byte order"),
        ("segments", "a x 0 1\n", "segments:1: recording 'x' is not in"),
        ("segments", "a r 0\n", "segments:1: is not 'utterance recording begin end'"),
        ("segments", "a r 0 99\n", "segments:1: the cut ends at 99.000 s"),
        ("text", "zz hello\n", "text:1: 'zz' is no utterance"),
        ("text", "r \xff", "text:1: is not UTF-8"),
        ("wav.scp", "r a.wav\nr b.wav\n", "wav.scp:2: 'r' is listed twice"),
    ],
)
def test_bad_kaldi_tables_are_named_with_their_line(corpus, tmp_path, name, content, reason):
    (tmp_path / "wav.scp").write_text(f"r {corpus}/drei.wav\n")
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(ManifestError) as caught:
        list(kaldi.read_kaldi(tmp_path, tmp_path))
    assert reason in str(caught.value)


def test_nemo_rows_of_others_get_ids_and_exact_samples(corpus):
    lines = [
        {"audio_filepath": "rec/zwei.flac", "duration": 3.001, "text": "a", "emotion": "glad"},
        {"audio_filepath": "rec/zwei.flac", "offset": 0.333, "duration": 1.25, "text": "b"},
        {"audio_filepath": "rec/zwei.flac", "offset": 0.333, "duration": 1.25, "text": "b"},
    ]
    (corpus / "nemo.json").write_bytes(b"\n".join(map(msgspec.json.encode, lines)))
    assert detect_format(corpus / "nemo.json") == "nemo"
    first, second, third = nemo.read_nemo(corpus / "nemo.json", corpus)
    assert (first.num_samples, first.custom) == (3 * 22050, {"emotion": "glad"})
    assert (second.offset_samples, second.num_samples) == (round(0.333 * 22050), round(1.25 * 22050))
    assert len({first.id, second.id, third.id}) == 3
    (corpus / "nemo.json").write_text('{"audio_filepath": "rec/zwei.flac", "duration": 4}')
    with pytest.raises(ManifestError, match=r"nemo\.json:1:.*cut ends.*4\.000 s"):
        list(nemo.read_nemo(corpus / "nemo.json", corpus))
    (corpus / "nemo.json").write_text('{"duration": 4}')
    with pytest.raises(ManifestError, match=r"nemo\.json:1: has no audio_filepath"):
        list(nemo.read_nemo(corpus / "nemo.json", corpus))


def test_csv_of_others_is_read_and_bad_cells_are_named(corpus):
    path = corpus / "x.csv"
    path.write_text('audio_filepath,text,mood\ndrei.wav,"two\nlines, and a comma",glad\n')
    (row,) = table.read_csv(path, corpus)
    assert (row.text, row.custom, row.num_samples) == ("two\nlines, and a comma", {"mood": "glad"}, 24000)
    for content, reason in (
        ("text\nx\n", r"x\.csv:1: has no column audio_filepath"),
        ("audio_filepath,text\na\n", r"x\.csv:2: has another number of cells"),
        ("audio_filepath,duration\ndrei.wav,long\n", r"x\.csv:2: column duration"),
        ("audio_filepath,alignment\ndrei.wav,{\n", r"x\.csv:2: column alignment"),
    ):
        path.write_text(content)
        with pytest.raises(ManifestError, match=reason):
            list(table.read_csv(path, corpus))


def test_fairseq_files_that_disagree_are_named(corpus, tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text(f"{corpus}\ndrei.wav\t24000\n")
    (row,) = fairseq.read_fairseq(path, tmp_path)
    assert (row.text, row.num_samples) == (None, 24000)
    path.with_suffix(".ltr").write_text("h i | y o u |\n")
    (row,) = fairseq.read_fairseq(path, tmp_path)
    assert row.text == "hi you"
    path.with_suffix(".ltr").write_text("h i |\nm o r e |\n")
    with pytest.raises(ManifestError, match="has more lines"):
        list(fairseq.read_fairseq(path, tmp_path))
    path.write_text(f"{corpus}\ndrei.wav\t23999\n")
    with pytest.raises(ManifestError, match=r"t\.tsv:2: gives 23999 samples"):
        list(fairseq.read_fairseq(path, tmp_path))


def test_formats_are_told_or_asked_for(tmp_path):
    source = tmp_path / "m.jsonl"
    write_manifest(source, [Utterance(id="a", audio_filepath="a.wav", duration=3.0, sample_rate=16000)])
    with pytest.raises(UserError, match=r"name does not determine its format; add --to"):
        convert(source, tmp_path / "out")
    with pytest.raises(UserError, match="no format 'kaldy'"):
        convert(source, tmp_path / "out", target_format="kaldy")
    with pytest.raises(UserError, match="is the source itself"):
        convert(source, source, source_format="speechkit")
    with pytest.raises(UserError, match="is no Kaldi directory"):
        detect_format(tmp_path)
    assert set(NAMES) | {"shar", "webdataset"} == set(FORMATS)


def test_sorted_lines_are_those_of_sort_also_when_they_spill(monkeypatch):

    monkeypatch.setattr(kaldi, "LINES_IN_MEMORY", 7)
    lines, given_lines = SortedLines(), [f"{index * 7919 % 101:03d} ü" for index in range(300)]
    for line in given_lines:
        lines.add(line)
    assert list(lines) == sorted(line.encode() + b"\n" for line in given_lines)


def test_importing_manifests_loads_nothing_heavy():
    rooms = "speechkit.data, speechkit.data.convert, speechkit.data.check, speechkit.data.split, speechkit.io.audio"
    heavy = "('torch', 'librosa', 'scipy', 'soundfile', 'soxr', 'lhotse', 'pyarrow', 'numba')"
    code = f"import sys, {rooms}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_audio_paths_equal_those_of_realpath(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x.wav").touch()
    (tmp_path / "link").symlink_to("a/b")
    (tmp_path / "a" / "b" / "linked.wav").symlink_to("../x.wav")
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    paths = ["a/x.wav", "link/linked.wav", "link/../x.wav", "a/b/..", "none/x.wav", "/abs/x.wav", "loop.wav", "x.wav"]
    absolute = AbsoluteAudio(tmp_path)
    for path in [*paths, *paths]:
        row = Utterance.from_samples(id="x", audio_filepath=path, num_samples=1, sample_rate=16000)
        assert absolute.of(row) == os.path.realpath(tmp_path / path), path


def test_kaldi_reads_no_more_of_a_wav_than_its_format(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "two.wav", np.zeros((1600, 2)), 16000)
    soundfile.write(tmp_path / "one.wav", np.zeros(1600), 16000)
    soundfile.write(tmp_path / "one.flac", np.zeros(1600), 16000)
    rows = [
        Utterance.from_samples(id=name, audio_filepath=name, num_samples=1600, sample_rate=16000)
        for name in ("one.flac", "one.wav", "two.wav")
    ]
    monkeypatch.setattr("speechkit.data.formats.kaldi.audio_info", lambda path: 1 / 0)
    write_format(rows, tmp_path / "kaldi", "kaldi", tmp_path)
    assert [line.split(" ", 1)[1] for line in (tmp_path / "kaldi" / "wav.scp").read_text().splitlines()] == [
        f"sox {tmp_path}/one.flac -t wav - remix 1 |",
        f"{tmp_path}/one.wav",
        f"sox {tmp_path}/two.wav -t wav - remix 1 |",
    ]
