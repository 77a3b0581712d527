"""Corpora that are not at hand, as small trees in their published layout with real short audio."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import tarfile

import numpy as np
import pytest
import soundfile

from speechkit.data.corpora import corpora_module
from speechkit.errors import UserError

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="m4a is decoded by the program ffmpeg")


@pytest.fixture
def shrutilipi(tmp_path, tone, text):
    source = tmp_path / "shrutilipi"
    for bulletin, count in (("nsd-1", 3), ("nsd-2", 2)):
        for k in range(1, count + 1):
            tone(source / "hindi" / bulletin / f"sent_{k}.wav", 4000 + 100 * k)
    manifests = source / "shrutilipi_fairseq" / "hindi"
    rows = [("nsd-1/sent_1.wav", 4100), ("nsd-1/sent_2.wav", 4200), ("nsd-1/sent_3.wav", 9), ("nsd-2/sent_9.wav", 4100)]
    rows += [("nsd-2/sent_1.wav", 4100), ("nsd-2/sent_2.wav", 4200)]
    text(manifests / "train.tsv", "/publisher/hindi\n" + "".join(f"{n}\t{c}\n" for n, c in rows))
    words = ["यह समाचार है", "नमस्ते", "तीन", "नौ", "दूसरा बुलेटिन", "अंत"]
    text(manifests / "train.wrd", "".join(f"{w}\n" for w in words))
    spelled = [" ".join(w.replace(" ", "|")) + " |" for w in words]
    spelled[4] = "a b c |"
    text(manifests / "train.ltr", "".join(f"{w}\n" for w in spelled))
    return source


def test_shrutilipi_checks_lengths_and_letters_of_every_line(run, shrutilipi):
    done = run("shrutilipi", shrutilipi)
    done.check_against_soundfile()
    utterances = done.utterances("hindi-train")
    assert [(u.id, u.text) for u in utterances] == [
        ("hindi-nsd-1-sent_1", "यह समाचार है"),
        ("hindi-nsd-1-sent_2", "नमस्ते"),
        ("hindi-nsd-2-sent_2", "अंत"),
    ]
    assert {u.lang for u in utterances} == {"hi"}
    assert utterances[0].custom == {"bulletin": "nsd-1"}
    assert done.split("hindi-train").left_out == {"audio_missing": 1, "length_differs": 1, "transcripts_disagree": 1}


@pytest.mark.parametrize("place", ["hindi", "data/hindi", "newsonair_v5/hindi", "shrutilipi_fairseq/hindi"])
def test_shrutilipi_finds_manifests_and_audio_wherever_they_were_unpacked(run, shrutilipi, place):
    for k in range(150):
        (shrutilipi / "hindi" / f"bulletin-{k}").mkdir()
    nested = shrutilipi / "shrutilipi_fairseq" / "shrutilipi_fairseq"
    nested.mkdir()
    (shrutilipi / "shrutilipi_fairseq" / "hindi").rename(nested / "hindi")
    if place == "shrutilipi_fairseq/hindi":
        shutil.copytree(shrutilipi / "hindi", nested / "hindi", dirs_exist_ok=True)
        shutil.rmtree(shrutilipi / "hindi")
    elif place != "hindi":
        (shrutilipi / place).parent.mkdir()
        (shrutilipi / "hindi").rename(shrutilipi / place)
    assert run("shrutilipi", shrutilipi).split("hindi-train").utterances == 3


@pytest.mark.parametrize("name", ["train.wrd", "train.ltr", "train.tsv"])
def test_shrutilipi_refuses_files_whose_lines_do_not_match(run, shrutilipi, name):
    path = shrutilipi / "shrutilipi_fairseq" / "hindi" / name
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match=r"not.*same lines"):
        run("shrutilipi", shrutilipi)
    assert not list(shrutilipi.parent.glob("out/*.jsonl"))


@pytest.fixture
def fleurs(tmp_path, tone, text):
    folder = tmp_path / "fleurs" / "data" / "hi_in"
    rows = []
    for k in range(3):
        tone(tmp_path / "stage" / "dev" / f"100{k}.wav", 4000 + k)
        rows.append(f"17{k}\t100{k}.wav\tनमस्ते, दुनिया।\tनमस्ते दुनिया\tन म\t{4000 + k}\tFEMALE")
    rows += ["179\tabsent.wav\tx\tx\tx\t10\tMALE", "broken row", "180\t1000.wav\tx\tx\tx\t4000\tMALE"]
    text(folder / "dev.tsv", "\n".join(rows) + "\n")
    (folder / "audio").mkdir()
    with tarfile.open(folder / "audio" / "dev.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "stage" / "dev", "dev")
    return tmp_path / "fleurs"


def test_fleurs_reads_the_archive_as_published(run, fleurs):
    done = run("fleurs", fleurs)
    done.check_against_soundfile()
    assert [u.id for u in done.utterances("hi_in-dev")] == ["hi_in-1000", "hi_in-1001", "hi_in-1002"]
    first = done.utterances("hi_in-dev")[0]
    assert (first.text, first.lang, first.speaker) == ("नमस्ते दुनिया", "hi", None)
    assert first.custom == {"sentence": "170", "raw_text": "नमस्ते, दुनिया।", "gender": "female", "locale": "hi_in"}
    assert done.split("hi_in-dev").left_out == {"audio_missing": 1, "bad_line": 1, "duplicate_id": 1}


def test_fleurs_reads_unpacked_audio_to_the_same_utterances(run, fleurs, tmp_path):
    packed = [(u.id, u.text, u.num_samples) for u in run("fleurs", fleurs).utterances("hi_in-dev")]
    audio = fleurs / "data" / "hi_in" / "audio"
    (audio / "dev.tar.gz").unlink()
    shutil.copytree(tmp_path / "stage" / "dev", audio / "dev")
    done = run("fleurs", fleurs / "data" / "hi_in")
    assert [(u.id, u.text, u.num_samples) for u in done.utterances("hi_in-dev")] == packed
    shutil.rmtree(audio / "dev")
    with pytest.raises(UserError, match=r"dev\.tar\.gz:.*missing.*download.*audio.*hi_in"):
        run("fleurs", fleurs)


def kathbath(tmp_path, tone, text, suffix):
    folder = tmp_path / "kathbath" / "kb_data_clean_m4a" / "tamil" / "test_known"
    names = ["844424931537866-594-f", "844424931029859-973-m", "844424931029860-973-m"]
    text(
        folder / "transcription_n2w.txt",
        f"{names[0]}.m4a\tவணக்கம் உலகம்\n{names[1]}.m4a\tஇரண்டு\nabsent-1-f.m4a\tx\n",
    )
    for k, name in enumerate(names):
        tone(folder / "audio" / f"{name}.wav", 8000 + k)
        if suffix == ".m4a":
            wave = folder / "audio" / f"{name}.wav"
            made = subprocess.run(["ffmpeg", "-v", "error", "-i", wave, wave.with_suffix(".m4a")], check=False)
            assert made.returncode == 0
            wave.unlink()
    return tmp_path / "kathbath"


@pytest.mark.parametrize("suffix", [".wav", pytest.param(".m4a", marks=needs_ffmpeg)])
def test_kathbath_takes_speaker_and_sex_from_the_file_name(run, tmp_path, tone, text, suffix):
    done = run("kathbath", kathbath(tmp_path, tone, text, suffix))
    utterances = done.utterances("tamil-clean-test_known")
    assert [(u.id, u.speaker, u.custom, u.lang) for u in utterances] == [
        ("tamil-844424931537866-594-f", "tamil-594", {"sex": "F"}, "ta"),
        ("tamil-844424931029859-973-m", "tamil-973", {"sex": "M"}, "ta"),
    ]
    assert utterances[0].text == "வணக்கம் உலகம்"
    assert all(u.num_samples / u.sample_rate == pytest.approx(0.5, abs=0.1) for u in utterances)
    assert done.split("tamil-clean-test_known").left_out == {"audio_missing": 1, "transcript_missing": 1}


@needs_ffmpeg
def test_no_m4a_is_lost_to_threads(run, tmp_path, tone, text):
    folder = tmp_path / "kathbath" / "odia" / "valid"
    wave = tone(tmp_path / "x.wav", 8000)
    subprocess.run(["ffmpeg", "-v", "error", "-i", wave, wave.with_suffix(".m4a")], check=True)
    folder.mkdir(parents=True)
    for k in range(24):
        shutil.copy(wave.with_suffix(".m4a"), folder / f"{k}-7-m.m4a")
    text(folder / "transcription_n2w.txt", "".join(f"{k}-7-m.m4a\tଏକ\n" for k in range(24)))
    assert run("kathbath", tmp_path / "kathbath", jobs=8).split("odia-valid").left_out == {}


def test_mucs_reads_one_file_an_utterance(run, tmp_path, tone, text):
    source = tmp_path / "mucs"
    for name in ("0001_001", "0001_002", "0001_004"):
        tone(source / "Hindi" / "train" / "audio" / f"{name}.wav")
    text(source / "Hindi" / "train" / "transcription.txt", "0001_001 पहला वाक्य\n0001_002 दूसरा\n0001_003 तीसरा\n")
    done = run("mucs", source)
    done.check_against_soundfile()
    assert [(u.id, u.text, u.lang) for u in done.utterances("Hindi-train")] == [
        ("0001_001", "पहला वाक्य", "hi"),
        ("0001_002", "दूसरा", "hi"),
    ]
    assert done.split("Hindi-train").left_out == {"audio_missing": 1, "transcript_missing": 1}


def test_mucs_cuts_segments_of_lectures(run, tmp_path, tone, text):
    train = tmp_path / "mucs" / "Hindi-English" / "train"
    tone(train / "lecture.wav", 16000 * 5)
    home = train / "transcripts"
    text(home / "wav.scp", "lecture /publisher/path/lecture.wav\n")
    text(home / "text", "a file खोलें\nb save करें\nc too late\nd overshoot\ne no segment\n")
    text(home / "utt2spk", "a lecture\nb lecture\n")
    lines = ["a lecture 0.5 1.25", "b lecture 1.25 3.0", "c lecture 6 7", "d lecture 4.0 5.3", "bad lecture x 7"]
    text(home / "segments", "\n".join([*lines, "f lecture 1 2"]) + "\n")
    done = run("mucs", tmp_path / "mucs")
    done.check_against_soundfile()
    name = "Hindi-English-train"
    assert [(u.id, u.offset_samples, u.num_samples) for u in done.utterances(name)] == [
        ("a", 8000, 12000),
        ("b", 20000, 28000),
        ("d", 64000, 16000),
    ]
    first = done.utterances(name)[0]
    assert (first.text, first.lang, first.speaker) == ("file खोलें", "hi-en", "lecture")
    assert done.reasons(name) == {
        "bad": "bad_line",
        "c": "segment_outside_audio",
        "e": "audio_missing",
        "f": "transcript_missing",
    }
    assert done.split(name).notes == {"segments cut at the end of their recording": 1}


def test_mucs_never_runs_a_command_of_wav_scp(run, tmp_path, text):
    home = tmp_path / "mucs" / "train" / "transcripts"
    text(home / "wav.scp", f"lecture touch {tmp_path / 'ran'} |\n")
    text(home / "text", "a x\n")
    text(home / "segments", "a lecture 0 1\n")
    with pytest.raises(UserError, match=r"wav\.scp:1: names no file"):
        run("mucs", tmp_path / "mucs")
    assert not (tmp_path / "ran").exists()


def aishell(tmp_path, tone, text, packed):
    source = tmp_path / "data_aishell"
    text(
        source / "transcript" / "aishell_transcript_v0.8.txt",
        "BAC009S0002W0122 而 对 楼市 成交\nBAC009S0002W0123 也 成为\nBAC009S0724W0121 广州 市\n",
    )
    for split, speaker, names in (("train", "S0002", ("0122", "0123", "0124")), ("dev", "S0724", ("0121",))):
        home = tmp_path / "stage" if packed else source / "wav"
        for k, name in enumerate(names):
            tone(home / split / speaker / f"BAC009{speaker}W{name}.wav", 4000 + k)
        if packed:
            (source / "wav").mkdir(exist_ok=True)
            with tarfile.open(source / "wav" / f"{speaker}.tar.gz", "w:gz") as tar:
                tar.add(home / split / speaker, f"{split}/{speaker}")
    return source


@pytest.mark.parametrize("packed", [False, True])
def test_aishell_reads_folders_and_archives_of_speakers(run, tmp_path, tone, text, packed):
    done = run("aishell1", aishell(tmp_path, tone, text, packed))
    done.check_against_soundfile()
    assert [s.split for s in done.summary.splits] == ["train", "dev"]
    train = done.utterances("train")
    assert [(u.id, u.text, u.speaker, u.lang) for u in train] == [
        ("BAC009S0002W0122", "而对楼市成交", "S0002", "zh"),
        ("BAC009S0002W0123", "也成为", "S0002", "zh"),
    ]
    assert train[0].custom == {"words": "而 对 楼市 成交"}
    assert done.split("train").left_out == {"transcript_missing": 1}


def test_aishell_does_not_unpack_twice(run, tmp_path, tone, text):
    source = aishell(tmp_path, tone, text, packed=True)
    done = run("aishell1", source)
    marker = done.out / "unpacked" / "S0002" / "train" / "S0002" / "BAC009S0002W0122.wav"
    before = marker.stat().st_ino
    run("aishell1", source)
    assert marker.stat().st_ino == before


@pytest.fixture
def tedlium(tmp_path, tone, text):
    legacy = tmp_path / "TEDLIUM_release-3" / "legacy" / "dev"
    tone(legacy / "sph" / "Speaker_2010.sph", 16000 * 10, format="NIST", subtype="PCM_16")
    tone(legacy / "sph" / "Lonely_2011.sph", format="NIST", subtype="PCM_16")
    rows = [
        ";; a comment",
        "Speaker_2010 1 Speaker_2010 0.5 2.5 <o,f0,male> i 'm here and it 's fine",
        "Speaker_2010 1 inter_segment_gap 2.5 3.0 <o,,unknown>",
        "Speaker_2010 1 Speaker_2010 3.0 4.0 <o,f0,male> ignore_time_segment_in_scoring",
        "Speaker_2010 1 Speaker_2010 4.0 5.0 <o,f0,male> <unk>",
        "Speaker_2010 1 Speaker_2010 5.0 6.0 <o,f0,male> the <unk> said",
        "Speaker_2010 1 Speaker_2010 5.5 7.0 <o,f0,male> overlapping words",
        "Speaker_2010 1 Speaker_2010 seven 8 <o,f0,male> broken",
        "Speaker_2010 1 Speaker_2010 7 8 no label here",
        "Other_2012 1 Other_2012 7 8 <o,f0,male> of another talk",
        "Speaker_2010 1 Speaker_2010 8 9 <o,f0,male>",
        "Speaker_2010 1 Speaker_2010 12 14 <o,f0,male> after the end",
    ]
    text(legacy / "stm" / "Speaker_2010.stm", "\n".join(rows) + "\n")
    text(legacy / "stm" / "Absent_2013.stm", "Absent_2013 1 Absent_2013 0 1 <o,f0,male> words\n")
    return tmp_path


@pytest.mark.parametrize("below", ["", "TEDLIUM_release-3"])
def test_tedlium_reads_sphere_and_stm_and_counts_what_it_skips(run, tedlium, below):
    done = run("tedlium3", tedlium / below)
    done.check_against_soundfile()
    utterances = done.utterances("legacy-dev")
    assert [(u.text, u.offset_samples, u.num_samples) for u in utterances] == [
        ("i'm here and it's fine", 8000, 32000),
        ("the <unk> said", 80000, 16000),
        ("overlapping words", 88000, 24000),
        ("no label here", 112000, 16000),
    ]
    assert utterances[1].custom == {"unknown_words": 1}
    assert {u.speaker for u in utterances} == {"Speaker_2010"}
    split = done.split("legacy-dev")
    assert split.left_out == {
        "audio_missing": 1,
        "bad_line": 2,
        "marked_ignore": 2,
        "no_words": 1,
        "segment_outside_audio": 1,
        "transcript_empty": 1,
        "transcript_missing": 1,
    }
    assert split.notes == {"segments that overlap the one before": 1, "segments with <unk>": 1}


def test_audio_beside_text_files(run, tmp_path, tone, text):
    source = tmp_path / "mine"
    tone(source / "a" / "one.wav")
    text(source / "a" / "one.txt", "hello\n world ")
    tone(source / "a" / "two.flac")
    text(source / "a" / "two.normalized.txt", "twenty one")
    text(source / "a" / "two.original.txt", "21")
    text(source / "a" / "two.txt", "21!")
    tone(source / "b" / "three.ogg")
    text(source / "b" / "three.txt", "this")
    text(source / "b" / "three.lab", "that")
    tone(source / "b" / "four.wav")
    text(source / "b" / "four.lab", "four")
    text(source / "b" / "four.txt", " four\n")
    tone(source / "b" / "five.wav")
    (source / "b" / "six.lab").write_bytes(b"\xff\xfe")
    tone(source / "b" / "six.wav")
    text(source / "b" / "seven.txt", "no audio")
    text(source / "b" / "eight.txt", "  ")
    tone(source / "b" / "eight.wav")
    done = run("audio_text_folder", source, lang="en")
    done.check_against_soundfile()
    assert {u.text for u in done.utterances("all")} == {"hello world", "twenty one", "four"}
    assert {(u.lang, u.speaker) for u in done.utterances("all")} == {("en", None)}
    assert done.split("all").left_out == {
        "audio_missing": 1,
        "transcript_empty": 1,
        "transcript_missing": 1,
        "transcript_unreadable": 1,
        "transcripts_disagree": 1,
    }


def test_ids_of_a_folder_tell_equal_names_apart(run, tmp_path, tone, text):
    for place in ("a/b", "a_b", "a"):
        tone(tmp_path / "mine" / place / "x.wav")
        text(tmp_path / "mine" / place / "x.txt", place)
    utterances = run("audio_text_folder", tmp_path / "mine").utterances("all")
    assert len({u.id for u in utterances}) == 3


def test_one_stem_in_two_formats_is_one_utterance(run, tmp_path, tone, text):
    tone(tmp_path / "mine" / "x.wav")
    tone(tmp_path / "mine" / "x.flac")
    text(tmp_path / "mine" / "x.txt", "words")
    done = run("audio_text_folder", tmp_path / "mine")
    assert done.split("all").left_out == {"duplicate_id": 1}


@pytest.fixture
def programme(tmp_path, tone, text):
    source = tmp_path / "programme"
    tone(source / "audio" / "bulletin.wav", 32000)
    tone(source / "audio" / "second.flac", 48000)
    text(source / "documents" / "bulletin.html", "<p>words</p>")
    text(source / "documents" / "extra.txt", "words")
    return source


def test_recordings_are_listed_without_text_and_nothing_is_paired_by_name(run, programme):
    (programme / "table.xyz").write_text("?")
    done = run("recordings_documents", programme)
    done.check_against_soundfile()
    utterances = done.utterances("recordings")
    assert [(u.text, u.custom) for u in utterances] == [(None, None), (None, None)]
    assert done.reasons("recordings") == {"table.xyz": "audio_unreadable"}
    assert list(done.split("recordings").notes) == [
        "pairs.tsv is absent: mining pairs recordings and documents by content"
    ]


def test_channels_that_no_row_names_are_counted(run, programme):
    sound, rate = soundfile.read(programme / "audio" / "bulletin.wav")
    soundfile.write(programme / "audio" / "bulletin.wav", np.stack([sound, sound], 1), rate)
    notes = run("recordings_documents", programme).split("recordings").notes
    assert notes["recordings with several channels, of which the first is taken"] == 1


def test_a_list_of_pairs_is_kept_and_what_it_forgets_is_counted(run, programme, text):
    text(programme / "notes.md", "words")
    lines = "recording\tdocument\n# checked\naudio/bulletin.wav\tdocuments/bulletin.html\n"
    text(programme / "pairs.tsv", lines + "audio/second.flac\tnotes.md\n")
    assert [u.custom["documents"] for u in run("recordings_documents", programme).utterances("recordings")] == [
        ["documents/bulletin.html"],
        ["notes.md"],
    ]
    text(programme / "pairs.tsv", "audio/bulletin.wav\tdocuments/bulletin.html\n")
    done = run("recordings_documents", programme)
    assert [u.custom for u in done.utterances("recordings")] == [{"documents": ["documents/bulletin.html"]}, None]
    assert done.split("recordings").notes == {"documents in no pair": 2, "recordings in no pair": 1}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("audio/bulletin.wav documents/bulletin.html", "one column; give a recording and a document"),
        ("audio/absent.wav\tdocuments/bulletin.html", "is no recording below"),
        ("audio/bulletin.wav\t../secret.txt", "leads out of"),
        ("documents/bulletin.html\taudio/bulletin.wav", "is no recording below"),
    ],
)
def test_a_wrong_pair_names_its_line(run, programme, text, line, message):
    text(programme.parent / "secret.txt", "x")
    text(programme / "pairs.tsv", f"{line}\n")
    with pytest.raises(UserError, match=message):
        run("recordings_documents", programme)


def test_a_damaged_archive_of_slurp_is_refused(tmp_path):
    packed = gzip.compress(b"a text long enough to be packed, packed, packed")
    (tmp_path / "train.jsonl.gz").write_bytes(packed[:10] + b"\xff" + packed[11:])
    with pytest.raises(UserError, match=r"cannot be read .*; download it again"):
        corpora_module("slu_texts").read_bytes(tmp_path / "train.jsonl.gz")
