"""What holds for every corpus: nothing lost silently, nothing outside its folder, the same bytes each time."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from speechkit.cli.prepare import prepare as prepare_command
from speechkit.data.corpora import corpora_module
from speechkit.errors import UserError

_data_prep = corpora_module()
CORPORA = _data_prep.CORPORA
load_corpus = _data_prep.load_corpus
unpacked = corpora_module("archives").unpacked
run_module = corpora_module("command").run_module
_corpus = corpora_module("corpus")
Clip = _corpus.Clip
Corpus = _corpus.Corpus
LeftOutReason = _corpus.LeftOutReason
Request = _corpus.Request
prepare = corpora_module("driver").prepare
_tables = corpora_module("tables")
read_lines = _tables.read_lines
read_map = _tables.read_map
whole_number = _tables.whole_number
data_prep = corpora_module()


@pytest.fixture
def folder(tmp_path, tone, text):
    for k in range(12):
        tone(tmp_path / "corpus" / f"clip{k:02d}.wav", 4000 + k)
        text(tmp_path / "corpus" / f"clip{k:02d}.txt", f"text {k}")
    return tmp_path / "corpus"


def contents(out):
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def test_threads_and_repetition_do_not_change_a_byte(folder, tmp_path):
    corpus = load_corpus("audio_text_folder")
    out = tmp_path / "out"
    prepare(corpus, folder, out, jobs=1)
    first = contents(out)
    prepare(corpus, folder, out, jobs=7)
    assert contents(out) == first
    assert sorted(first) == ["all.jsonl", "left_out/all.jsonl", "summary.json"]


def test_every_corpus_refuses_an_empty_folder_in_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in CORPORA:
        with pytest.raises(UserError) as error:
            prepare(load_corpus(name), tmp_path / "empty", tmp_path / "out")
        message = str(error.value)
        assert str(tmp_path / "empty") in message, name
        assert "\n" not in message
        with pytest.raises(UserError, match="is not a folder"):
            prepare(load_corpus(name), tmp_path / "absent", tmp_path / "out")
    assert not (tmp_path / "out" / "summary.json").exists()


def test_every_corpus_says_its_licence_source_and_authors():
    for name in CORPORA:
        corpus = load_corpus(name)
        assert corpus.name == name
        assert corpus.licence
        assert corpus.homepage
        assert corpus.citation


def test_a_corpus_without_one_usable_utterance_leaves_no_manifest(folder, tmp_path):
    for path in folder.glob("*.wav"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"no utterance.*split all.*used \(audio_empty 12\).*first:.*clip00"):
        prepare(load_corpus("audio_text_folder"), folder, tmp_path / "out")
    assert contents(tmp_path / "out") == {}


def test_an_old_manifest_stays_when_the_new_run_fails(folder, tmp_path):
    corpus = load_corpus("audio_text_folder")
    prepare(corpus, folder, tmp_path / "out")
    before = contents(tmp_path / "out")
    for path in folder.glob("*.txt"):
        path.unlink()
    with pytest.raises(UserError):
        prepare(corpus, folder, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_links_that_lead_out_of_the_corpus_are_left_out(folder, tmp_path, tone):
    outside = tone(tmp_path / "outside.wav")
    (folder / "link.wav").symlink_to(outside)
    clips = [Clip("a", folder / "clip00.wav", "x"), Clip("b", folder / "link.wav", "y")]
    clips += [
        Clip("c", folder / ".." / "outside.wav", "z"),
        Clip("d", folder / "nul\0.wav", "z"),
        Clip("e", folder, "z"),
    ]
    corpus = Corpus("made", "made", "none", "none", "none", lambda _: ["all"], lambda _request, _split: iter(clips))
    summary = prepare(corpus, folder, tmp_path / "out")
    assert summary.splits[0].left_out == {"outside_folder": 4}


def test_a_file_name_that_is_not_utf8_is_left_out_and_named(folder, tmp_path):
    name = os.fsdecode(b"caf\xe9.wav")
    shutil.copy(folder / "clip00.wav", folder / name)
    shutil.copy(folder / "clip00.txt", folder / os.fsdecode(b"caf\xe9.txt"))
    out = tmp_path / "out"
    summary = prepare(load_corpus("audio_text_folder"), folder, out)
    assert summary.splits[0].left_out == {"audio_unreadable": 1}
    assert "caf\\\\udce9.wav" in (out / "left_out" / "all.jsonl").read_text()


def test_numbers_that_int_would_refuse_are_no_numbers():
    assert [whole_number(t) for t in ("12", "0", "", "-1", "1.0", "²", "१२", "9" * 5000)] == [12, 0, *[None] * 6]


def test_progress_counts_up(folder, tmp_path):
    seen = []
    clips = [Clip(f"{k}", folder / "clip00.wav", "x") for k in range(250)]
    corpus = Corpus("made", "made", "none", "none", "none", lambda _: ["all"], lambda _request, _split: iter(clips))
    prepare(corpus, folder, tmp_path / "out", progress=lambda *now: seen.append(now))
    assert seen == [("all", 100), ("all", 200)]


@pytest.mark.parametrize("times", [(-1.0, 0.1), (0.2, 0.1), (0.1, 0.1), (float("nan"), 1.0), (0.0, float("inf"))])
def test_times_that_cannot_be_are_left_out(folder, tmp_path, times):
    clips = [Clip("good", folder / "clip00.wav", "x")]
    clips += [Clip("bad", folder / "clip01.wav", "x", start_seconds=times[0], end_seconds=times[1])]
    corpus = Corpus("made", "made", "none", "none", "none", lambda _: ["all"], lambda _request, _split: iter(clips))
    assert prepare(corpus, folder, tmp_path / "out").splits[0].left_out == {"segment_outside_audio": 1}


def test_a_split_name_cannot_leave_the_output_folder(folder, tmp_path):
    clip = Clip("a", folder / "clip00.wav", "x")
    corpus = Corpus("made", "made", "none", "none", "none", lambda _: ["../up"], lambda _request, _split: iter([clip]))
    with pytest.raises(UserError, match="leads out of"):
        prepare(corpus, folder, tmp_path / "out")
    assert not (tmp_path / "up.jsonl").exists()


def test_memory_does_not_grow_with_the_audio_or_the_texts(folder, tmp_path):
    def many(count: int) -> Corpus:
        def read(_: Request, __: str) -> Iterator[Clip]:
            for k in range(count):
                yield Clip(f"utterance-{k:06d}", folder / f"clip{k % 12:02d}.wav", "word " * 200)

        return Corpus("made", "made", "none", "none", "none", lambda _: ["all"], read)

    peaks = []
    for count in (300, 2800):
        tracemalloc.start()
        prepare(many(count), folder, tmp_path / "out", jobs=2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 2,500 texts of 1,000 characters would be 2.5 MB more; digests of ids are 0.3 MB.
    assert peaks[1] - peaks[0] < 1_200_000


def tar_with(path, *members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("../evil.txt", tarfile.REGTYPE, "leads out of"),
        ("/tmp/evil.txt", tarfile.REGTYPE, "is an absolute path"),
        ("a/../../evil.txt", tarfile.REGTYPE, "leads out of"),
        ("link", tarfile.SYMTYPE, "is a link or a device"),
        ("hard", tarfile.LNKTYPE, "is a link or a device"),
        ("pipe", tarfile.FIFOTYPE, "is a link or a device"),
    ],
)
def test_hostile_archives_are_refused_whole(tmp_path, name, kind, message):
    good, evil = tarfile.TarInfo("good.txt"), tarfile.TarInfo(name)
    evil.type, evil.linkname = kind, "../../outside"
    archive = tar_with(tmp_path / "in" / "a.tar.gz", (good, b"fine"), (evil, b""))
    with pytest.raises(UserError, match=message):
        unpacked(archive, tmp_path / "out" / "a")
    assert not (tmp_path / "out" / "a").exists()
    assert not list(tmp_path.rglob("evil.txt"))
    assert not list(tmp_path.glob("out/.tmp-*"))


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path):
    member = tarfile.TarInfo("././@LongLink")
    member.type = tarfile.GNUTYPE_LONGNAME
    archive = tar_with(tmp_path / "a.tar.gz", (member, bytes(8 << 20)))
    with pytest.raises(UserError, match="a header of 8388608 bytes"):
        unpacked(archive, tmp_path / "out")


def test_an_archive_that_would_fill_the_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora_module("archives"), "FREE_BYTES", 1 << 20)
    archive = tar_with(tmp_path / "a.tar.gz", (tarfile.TarInfo("zeros"), bytes(8 << 20)))
    with pytest.raises(UserError, match="expands to more than"):
        unpacked(archive, tmp_path / "out")


def test_a_truncated_archive_leaves_nothing_and_a_new_one_replaces_the_old(tmp_path):
    archive = tar_with(tmp_path / "a.tar.gz", (tarfile.TarInfo("one.txt"), bytes(range(256)) * 400))
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is damaged"):
        unpacked(archive, tmp_path / "out")
    archive.write_bytes(whole)
    assert (unpacked(archive, tmp_path / "out") / "one.txt").read_bytes() == bytes(range(256)) * 400
    tar_with(archive, (tarfile.TarInfo("two.txt"), b"2"))
    assert sorted(p.name for p in unpacked(archive, tmp_path / "out").iterdir()) == ["_archive.json", "two.txt"]


def test_tables_name_the_line_that_cannot_be_read(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbfa one\r\n\nb two\n")
    assert list(read_lines(path)) == [(1, "a one"), (3, "b two")]
    path.write_bytes(b"a one\nb \xff\n")
    with pytest.raises(UserError, match=r"text:2: byte 2.*not UTF-8"):
        list(read_lines(path))
    path.write_bytes(b"x" * (2 << 20))
    with pytest.raises(UserError, match=r"text:1:.*longer.*1 MiB"):
        list(read_lines(path))
    path.write_text("a one\na one\na two\n")
    values, repeated = read_map(path)
    assert values == {"a": "one"}
    assert [(r.id, r.reason) for r in repeated] == [("a", "duplicate_id")]


def test_module_prints_a_table_or_json_and_ends_with_2_on_user_errors(folder, tmp_path, capsys):
    corpus = load_corpus("audio-text-folder")
    (folder / "clip00.txt").unlink()
    run_module(corpus, [str(folder), str(tmp_path / "out")])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["split", "utterances", "hours", "speakers", "left", "out"]
    assert printed[1].split() == ["all", "11", "0.00", "0", "transcript_missing", "1"]
    run_module(corpus, [str(folder), str(tmp_path / "out"), "--json", "--splits", "a*"])
    assert msgspec.json.decode(capsys.readouterr().out)["splits"][0]["left_out"] == {"transcript_missing": 1}
    with pytest.raises(SystemExit) as stop:
        run_module(corpus, [str(tmp_path / "absent"), str(tmp_path / "out")])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_command_prepares_and_lists(folder, tmp_path):
    app = typer.Typer()
    app.command()(prepare_command)
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["audio-text-folder", str(folder), "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert msgspec.json.decode(result.output)["splits"][0]["utterances"] == 12
    listed = CliRunner().invoke(app, ["list", "--json"])
    assert {c["name"] for c in msgspec.json.decode(listed.output)} == set(CORPORA)
    assert isinstance(CliRunner().invoke(app, ["librispeech"]).exception, UserError)
    assert "choose one of" in str(CliRunner().invoke(app, ["nothing", "a", "--out", "b"]).exception)


def test_the_readme_lists_every_corpus_with_its_licence_and_homepage():
    readme = Path(data_prep.__file__).with_name("README.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(" `"): line for line in readme.splitlines() if line.startswith("| `")}
    assert set(rows) == set(CORPORA)
    for name, row in rows.items():
        corpus = load_corpus(name)
        if corpus.homepage != "none":
            assert all(part in row for part in corpus.homepage.split(" and ")), name
            assert corpus.citation in row


def test_the_documentation_explains_every_reason():
    page = Path(__file__).parents[2] / "docs" / "data_prep.md"
    text = page.read_text(encoding="utf-8")
    assert [reason for reason in get_args(LeftOutReason) if f"`{reason}`" not in text] == []
