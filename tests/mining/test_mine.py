"""The whole recipe on the sample: what is mined, bad inputs, interruption, and two runs at once."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechkit.asr import load_recognizer
from speechkit.asr.hypothesis import Hypothesis, RecognizerSpec
from speechkit.asr.words import TimedWord, words_to_hypothesis
from speechkit.cli.main import call
from speechkit.data.manifest import audio_path, read_jsonl, read_manifest
from speechkit.errors import SpeechkitError, UserError
from speechkit.mining import mine
from speechkit.mining.records import Outcome, UnmatchedStretch
from speechkit.pipeline import DropRecord

SAMPLE = Path(__file__).resolve().parents[2] / "recipes/mining/sample"
TRUTH = json.loads((SAMPLE / "truth.json").read_text())


@pytest.fixture(scope="module")
def transcripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a perfect recogniser would hear in the sample: words with times spread over each sentence."""
    folder = tmp_path_factory.mktemp("words")
    for name, sentences in TRUTH.items():
        words = []
        for sentence in sentences:
            said = sentence["text"].split()
            edges = np.linspace(sentence["start"], sentence["end"], len(said) + 1)
            words += [{"word": w, "start": a, "end": b} for w, a, b in zip(said, edges, edges[1:], strict=False)]
        (folder / f"{name}.json").write_text(json.dumps({"words": words}))
    return folder


@pytest.fixture(scope="module")
def mined(transcripts: Path, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("mined")
    return mine(
        SAMPLE / "audio", SAMPLE / "documents", out, recognizer=f"words:{transcripts}", overrides=["regions.vad=energy"]
    )


def precision_of_half(mined) -> float:
    """What to ask for so that about the surer half of the kept sentences stays, and the others are candidates."""
    scores = sorted((item.score for item in mined.utterances()), reverse=True)
    return float(np.floor(np.mean(scores[: len(scores) // 2]) * 1e6) / 1e6)


def right_times() -> dict[str, tuple[str, float, float]]:
    return {
        " ".join(sentence["text"].split()): (name, sentence["start"], sentence["end"])
        for name, sentences in TRUTH.items()
        for sentence in sentences
    }


def test_mining_again_into_one_folder_leaves_the_same_files(mined, transcripts: Path) -> None:
    out = Path(mined.folder)
    before = {path.relative_to(out): path.read_bytes() for path in out.rglob("*.json*")}
    settings = {"recognizer": f"words:{transcripts}", "overrides": ["regions.vad=energy"]}
    mine(SAMPLE / "audio", SAMPLE / "documents", out, **settings)
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*.json*")} == before
    assert not list(out.rglob(".tmp*"))


def test_kept_sentences_stand_where_they_were_read(mined) -> None:
    truth = right_times()
    kept = list(mined.utterances())
    assert len(kept) >= 0.8 * sum(sentence["written"] for sentences in TRUTH.values() for sentence in sentences)
    for item in kept:
        name, start, end = truth[" ".join((item.text or "").split())]
        assert item.custom is not None
        assert item.custom["recording"] == name
        assert abs(item.offset - start) < 0.4
        assert abs(item.offset + item.duration - end) < 0.4
        assert audio_path(mined.manifest, item).resolve() == (SAMPLE / "audio" / f"{name}.ogg").resolve()
        assert not Path(item.audio_filepath).is_absolute()


def test_unread_sentences_are_rejected_with_a_reason(mined) -> None:
    truth = right_times()
    rejected = list(read_jsonl(Path(mined.folder) / "rejected.jsonl", Outcome))
    assert rejected
    assert all(item.reason for item in rejected)
    assert sum(mined.summary.rejected.values()) == len(rejected)
    assert not {" ".join((item.text or "").split()) for item in mined.utterances()} - set(truth)


def test_audio_is_covered_by_kept_sentences_and_reasons(mined) -> None:
    assert_covered(mined)


def assert_covered(mined) -> None:
    """Kept sentences and unmatched stretches cover each recording of the sample from its start to its end."""
    stretches = list(read_jsonl(Path(mined.folder) / "unmatched.jsonl", UnmatchedStretch))
    by_recording: dict[str, list[tuple[float, float]]] = {}
    for item in mined.utterances():
        assert item.custom is not None
        by_recording.setdefault(item.custom["recording"], []).append((item.offset, item.offset + item.duration))
    for item in stretches:
        by_recording.setdefault(item.recording, []).append((item.start, item.end))
    for name, parts in by_recording.items():
        parts.sort()
        length = soundfile.info(SAMPLE / "audio" / f"{name}.ogg").duration
        assert parts[0][0] == 0
        assert max(end for _, end in parts) == pytest.approx(length, abs=1e-3)
        assert all(b[0] - a[1] < 1e-3 for a, b in itertools.pairwise(parts))


def test_second_run_changes_nothing(mined, transcripts: Path) -> None:
    before = Path(mined.manifest).read_bytes()
    again = mine(
        SAMPLE / "audio",
        SAMPLE / "documents",
        mined.folder,
        recognizer=f"words:{transcripts}",
        overrides=["regions.vad=energy"],
    )
    assert Path(again.manifest).read_bytes() == before
    assert again.summary == mined.summary


@pytest.mark.slow
def test_workers_of_a_pool_give_the_same_bytes(mined, transcripts: Path, tmp_path: Path) -> None:
    pooled = mine(
        SAMPLE / "audio", SAMPLE / "documents", tmp_path / "out", recognizer=f"words:{transcripts}",
        overrides=["regions.vad=energy"], backend="pool", workers=2,
    )  # fmt: skip
    texts = [(item.id, item.offset, item.text, item.score) for item in mined.utterances()]
    assert [(item.id, item.offset, item.text, item.score) for item in pooled.utterances()] == texts


def bad_audio(folder: Path) -> None:
    """One of each of the recordings that people have."""
    tone = (0.1 * np.sin(np.arange(32000) / 20)).astype(np.float32)
    shutil.copy(SAMPLE / "audio/bees.ogg", folder / "bees.ogg")
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("This is not audio at all, only its name says so.\n")
    soundfile.write(folder / "whole.flac", np.tile(tone, 20), 16000)
    (folder / "truncated.flac").write_bytes((folder / "whole.flac").read_bytes()[:20000])
    (folder / "whole.flac").unlink()
    soundfile.write(folder / "silent.wav", np.zeros(48000, np.float32), 16000)
    soundfile.write(folder / "nan.wav", np.full(16000, np.nan, np.float32), 16000, subtype="FLOAT")
    soundfile.write(folder / "eight_bit.wav", tone, 16000, subtype="PCM_U8")
    soundfile.write(folder / "fast.wav", np.tile(tone, 6), 96000)
    soundfile.write(folder / "stereo.wav", np.stack([tone, tone], 1), 16000)
    soundfile.write(folder / "six_channels.wav", np.stack([tone] * 6, 1), 16000)


def test_bad_files_are_left_out_with_a_reason_and_the_rest_is_mined(transcripts: Path, tmp_path: Path) -> None:
    audio, documents, words = tmp_path / "audio", tmp_path / "documents", tmp_path / "words"
    shutil.copytree(transcripts, words)
    for folder in (audio, documents):
        folder.mkdir()
    bad_audio(audio)
    for path in audio.iterdir():
        if not (words / f"{path.stem}.json").exists():
            (words / f"{path.stem}.json").write_text('{"words": []}')
    shutil.copy(SAMPLE / "documents/bees.html", documents)
    (documents / "broken.pdf").write_bytes(b"%PDF-1.7\n1 0 obj << /Type /Catalog >>\n" + struct.pack("<I", 7))
    (documents / "german.txt").write_text(
        "Der alte Leuchtturm steht am Ende der Mole. Niemand hat diesen Text gelesen.\n"
    )
    out = mine(audio, documents, tmp_path / "out", recognizer=f"words:{words}", overrides=["regions.vad=energy"])
    left = {(drop.id, drop.reason) for drop in out.left_out}
    for name in ("empty", "text", "truncated", "nan"):
        assert (name, "unreadable_audio") in left
    assert ("broken", "unreadable_document") in left
    for name in ("eight_bit", "fast", "stereo", "six_channels", "silent"):
        assert (name, "no_document") in left
    assert ("german", "no_recording") in left
    assert out.silent_recordings == ["silent"]
    assert all(drop.detail for drop in out.left_out)
    kept = list(out.utterances())
    assert len(kept) > 10
    assert {item.custom["recording"] for item in kept if item.custom} == {"bees"}


@pytest.mark.parametrize(
    ("audio", "documents", "message"),
    [("missing", ".", "no such file"), (".", "missing", "no such file"), (".", ".", "holds no audio")],
)
def test_missing_inputs_are_one_sentence(tmp_path: Path, audio: str, documents: str, message: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(UserError, match=message):
        mine(tmp_path / "in" / audio, tmp_path / "in" / documents, tmp_path / "out")


def test_output_that_cannot_be_written_is_one_sentence(tmp_path: Path, transcripts: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="file"):
        mine(SAMPLE / "audio", SAMPLE / "documents", tmp_path / "file", recognizer=f"words:{transcripts}")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_read_only_output_folder_is_one_sentence_and_exit_2(tmp_path: Path, transcripts: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=200k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        code = "import sys; from speechkit.cli.main import main; main(sys.argv[1:])"
        inputs = [str(SAMPLE / "audio"), str(SAMPLE / "documents")]
        ended = subprocess.run(
            [sys.executable, "-c", code, "mine", *inputs, "--out", str(disk / "out")],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert ended.returncode == 2
    assert "read-only" in ended.stderr.lower()
    assert str(disk) in ended.stderr.replace("\n", "")
    assert "Traceback" not in ended.stderr


def test_scans_that_need_a_missing_program_and_other_files_are_left_out(
    transcripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    shutil.copy(SAMPLE / "documents/bees.html", documents)
    (documents / "notes.rtf").write_text("no document")
    image = pytest.importorskip("PIL.Image")
    image.new("L", (200, 100), 255).save(documents / "scan.png")
    monkeypatch.setenv("PATH", str(tmp_path))  # no tesseract
    out = mine(
        SAMPLE / "audio",
        documents,
        tmp_path / "out",
        recognizer=f"words:{transcripts}",
        overrides=["regions.vad=energy"],
    )
    left = {(drop.id, drop.reason): drop.detail for drop in out.left_out}
    assert "apt-get install tesseract-ocr" in left["scan", "missing_extra"]
    assert "save it as .docx" in left["notes.rtf", "not_a_document"]
    listed = (tmp_path / "out/left_out.jsonl").read_text()
    assert "missing_extra" in listed
    assert "not_a_document" in listed
    assert out.summary.kept > 10


def test_full_disk_loses_nothing_that_was_mined(
    tmp_path: Path, transcripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    import speechkit.data.manifest
    import speechkit.mining.export.stage

    def full(*arguments: object, **options: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    name = "write_manifest"
    with monkeypatch.context() as patched:
        patched.setattr(speechkit.mining.export.stage, name, full)
        with pytest.raises(SpeechkitError, match="export"):
            mine(
                SAMPLE / "audio",
                SAMPLE / "documents",
                tmp_path,
                recognizer=f"words:{transcripts}",
                overrides=["regions.vad=energy"],
            )
    done = sorted(path.parent.name for path in (tmp_path / "stages").glob("*/current"))
    assert done[-1] == "07-selection"
    assert callable(speechkit.data.manifest.write_manifest)
    assert list(
        mine(
            SAMPLE / "audio",
            SAMPLE / "documents",
            tmp_path,
            recognizer=f"words:{transcripts}",
            overrides=["regions.vad=energy"],
        ).utterances()
    )


def test_two_runs_on_one_folder_do_not_mix(tmp_path: Path, transcripts: Path) -> None:
    from speechkit.pipeline.lock import run_lock

    with run_lock(tmp_path / "stages", None), pytest.raises(UserError):
        mine(SAMPLE / "audio", SAMPLE / "documents", tmp_path, recognizer=f"words:{transcripts}")


def test_list_of_pairs_decides_instead_of_content(tmp_path: Path, transcripts: Path) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("bees.ogg\tharbour.pdf\n")
    with pytest.raises(UserError, match="none of its sentences was found in"):
        mine(
            SAMPLE / "audio",
            SAMPLE / "documents",
            tmp_path / "out",
            recognizer=f"words:{transcripts}",
            pairs=pairs,
            overrides=["regions.vad=energy"],
        )
    left_out = {(drop.id, drop.reason) for drop in read_jsonl(tmp_path / "out/left_out.jsonl", DropRecord)}
    assert left_out == {(name, f"no_{side}") for name in ("bees", "harbour") for side in ("document", "recording")}
    assert (tmp_path / "out/report.html").stat().st_size > 10_000
    assert list(read_manifest(tmp_path / "out/manifest.jsonl")) == []


UNRELATED = "The committee met on Tuesday to discuss the budget. Nobody objected to the new tax on parking lots. "


def test_unrelated_text_is_refused_in_one_sentence(
    tmp_path: Path, transcripts: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "minutes.txt").write_text(10 * UNRELATED)
    options = ["--recognizer", f"words:{transcripts}", "--vad", "energy", "--out", str(tmp_path / "out")]
    assert call(["mine", str(SAMPLE / "audio"), str(tmp_path / "minutes.txt"), *options]) == 2
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "minutes.txt" in line]
    assert "none of its sentences was found in" in said
    assert (tmp_path / "out/report.html").is_file()


def test_one_unrelated_document_among_others_is_named(tmp_path: Path, transcripts: Path) -> None:
    shutil.copytree(SAMPLE / "documents", tmp_path / "documents")
    (tmp_path / "documents/minutes.txt").write_text(10 * UNRELATED)
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("bees\tbees\nbees\tminutes\nharbour\tharbour\n")
    for given in (None, pairs):
        mined = mine(
            SAMPLE / "audio", tmp_path / "documents", tmp_path / "out", recognizer=f"words:{transcripts}",
            overrides=["regions.vad=energy"], pairs=given,
        )  # fmt: skip
        assert [(drop.id, drop.reason) for drop in mined.left_out] == [("minutes", "no_recording")]
        assert mined.summary.kept > 20


def test_every_file_of_the_folders_is_used_or_named(transcripts: Path, tmp_path: Path) -> None:
    audio, documents = tmp_path / "audio", tmp_path / "documents"
    shutil.copytree(SAMPLE / "audio", audio)
    shutil.copytree(SAMPLE / "documents", documents)
    (audio / "bees.ogg").rename(audio / "bees.take1")  # known by its first bytes
    (audio / "notes.doc").write_text("not audio")
    shutil.copy(audio / "bees.take1", audio / os.fsdecode(b"caf\xe9.ogg"))
    words = tmp_path / "words"
    shutil.copytree(transcripts, words)
    mined = mine(audio, documents, tmp_path / "out", recognizer=f"words:{words}", overrides=["regions.vad=energy"])
    assert {(drop.id, drop.reason) for drop in mined.left_out} >= {
        ("notes.doc", "not_audio"), (r"caf\xe9.ogg", "undecodable_name")
    }  # fmt: skip
    assert any(item.audio_filepath.endswith("bees.take1") for item in mined.utterances())


def test_documents_that_are_only_linked_are_named(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/bees.html").symlink_to(next((SAMPLE / "documents").iterdir()))
    with pytest.raises(UserError, match=r"holds no documents .*; bees\.html is a link that leads out of the folder"):
        mine(SAMPLE / "audio", tmp_path / "docs", tmp_path / "out")


@pytest.mark.parametrize("place", ["documents/out", "documents", "audio/a/b"])
def test_an_output_inside_an_input_folder_is_refused(tmp_path: Path, place: str) -> None:
    for name in ("audio", "documents"):
        shutil.copytree(SAMPLE / name, tmp_path / name)
    with pytest.raises(UserError, match=r"lies inside .*choose a folder outside"):
        mine(tmp_path / "audio", tmp_path / "documents", tmp_path / place)


def test_links_among_the_recordings_are_followed_or_named(transcripts: Path, tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio/bees.ogg").symlink_to(SAMPLE / "audio/bees.ogg")
    (tmp_path / "audio/more").symlink_to(SAMPLE / "audio")
    settings = {"recognizer": f"words:{transcripts}", "overrides": ["regions.vad=energy"]}
    mined = mine(tmp_path / "audio", SAMPLE / "documents", tmp_path / "out", **settings)
    assert mined.recordings == 1
    assert {(drop.id, drop.reason) for drop in mined.left_out} >= {("more", "not_audio")}


@pytest.fixture
def two_channels(tmp_path: Path) -> Path:
    """One speaker a channel: bees on the left, half a minute later another recording of the sample on the right."""
    left, rate = soundfile.read(SAMPLE / "audio/bees.ogg", dtype="float32")
    other = next(path for path in sorted((SAMPLE / "audio").glob("*.ogg")) if path.stem != "bees")
    right, _ = soundfile.read(other, dtype="float32")
    length = max(len(left), len(right))
    both = np.zeros((length, 2), np.float32)
    both[: len(left), 0], both[: len(right), 1] = left, right
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio/talk.flac", both, rate)
    return tmp_path / "audio"


class ChannelListener:
    """A recogniser that notes which channel it was told to hear."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int | None]] = []

    @property
    def spec(self) -> RecognizerSpec:
        return RecognizerSpec("listener", "listener", "", "en")

    def recognize(self, path, speech=None, *, channel=None, advance=None) -> Hypothesis:
        self.heard.append((Path(path).name, channel))
        advance(sum(end - begin for begin, end in speech) / 16_000)
        return words_to_hypothesis([TimedWord("hello", 1.0, 2.0, 0.0)])


@pytest.mark.parametrize(
    ("settings", "channels"),
    [({}, [None]), ({"overrides": ["regions.channel=1"]}, [1]), ({"channels": "each"}, [0, 1])],
)
def test_the_recogniser_hears_the_channel_that_was_asked_for(
    two_channels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict, channels: list
) -> None:
    listener = ChannelListener()
    monkeypatch.setattr("speechkit.asr.load_recognizer", lambda *_, **__: listener)
    overrides = ["regions.vad=energy", *settings.pop("overrides", [])]
    with pytest.raises(UserError, match="none of its sentences was found"):
        mine(two_channels, SAMPLE / "documents", tmp_path / "out", overrides=overrides, **settings)
    assert listener.heard == [("talk.flac", channel) for channel in channels]


def test_each_channel_is_mined_as_a_recording_of_its_own(two_channels: Path, transcripts: Path, tmp_path: Path) -> None:
    from speechkit.data.audio import read_cut

    other = next(path.stem for path in sorted((SAMPLE / "audio").glob("*.ogg")) if path.stem != "bees")
    words = {"bees": 0, other: 1}

    class Words:
        spec = RecognizerSpec("words", "words", "", "en")

        def recognize(self, path, speech=None, *, channel=None, advance=None) -> Hypothesis:
            name = {number: name for name, number in words.items()}[channel]
            return load_recognizer(f"words:{transcripts}").recognize(f"{name}.ogg")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("speechkit.asr.load_recognizer", lambda *_, **__: Words())
        mined = mine(
            two_channels, SAMPLE / "documents", tmp_path / "out", channels="each", overrides=["regions.vad=energy"]
        )
    kept = list(mined.utterances())
    assert {(item.custom["recording"], item.channel) for item in kept} == {("talk-channel1", 0), ("talk-channel2", 1)}
    sound, _ = soundfile.read(two_channels / "talk.flac", dtype="float32")
    for item in (kept[0], kept[-1]):
        first = item.offset_samples
        wanted = sound[first : first + item.num_samples, item.channel]
        np.testing.assert_array_equal(read_cut(audio_path(mined.manifest, item), item), wanted)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"lang": "xx"}, "no embedded recogniser for lang 'xx'"),
        ({"recognizer": "words:/nowhere/w.ctm"}, "/nowhere/w.ctm: no such file"),
        ({"recognizer": "./no-such-model"}, "./no-such-model: no such folder"),
        ({"pairs": "none.tsv"}, "none.tsv"),
        ({"pairs": "wrong.tsv"}, r"wrong.tsv:2: there is no document beez.html; did you mean bees"),
        ({"overrides": ["selection.calibration=none.json"]}, "none.json"),
        ({"formats": ["nemo", "kaldy"]}, r"export.formats: 'kaldy' is not one of lhotse, .*; did you mean kaldi\?"),
    ],
)
def test_what_cannot_work_is_found_before_the_first_stage(tmp_path: Path, settings: dict, reason: str) -> None:
    (tmp_path / "wrong.tsv").write_text("recording\tdocument\nbees.ogg\tbeez.html\n")
    if "pairs" in settings:
        settings = {"pairs": tmp_path / settings["pairs"]}
    with pytest.raises(UserError, match=reason):
        mine(SAMPLE / "audio", SAMPLE / "documents", tmp_path / "out", **settings)
    assert not list((tmp_path / "out").glob("stages/0*"))


@pytest.mark.parametrize("moved", ["all", "inputs"])
def test_after_a_move_paths_are_those_of_the_new_place(transcripts: Path, tmp_path: Path, moved: str) -> None:
    settings = {"recognizer": f"words:{transcripts}", "overrides": ["regions.vad=energy"]}
    here, there, out = tmp_path / "here", tmp_path / "there", tmp_path / "out"
    for name in ("audio", "documents"):
        shutil.copytree(SAMPLE / name, here / name)
    if moved == "all":
        out = here / "out"
    mine(here / "audio", here / "documents", out, **settings)
    here.rename(there)
    if moved == "all":
        out = there / "out"
    mined = mine(there / "audio", there / "documents", out, **settings)
    kept = list(mined.utterances())
    assert kept
    for item in kept:
        assert audio_path(mined.manifest, item).resolve().is_relative_to(there.resolve())
        assert audio_path(mined.manifest, item).is_file()


def test_an_averaged_recording_names_the_channel_that_holds_its_speech(tmp_path: Path, transcripts: Path) -> None:
    speech, rate = soundfile.read(SAMPLE / "audio/bees.ogg", dtype="float32", frames=40 * 48_000)
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio/bees.flac", np.stack([0 * speech, speech], axis=1), rate)
    mined = mine(
        tmp_path / "audio",
        SAMPLE / "documents/bees.html",
        tmp_path / "out",
        recognizer=f"words:{transcripts}",
        overrides=["regions.vad=energy"],
    )
    kept = list(mined.utterances())
    assert kept
    assert {item.channel for item in kept} == {1}
    assert min(item.custom["snr_db"] for item in kept) > 5


def test_a_pair_whose_document_cannot_be_read_does_not_end_the_run(tmp_path: Path, transcripts: Path) -> None:
    (tmp_path / "documents").mkdir()
    shutil.copy(SAMPLE / "documents/bees.html", tmp_path / "documents")
    (tmp_path / "documents/broken.docx").write_bytes(b"PK no archive")
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("bees.ogg\tbees.html\nharbour.ogg\tbroken.docx\n")
    mined = mine(
        SAMPLE / "audio",
        tmp_path / "documents",
        tmp_path / "out",
        recognizer=f"words:{transcripts}",
        pairs=pairs,
        overrides=["regions.vad=energy"],
    )
    assert {item.custom["recording"] for item in mined.utterances()} == {"bees"}
    left_out = {(drop.id, drop.reason) for drop in mined.left_out}
    assert left_out == {("broken", "unreadable_document"), ("harbour", "no_document")}
