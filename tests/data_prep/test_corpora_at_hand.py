"""Corpora that the folder of shared data holds, read as they lie there."""

from __future__ import annotations

import pytest
import soundfile

from speechkit.data.corpora import corpora_module
from speechkit.data.manifest import audio_path
from speechkit.errors import UserError

unquoted = corpora_module("common_voice").unquoted


def test_librispeech_counts_speakers_texts_and_lengths(run, shared_data):
    done = run("librispeech", shared_data / "LibriSpeech")
    done.check_against_soundfile()
    split = done.split("dev-clean")
    files = list((shared_data / "LibriSpeech" / "dev-clean").rglob("*.mp3"))
    assert (split.utterances, split.speakers, split.left_out) == (len(files), 12, {})
    utterances = done.utterances("dev-clean")
    assert [u.id for u in utterances] == sorted((f.stem for f in files), key=lambda i: (i.split("-")[:2], i))
    first = utterances[0]
    assert first.id == "1272-128104-0000"
    assert first.text == "MISTER QUILTER IS THE APOSTLE OF THE MIDDLE CLASSES AND WE ARE GLAD TO WELCOME HIS GOSPEL"
    assert (first.speaker, first.lang, first.custom) == ("1272", "en", {"chapter": "128104", "sex": "M"})
    for u in utterances[::20]:
        path = audio_path(done.out / "dev-clean.jsonl", u)
        assert len(soundfile.read(path)[0]) == pytest.approx(u.num_samples, abs=0)


def test_librispeech_may_be_given_by_the_folder_above(run, copy, shared_data):
    source = copy(shared_data / "LibriSpeech", "dev-clean/84/121550")
    done = run("librispeech", source.parent)
    assert done.split("dev-clean").speakers == 1
    assert done.split("dev-clean").notes == {"SPEAKERS.TXT is absent: no sex of the readers": 1}


def test_librispeech_counts_what_is_missing_on_either_side(run, copy, shared_data):
    source = copy(shared_data / "LibriSpeech", "dev-clean/84/121550", "dev-clean/84/121123")
    chapter = source / "dev-clean" / "84" / "121550"
    (chapter / "84-121550-0003.mp3").unlink()
    (chapter / "84-121550-0004.mp3").write_bytes(b"")
    (chapter / "84-121550-0005.mp3").write_bytes(b"this is a text file, not audio" * 20)
    table = chapter / "84-121550.trans.txt"
    lines = table.read_text().splitlines()
    lines[7] = "84-121550-0007"
    lines = [line for line in lines if not line.startswith("84-121550-0006 ")]
    lines.append(lines[0] + " AND MORE")
    table.write_text("\n".join(lines) + "\n")
    (source / "dev-clean" / "84" / "121123" / "84-121123.trans.txt").unlink()
    done = run("librispeech", source)
    reasons = done.reasons("dev-clean")
    assert {i[-4:]: r for i, r in reasons.items() if "121550" in i} == {
        "0000": "duplicate_id",
        "0003": "audio_missing",
        "0004": "audio_empty",
        "0005": "audio_unreadable",
        "0006": "transcript_missing",
        "0007": "transcript_empty",
    }
    other = {r for i, r in reasons.items() if "121123" in i}
    assert other == {"transcript_missing"}
    assert len(done.utterances("dev-clean")) == 36 - 5


def test_ljspeech_text_is_the_spoken_one(run, shared_data):
    done = run("ljspeech", shared_data / "LJSpeech-1.1")
    done.check_against_soundfile()
    assert done.split("all").utterances == 113
    found = {u.id: u for u in done.utterances("all")}["LJ001-0049"]
    assert "fourteen ninety" in found.text
    assert "1490" in found.custom["written"]
    assert (found.speaker, found.lang, found.sample_rate) == ("LJ", "en", 22050)


def test_a_corpus_in_the_layout_of_ljspeech_takes_its_reader_and_language_from_the_user(run, shared_data):
    done = run("ljspeech", shared_data / "kerstin-de", lang="de", speaker="kerstin")
    done.check_against_soundfile()
    assert done.split("all").utterances == 1274
    assert {(u.speaker, u.lang) for u in done.utterances("all")} == {("kerstin", "de")}


def test_a_reader_that_nobody_named_is_not_made_up(run, copy, shared_data):
    source = copy(shared_data / "kerstin-de", "wavs/de_rhasspy-0010.opus")
    (source / "metadata.csv").write_text("de_rhasspy-0010|Satz\nde_rhasspy-0011|fehlt\nbroken\na|b|c|d\n")
    done = run("ljspeech", source)
    assert [(u.speaker, u.lang) for u in done.utterances("all")] == [(None, None)]
    assert done.split("all").left_out == {"audio_missing": 1, "bad_line": 2}


def test_common_voice_reads_every_language_folder(run, shared_data):
    done = run("common_voice", shared_data / "cv-corpus-6.1")
    done.check_against_soundfile()
    counts = {s.split: s.utterances for s in done.summary.splits}
    assert counts == {"as-validated": 82, "en-validated": 70, "hi-validated": 75, "pa-IN-validated": 89}
    english = {u.id: u for u in done.utterances("en-validated")}
    assert english["common_voice_en_215456"].custom == {
        "accent": "indian",
        "age": "thirties",
        "down_votes": 0,
        "gender": "female",
        "up_votes": 2,
    }
    assert {u.lang for u in done.utterances("pa-IN-validated")} == {"pa-IN"}
    assert any(u.text == 'This value is called the trace of "A".' for u in english.values())


def test_common_voice_takes_one_language_and_a_pattern_of_splits(run, shared_data):
    done = run("common_voice", shared_data / "cv-corpus-6.1" / "hi")
    assert [s.split for s in done.summary.splits] == ["hi-validated"]
    done = run("common_voice", shared_data / "cv-corpus-6.1", splits=["hi-*", "as-validated"])
    assert [s.split for s in done.summary.splits] == ["as-validated", "hi-validated"]
    with pytest.raises(UserError, match=r"no split 'xx-train'.*as-validated"):
        run("common_voice", shared_data / "cv-corpus-6.1", splits=["xx-train"])


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('"""Feasts"" were ""public""."', '"Feasts" were "public".'),
        ('"Hello."', '"Hello."'),
        ('He said "no" twice', 'He said "no" twice'),
        ('"', '"'),
        ('""', '""'),
        ('"a"" b" c"', '"a"" b" c"'),
    ],
)
def test_only_csv_quotes_are_taken_off(written, read):
    assert unquoted(written) == read


def test_common_voice_counts_hostile_rows(run, copy, shared_data):
    source = copy(shared_data / "cv-corpus-6.1", "hi")
    table = source / "hi" / "validated.tsv"
    header, *rows = table.read_text(encoding="utf-8").splitlines()
    row = rows[0].split("\t")
    hostile = [
        "\t".join([row[0], "../../../etc/passwd", *row[2:]]),
        "\t".join([row[0], "/etc/hostname", *row[2:]]),
        "\t".join([row[0], "absent.mp3", *row[2:]]),
        "only\tthree\tfields",
        rows[0],
        rows[1].replace("\t", "\t\0", 1),
    ]
    table.write_text("\n".join([header, *rows, *hostile]) + "\n", encoding="utf-8")
    done = run("common_voice", source)
    assert done.split("hi-validated").utterances == 75
    assert done.split("hi-validated").left_out == {
        "audio_missing": 1,
        "bad_line": 2,
        "duplicate_id": 1,
        "outside_folder": 2,
    }


def test_common_voice_without_a_needed_column_says_which(run, copy, shared_data):
    source = copy(shared_data / "cv-corpus-6.1", "hi")
    table = source / "hi" / "validated.tsv"
    table.write_text(table.read_text(encoding="utf-8").replace("client_id\t", "client\t", 1), encoding="utf-8")
    with pytest.raises(UserError, match=r"validated\.tsv:1: the header lacks client_id"):
        run("common_voice", source)


def test_speechocean762_carries_age_gender_and_canonical_phones(run, shared_data):
    done = run("speechocean762", shared_data / "speechocean762")
    done.check_against_soundfile()
    split = done.split("train")
    assert (split.utterances, split.speakers, split.left_out) == (2500, 125, {})
    assert "resource/scores.json is absent: no scores" in split.notes
    first = done.utterances("train")[0]
    assert (first.id, first.speaker, first.text) == ("000010011", "0001", "WE CALL IT BEAR")
    assert first.custom["phones"][0] == ["W_B", "IY0_E"]
    assert len(first.custom["phones"]) == 4
    assert (first.custom["age"], first.custom["gender"]) == (6, "m")


def test_speechocean762_scores_go_to_custom_and_commands_are_not_run(run, copy, shared_data):
    source = copy(shared_data / "speechocean762", "train", "resource", "WAVE/SPEAKER0001")
    (source / "resource" / "scores.json").write_text('{"000010011": {"accuracy": 8, "words": [{"text": "WE"}]}}')
    table = source / "train" / "wav.scp"
    rows = table.read_text().splitlines()
    rows[1] = f"000010035 touch {source / 'run'} |"
    table.write_text("\n".join(rows) + "\n")
    done = run("speechocean762", source)
    found = {u.id: u for u in done.utterances("train")}
    assert found["000010011"].custom["scores"] == {"accuracy": 8, "words": [{"text": "WE"}]}
    assert done.reasons("train")["000010035"] == "bad_line"
    assert not (source / "run").exists()
    assert done.split("train").left_out["audio_missing"] == 2480


def test_labels_of_spoken_commands_go_to_custom(run, shared_data):
    done = run("audio_labels", shared_data / "barista-intents", lang="en")
    done.check_against_soundfile()
    assert done.split("all").utterances == 412
    first = done.utterances("all")[0]
    assert first.text is None
    assert first.custom["intent"] == "orderDrink"
    assert first.custom["slots"]["coffeeDrink"] == "coffee"
