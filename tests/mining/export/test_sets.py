"""Clips, splits, the card, and the forms that Lhotse, Kaldi, Parquet and fairseq read."""

from __future__ import annotations

import io
import itertools
import json
import random
import tarfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from speechkit.cli.main import call
from speechkit.data import AlignmentItem, Source, Utterance, read_manifest, write_manifest
from speechkit.data.audio import read_cut
from speechkit.data.convert import convert
from speechkit.data.manifest import audio_path
from speechkit.errors import ManifestError, UserError
from speechkit.io.audio import audio_info, read_audio, write_audio
from speechkit.mining.export import cut_clips, data_card, export, format_card, split_without_leak
from speechkit.mining.export.card import LICENCE


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings of noise that tells its own position, with utterances cut out of them."""
    folder = tmp_path_factory.mktemp("mined")
    cuts = []
    for number, name in enumerate(("one", "two")):
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, 16000 * 12).astype(np.float32)
        write_audio(folder / f"{name}.flac", noise, 16000)
        for index in range(3):
            start = 16000 * 3 * index + 800
            cuts.append(
                Utterance.from_samples(
                    id=f"{name}-{index}",
                    audio_filepath=f"{name}.flac",
                    offset_samples=start,
                    num_samples=32000 + index,
                    sample_rate=16000,
                    text=f"words {name} number{index}",
                    speaker=f"speaker-{name}",
                    lang="en",
                    score=0.95 + index / 100,
                    alignment={
                        "word": [AlignmentItem(w, 0.1 + 0.5 * i, 0.4, -0.2) for i, w in enumerate(("words", name, "n"))]
                    },
                    source=Source(document=f"doc-{name}", begin=index * 20, end=index * 20 + 18),
                )
            )
    write_manifest(folder / "manifest.jsonl", cuts)
    return folder / "manifest.jsonl"


def test_clips_are_the_samples_of_their_recording(mined: Path, tmp_path: Path) -> None:
    clips = list(read_manifest(cut_clips(mined, tmp_path)))
    originals = list(read_manifest(mined))
    assert [clip.id for clip in clips] == [cut.id for cut in originals]
    for clip, cut in zip(clips, originals, strict=True):
        whole = read_audio(tmp_path / clip.audio_filepath, sample_rate=None)
        piece = read_audio(
            mined.parent / cut.audio_filepath, offset_samples=cut.offset_samples, num_samples=cut.num_samples
        )
        assert np.array_equal(whole, piece)
        assert (clip.offset, clip.num_samples, clip.alignment) == (0.0, cut.num_samples, cut.alignment)
        assert clip.custom["recording_offset"] == cut.offset


def test_clips_keep_the_times_of_their_recording(mined: Path, tmp_path: Path, read_tiers) -> None:
    clips = cut_clips(mined, tmp_path / "clips")
    from_clips = export(clips, tmp_path / "a", ["ctm", "textgrid", "srt"])
    from_recordings = export(mined, tmp_path / "b", ["ctm", "textgrid", "srt"])
    for one, other in zip(from_clips, from_recordings, strict=True):
        if one.format != "textgrid":  # a grid of clips ends with the last of them
            assert [Path(p).read_text() for p in one.files] == [Path(p).read_text() for p in other.files]
    words = [read_tiers(done.files[0])["words"] for done in (from_clips[1], from_recordings[1])]
    assert words[0][:-1] == words[1][:-1]


def test_interrupted_cutting_goes_on_and_ends_in_the_same_bytes(mined: Path, tmp_path: Path) -> None:
    def interrupt(done: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_clips(mined, tmp_path / "cut", progress=interrupt)
    assert not (tmp_path / "cut" / "clips.jsonl").exists()
    before = {path: path.stat().st_mtime_ns for path in sorted((tmp_path / "cut").rglob("*.flac"))}
    assert len(before) == 3
    cut_clips(mined, tmp_path / "cut")
    cut_clips(mined, tmp_path / "whole")
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    for path in sorted((tmp_path / "whole").rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "cut" / path.relative_to(tmp_path / "whole")).read_bytes()


def test_clips_of_another_manifest_are_not_trusted(mined: Path, tmp_path: Path) -> None:
    cut_clips(mined, tmp_path)
    moved = [msgspec.structs.replace(cut, offset=cut.offset + 0.5) for cut in read_manifest(mined)]
    write_manifest(mined.parent / "moved.jsonl", moved)
    clip = next(iter(read_manifest(cut_clips(mined.parent / "moved.jsonl", tmp_path))))
    piece = read_audio(mined.parent / "one.flac", offset_samples=8800, num_samples=32000)
    assert np.array_equal(read_audio(tmp_path / clip.audio_filepath, sample_rate=None), piece)


def test_opus_clips_keep_their_length(mined: Path, tmp_path: Path) -> None:
    for clip in read_manifest(cut_clips(mined, tmp_path, format="opus", sample_rate=22050)):
        assert clip.sample_rate == 24000
        assert audio_info(tmp_path / clip.audio_filepath).num_samples == clip.num_samples
        assert clip.duration == pytest.approx(2.0, abs=0.01)


def test_repeated_ids_are_an_error_before_anything_is_cut(mined: Path, tmp_path: Path) -> None:
    cuts = list(read_manifest(mined))
    write_manifest(mined.parent / "twice.jsonl", [*cuts, cuts[0]])
    with pytest.raises(ManifestError, match="one-0 occurs twice"):
        cut_clips(mined.parent / "twice.jsonl", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_clip_names_cannot_leave_the_folder(mined: Path, tmp_path: Path) -> None:
    cuts = [msgspec.structs.replace(next(iter(read_manifest(mined))), id="../../evil", custom={"recording": "../up"})]
    write_manifest(mined.parent / "evil.jsonl", cuts)
    cut_clips(mined.parent / "evil.jsonl", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def _row(number: int, recording: str, document: str, speaker: str | None, seconds: float = 10.0) -> Utterance:
    return Utterance(
        id=str(number),
        audio_filepath=f"{recording}.wav",
        duration=seconds,
        sample_rate=16000,
        text="t",
        speaker=speaker,
        source=Source(document, 0, 1),
    )


ROWS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 12), st.one_of(st.none(), st.integers(0, 12)), st.integers(1, 60)),
    min_size=1,
    max_size=40,
)


@given(ROWS, st.integers(0, 3))
def test_no_document_recording_or_speaker_is_in_two_splits(rows: list[tuple], seed: int) -> None:
    cuts = [_row(i, f"r{r}", f"d{d}", None if s is None else f"s{s}", float(t)) for i, (r, d, s, t) in enumerate(rows)]
    if _components(cuts) < 3:
        with pytest.raises(UserError, match="without leakage"):
            split_without_leak(cuts, seed=seed)
        return
    split = split_without_leak(cuts, seed=seed)
    assert split.components == _components(cuts)
    for one, other in itertools.combinations(cuts, 2):
        if split.of(one) != split.of(other):
            assert one.audio_filepath != other.audio_filepath
            assert one.source.document != other.source.document
            assert one.speaker is None or one.speaker != other.speaker
    assert {split.of(cut) for cut in cuts} == {"train", "dev", "test"}
    shuffled = random.Random(seed).sample(cuts, len(cuts))
    assert split_without_leak(shuffled, seed=seed).of_key == split.of_key


def _components(cuts: list[Utterance]) -> int:
    groups: list[set[str]] = []
    for cut in cuts:
        keys = {f"r{cut.audio_filepath}", f"d{cut.source.document}"} | ({f"s{cut.speaker}"} if cut.speaker else set())
        touched = [group for group in groups if group & keys]
        groups = [group for group in groups if not group & keys] + [keys.union(*touched)]
    return len(groups)


def test_split_comes_near_its_shares_and_follows_its_seed() -> None:
    numbers = random.Random(1)
    cuts = [_row(i, f"r{i}", f"d{i}", f"s{i}", numbers.uniform(5, 15)) for i in range(300)]
    split = split_without_leak(cuts, {"train": 0.8, "dev": 0.1, "test": 0.1}, seed=1)
    total = sum(split.seconds.values())
    assert split.seconds["train"] / total == pytest.approx(0.8, abs=0.02)
    assert split.notes == []
    assert split_without_leak(cuts, seed=2).of_key != split.of_key


def test_impossible_split_says_what_hangs_together() -> None:
    cuts = [_row(i, f"r{i}", f"d{i}", "the only reader") for i in range(9)]
    with pytest.raises(UserError, match=r"1 separate part.*9 documents, 9 recordings, 1 speaker"):
        split_without_leak(cuts)


def test_split_without_speakers_says_so() -> None:
    split = split_without_leak([_row(i, f"r{i}", f"d{i}", None) for i in range(30)])
    assert any("30 of 30 utterances have no speaker" in note for note in split.notes)


def test_card_counts_the_set(mined: Path) -> None:
    card = data_card(mined, name="A | <b>set</b>", rejected={"not_found": 3}, unmatched_seconds={"silence": 7200.0})
    assert (card.utterances, card.recordings, card.documents, card.speakers) == (6, 2, 2, 2)
    assert card.hours == pytest.approx(sum(cut.duration for cut in read_manifest(mined)) / 3600)
    assert card.vocabulary == 6
    assert sum(card.score_histogram) == 6
    assert card.utterances_with_word_times == 6
    text = format_card(card)
    assert LICENCE in text
    assert "A \\| &lt;b>set&lt;/b>" in text
    assert "| not found | 3 |" in text or "| not_found | 3 |" in text
    assert "2.00" in text


def test_card_of_nothing_is_a_card() -> None:
    assert "0 utterances" in format_card(data_card([]))


def test_lhotse_loads_the_cuts_with_their_words(mined: Path, tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    (done,) = export(mined, tmp_path, ["lhotse"])
    cuts = list(lhotse.load_manifest_lazy(done.files[0]))
    assert len(cuts) == 6
    first = next(cut for cut in cuts if cut.supervisions[0].text == "words one number0")
    assert [item.symbol for item in first.supervisions[0].alignment["word"]] == ["words", "one", "n"]
    assert first.load_audio().shape[1] == 32000


def test_lhotse_reads_the_shards_with_their_audio(mined: Path, tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    (done,) = export(mined, tmp_path, ["shar"])
    assert done.utterances == 6
    cuts = {cut.id: cut for cut in lhotse.CutSet.from_shar(in_dir=str(tmp_path / "shar/shards"))}
    for row in read_manifest(mined):
        assert cuts[row.id].supervisions[0].text == row.text
        wanted = read_cut(audio_path(mined, row), row)
        np.testing.assert_allclose(cuts[row.id].load_audio()[0], wanted, atol=1e-4)


def test_webdataset_reads_the_shards_with_their_audio(mined: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    (done,) = export(mined, tmp_path, ["webdataset"])
    rows = {row.id: row for row in read_manifest(mined)}
    samples = list(webdataset.WebDataset(done.files, shardshuffle=False))
    assert len(samples) == len(rows) == done.utterances
    for sample in samples:
        stored = json.loads(sample["json"])
        row = rows[stored["id"]]
        assert sample["txt"].decode() == row.text
        assert stored["alignment"] == msgspec.to_builtins(row.alignment)
        sound, rate = soundfile.read(io.BytesIO(sample["flac"]), dtype="float32")
        assert rate == row.sample_rate
        np.testing.assert_allclose(sound, read_cut(audio_path(mined, row), row), atol=1e-4)


def test_webdataset_shards_are_the_same_bytes_and_become_a_manifest_again(mined: Path, tmp_path: Path) -> None:
    (first,), (second,) = (export(mined, tmp_path / name, ["webdataset"]) for name in ("a", "b"))
    assert [Path(file).read_bytes() for file in first.files] == [Path(file).read_bytes() for file in second.files]
    convert(tmp_path / "a/webdataset/shards", tmp_path / "back/manifest.jsonl")
    rows = {row.id: row for row in read_manifest(mined)}
    for row in read_manifest(tmp_path / "back/manifest.jsonl"):
        kept = {"text": row.text, "alignment": row.alignment, "custom": row.custom, "score": row.score}
        assert all(getattr(rows[row.id], name) == value for name, value in kept.items())
        original = read_cut(audio_path(mined, rows[row.id]), rows[row.id])
        back = read_cut(audio_path(tmp_path / "back/manifest.jsonl", row), row)
        np.testing.assert_allclose(back, original, atol=1e-4)
    with pytest.raises(ManifestError, match="is not empty"):
        export(mined, tmp_path / "a", ["webdataset"])
    for content, reason in ((b"", "not a complete tar"), (b"x" * 2000, "not a complete tar"), (bytes(10240), "")):
        (tmp_path / "bad.tar").write_bytes(content)
        if reason:
            with pytest.raises(ManifestError, match=reason):
                convert(tmp_path / "bad.tar", tmp_path / "bad/manifest.jsonl")
        else:
            assert convert(tmp_path / "bad.tar", tmp_path / "bad/manifest.jsonl").rows == 0


def test_shards_of_other_tools_may_hold_numbers_for_names_and_large_files_that_nobody_reads(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", np.zeros(800, np.float32), 8000)
    members = {
        "d/1.wav": (tmp_path / "a.wav").read_bytes(), "d/1.npy": bytes(9000),
        "d/1.json": b'{"id": 7, "speaker": 19, "text": 1984, "duration": "long", "rating": 3}',
    }  # fmt: skip
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    convert(tmp_path / "s.tar", tmp_path / "m.jsonl")
    (row,) = read_manifest(tmp_path / "m.jsonl")
    assert (row.id, row.speaker, row.text, row.num_samples, row.custom) == ("7", "19", "1984", 800, {"rating": 3})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("speechkit.data.formats.webdataset.MAX_CUT_BYTES", 1700)  # more than either, less than both
        with pytest.raises(ManifestError, match="d/1 has more than 1700 bytes"):
            convert(tmp_path / "s.tar", tmp_path / "again" / "m.jsonl")


def test_kaldi_files_are_sorted_in_c_order(mined: Path, tmp_path: Path) -> None:
    (done,) = export(mined, tmp_path, ["kaldi"])
    checked = 0
    for path in map(Path, done.files):
        if path.is_file() and path.name in ("text", "segments", "wav.scp", "utt2spk", "spk2utt"):
            keys = [line.split()[0].encode() for line in path.read_text().splitlines()]
            assert keys == sorted(keys), path
            checked += 1
    assert checked >= 4


def test_parquet_holds_the_audio(mined: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    (done,) = export(mined, tmp_path, ["parquet"])
    table = parquet.read_table(done.files[0])
    assert table.num_rows == 6
    assert table.column("audio")[0].as_py()["bytes"][:4] in (b"fLaC", b"RIFF")


def test_fairseq_lines_belong_together(mined: Path, tmp_path: Path) -> None:
    (done,) = export(mined, tmp_path, ["fairseq"])
    tsv, ltr, wrd = (Path(tmp_path / "fairseq" / f"data.{suffix}") for suffix in ("tsv", "ltr", "wrd"))
    assert len(tsv.read_text().splitlines()) == 7
    for letters, words in zip(ltr.read_text().splitlines(), wrd.read_text().splitlines(), strict=True):
        assert letters.replace(" ", "").replace("|", " ").strip() == words
    assert done.lost["speaker"] == 6


def test_textgrids_reach_the_end_of_the_recording(mined: Path, tmp_path: Path, read_tiers) -> None:
    (done,) = export(mined, tmp_path, ["textgrid"])
    assert [read_tiers(path)["words"][-1][1] for path in sorted(done.files)] == [12.0, 12.0]


def test_unknown_form_is_named_before_anything_is_written(mined: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="elan"):
        export(mined, tmp_path / "out", ["ctm,elan"])
    assert not (tmp_path / "out").exists()


def test_command_cuts_splits_and_exports(mined: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["export", str(mined), "--to", "ctm,srt,card", "--clips", "flac", "--split", "train=0.5,test=0.5"]
    assert call([*arguments, "--out", str(tmp_path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [row["form"] for row in shown["exported"]] == [
        "clips (flac)", "split train", "split test", "train ctm", "train srt", "train card", "test ctm", "test srt",
        "test card",
    ]  # fmt: skip
    train = list(read_manifest(tmp_path / "train" / "manifest.jsonl"))
    assert all((tmp_path / "train" / cut.audio_filepath).is_file() for cut in train)
    assert call([*arguments, "--out", str(tmp_path)]) == 0
    assert "train ctm" in capsys.readouterr().out
    assert call(["export", str(mined), "--split", "train=rest,test=0.1m", "--out", str(tmp_path)]) == 0
    assert "split test" in capsys.readouterr().out


def test_command_says_what_is_wrong(mined: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for arguments, part in (
        (["--to", "elan"], "choose from"),
        ([], "nothing to do"),
        (["--clips", "wav"], "choose none, flac or opus"),
        (["--to", "ctm", "--split", "train"], "train=0.8"),
        (["--to", "ctm", "--split", "../x=1,y=1"], "not a valid name of a split"),
    ):
        assert call(["export", str(mined), "--out", str(tmp_path / "o"), *arguments]) == 2
        assert part in capsys.readouterr().err
    assert call(["export", str(tmp_path / "absent.jsonl"), "--to", "ctm", "--out", str(tmp_path / "o")]) == 2
