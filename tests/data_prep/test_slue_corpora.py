"""The six SLUE corpora as small trees in their published layouts: folders, tars and Parquet."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from speechkit.errors import UserError
from speechkit.slue.scoring import score_files

RATE = 16000


def encoded(samples=4000, suffix=".wav"):
    """The bytes and path of a Hugging Face audio cell."""
    buffer = io.BytesIO()
    wave = 0.3 * np.sin(np.arange(samples) * 0.1)
    soundfile.write(buffer, wave, RATE, format=suffix[1:].upper())
    return {"bytes": buffer.getvalue(), "path": f"clip{suffix}"}


def parquet(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


VOXPOPULI = (
    "id\traw_text\tnormalized_text\tspeaker_id\tsplit\traw_ner\tnormalized_ner\n"
    "u1\tWe met in Rome.\twe met in rome\t7\tdev\t[['GPE', 10, 4]]\t[['GPE', 10, 4]]\n"
    'u2\t"He said ""no""."\the said no\t8\tdev\tNone\tNone\n'
    "u3\tgone\tgone\t8\tdev\tNone\tNone\n"
    "u4\tbad\tbad\t8\tdev\tNone\t[['GPE', 2, 9]]\n"
    "u5\tbad\tbad\t8\tdev\tNone\t[['CITY', 0, 3]]\n"
    "u6\tbad\n"
)
BLIND = "id\traw_text\tnormalized_text\tspeaker_id\tsplit\nt1\tHi.\thi\t9\ttest\n"


@pytest.fixture
def voxpopuli(tmp_path, tone, text):
    source = tmp_path / "slue-voxpopuli"
    text(source / "slue-voxpopuli_dev.tsv", VOXPOPULI)
    text(source / "slue-voxpopuli_test_blind.tsv", BLIND)
    for split, name in (("dev", "u1"), ("dev", "u2"), ("dev", "u4"), ("dev", "u5"), ("test", "t1")):
        tone(source / split / f"{name}.ogg", 8000)
    return source


def check_voxpopuli(done):
    done.check_against_soundfile()
    utterances = done.utterances("dev")
    assert [(u.id, u.text, u.speaker, u.custom["ner"]) for u in utterances] == [
        ("u1", "we met in rome", "7", [["GPE", 10, 4]]),
        ("u2", "he said no", "8", []),
    ]
    assert utterances[1].custom["raw_text"] == 'He said "no".'
    assert done.reasons("dev") == {"u3": "audio_missing", "u4": "bad_line", "u5": "bad_line", "u6": "bad_line"}
    # A withheld label is absent, and never an empty list.
    assert "ner" not in done.utterances("test")[0].custom
    assert done.split("test").notes == {"utterances without labels (withheld)": 1}


def test_voxpopuli_as_released_with_entities_that_fit_their_text(run, voxpopuli):
    check_voxpopuli(run("slue-voxpopuli", voxpopuli))


def test_voxpopuli_from_its_tar(run, voxpopuli, tmp_path):
    download = tmp_path / "download"
    download.mkdir()
    with tarfile.open(download / "slue-voxpopuli_blind.tar.gz", "w:gz") as archive:
        archive.add(voxpopuli, "slue-voxpopuli")
    check_voxpopuli(run("slue-voxpopuli", download))


def test_the_manifest_is_scored_as_it_is(run, voxpopuli, tmp_path):
    done = run("slue-voxpopuli", voxpopuli)
    guesses = tmp_path / "hyp.tsv"
    guesses.write_text("id\tpred_text\tpred_ner\nu1\tx\t[['GPE', 'rome']]\nu2\tx\tNone\n")
    found = score_files("ner", done.out / "dev.jsonl", [str(guesses)])
    assert found.systems[0].score.value == 1


def test_published_labels_replace_the_blind_table(run, voxpopuli, text):
    text(voxpopuli / "slue-voxpopuli_test.tsv", VOXPOPULI.replace("u1\t", "t1\t"))
    assert run("slue-voxpopuli", voxpopuli, splits=["test"]).utterances("test")[0].custom["ner"] == [["GPE", 10, 4]]


@pytest.mark.parametrize("nested", [True, False])
def test_voxpopuli_from_parquet_with_lists_of_records_or_records_of_lists(run, tmp_path, nested):
    one = [{"type": "GPE", "start": 10, "length": 4}]
    lists = {"type": ["GPE"], "start": [10], "length": [4]}
    row = {"id": "u1", "audio": encoded(suffix=".flac"), "normalized_text": "we met in rome", "speaker_id": "7"}
    row["normalized_ner"] = one if nested else lists
    parquet(tmp_path / "slue" / "voxpopuli" / "validation-00000-of-00001.parquet", [row])
    done = run("slue-voxpopuli", tmp_path / "slue")
    done.check_against_soundfile()
    assert done.utterances("validation")[0].custom["ner"] == [["GPE", 10, 4]]


def test_a_table_without_its_columns_and_an_empty_folder_are_refused(run, voxpopuli, tmp_path, text):
    text(voxpopuli / "slue-voxpopuli_dev.tsv", "id\ttext\nu1\tx\n")
    with pytest.raises(UserError, match="lacks the columns normalized_text"):
        run("slue-voxpopuli", voxpopuli)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no slue-voxpopuli_<split>"):
        run("slue-voxpopuli", tmp_path / "empty")


def test_voxceleb_cuts_raw_audio_and_keeps_labels_as_they_are(run, tmp_path, tone, text):
    source = tmp_path / "slue-voxceleb"
    rows = [
        ("a", "Positive", 0.1, 0.3),
        ("b", "Disagreement", 0.0, 0.2),
        ("c", "Happy", 0, 1),
        ("d", "Neutral", 0.4, 9),
    ]
    head = "id\tnormalized_text\tsentiment\tstart_second\tend_second\tspeaker_id\tsplit\n"
    lines = [f"{i}\twords\t{label}\t{begin}\t{end}\ts\tdev\n" for i, label, begin, end in rows]
    text(source / "slue-voxceleb_dev.tsv", head + "".join(lines))
    for name in "abcd":
        tone(source / "dev_raw" / f"{name}.flac", RATE // 2)
    done = run("slue-voxceleb", source)
    done.check_against_soundfile()
    found = done.utterances("dev")
    assert [(u.id, u.offset, u.duration, u.custom["sentiment"]) for u in found] == [
        ("a", 0.1, pytest.approx(0.2), "Positive"),
        ("b", 0.0, 0.2, "Disagreement"),
    ]
    assert done.reasons("dev") == {"c": "bad_line", "d": "segment_outside_audio"}
    assert done.split("dev").notes == {"utterances with the label Disagreement, which is no part of the task": 1}


def test_voxceleb_that_was_cut_already_is_taken_whole(run, tmp_path, tone, text):
    source = tmp_path / "slue-voxceleb"
    head = "id\tnormalized_text\tsentiment\tstart_second\tend_second\tspeaker_id\tsplit\n"
    text(source / "slue-voxceleb_dev.tsv", head + "a\twords\tNeutral\t10.1\t10.6\ts\tdev\n")
    tone(source / "dev" / "a.flac", RATE // 2)
    assert run("slue-voxceleb", source).utterances("dev")[0].duration == 0.5


def test_hvb_names_clips_by_milliseconds_and_measures_their_files(run, tmp_path, tone, text):
    source = tmp_path / "slue-hvb"
    head = "issue_id\tspeaker_id\tchannel\tstart_ms\tduration_ms\ttext\tdialog_acts\n"
    lines = [
        "c1\t12\t1\t100\t250\thello\t['acknowledge', 'self']\n",
        "c1\t34\t2\t400\t250\t\t['other']\n",
        "c1\t34\t2\t900\t250\thm\t['shouting']\n",
    ]
    text(source / "slue-hvb_dev.tsv", head + "".join(lines))
    for name in ("c1_100_350", "c1_400_650", "c1_900_1150"):
        tone(source / "dev" / f"{name}.wav", 2000, 8000)
    done = run("slue-hvb", source)
    done.check_against_soundfile()
    found = done.utterances("dev")
    assert [(u.id, u.text, u.custom["dialog_acts"], u.sample_rate, u.num_samples) for u in found] == [
        ("c1_100_350", "hello", ["acknowledge", "self"], 8000, 2000),
        ("c1_400_650", None, ["other"], 8000, 2000),
    ]
    assert found[0].custom["recording"] == "c1"
    assert done.reasons("dev") == {"c1_900_1150": "bad_line"}
    row = {"issue_id": "c1", "audio": encoded(), "speaker_id": "1", "text": "hi", "dialog_acts": ["thanks"]}
    parquet(tmp_path / "phase2" / "hvb" / "train-00000-of-00001.parquet", [row | {"start_ms": 1, "duration_ms": 5}])
    assert run("slue-hvb", tmp_path / "phase2").utterances("train")[0].custom["dialog_acts"] == ["thanks"]


def test_ted_keeps_title_and_abstract(run, tmp_path, tone, text):
    source = tmp_path / "slue-ted"
    head = "id\tspeaker\ttitle\tabstract\ttranscript\n"
    text(source / "slue-ted_dev" / "slue-ted_dev.tsv", head + "7\tAda\tOn engines\tWhat they do.\tthe talk\n")
    text(source / "slue-ted_test" / "slue-ted_test_blind.tsv", "id\tspeaker\ttranscript\n8\tBob\tother talk\n")
    tone(source / "slue-ted_dev" / "dev" / "7.flac")
    tone(source / "slue-ted_test" / "test" / "8.flac")
    done = run("slue-ted", source)
    found = done.utterances("dev")[0]
    assert (found.id, found.speaker, found.custom) == ("7", "Ada", {"title": "On engines", "abstract": "What they do."})
    assert done.utterances("test")[0].custom is None
    assert done.split("test").notes == {"talks without title or abstract (withheld)": 1}


def check_questions(done, split):
    done.check_against_soundfile()
    question = done.utterances(split)[0]
    assert (question.id, question.text, question.speaker) == ("q1", "who sat", "s1")
    assert question.custom["answer_spans"] == [[0.1, 0.2]]
    assert (done.out / question.custom["document_audio"]).is_file()
    document = done.utterances(f"{split}-documents")[0]
    assert (document.id, document.text) == ("d1", "the cat, sat")
    assert document.custom["words"] == [["the", 0.0, 0.1], ["cat", 0.1, 0.2]]


def test_sqa_5_becomes_questions_and_documents(run, tmp_path, tone, text):
    source = tmp_path / "slue-sqa5"
    columns = ["question_id", "question_speaker_id", "normalized_question_text", "document_id", "document_speaker_id"]
    head = "\t".join([*columns, "normalized_document_text", "answer_spans"]) + "\n"
    lines = ["q1\ts1\twho sat\td1\tt1\tthe cat, sat\t[['cat', 0.1, 0.2]]\n"]
    lines += ["q2\ts1\twho\td1\tt1\tthe cat, sat\t[['cat', 0.2, 0.1]]\n", "q3\ts1\twho\td9\tt1\tx\t[['x', 0, 1]]\n"]
    text(source / "slue-sqa5_dev.tsv", head + "".join(lines))
    for name in ("question/q1", "question/q2", "question/q3", "document/d1"):
        tone(source / "dev" / f"{name}.wav")
    text(source / "dev" / "word2time" / "d1.txt", "the\tthe\t0.0\t0.1\ncat,\tcat\t0.1\t0.2\nsat\n")
    done = run("slue-sqa-5", source)
    check_questions(done, "dev")
    assert done.reasons("dev") == {"q2": "bad_line", "q3": "audio_missing"}
    assert done.reasons("dev-documents") == {"d9": "audio_missing"}


def test_sqa_5_from_parquet(run, tmp_path):
    words = [("the", "the", 0.0, 0.1), ("cat,", "cat", 0.1, 0.2), ("sat", "", -1.0, -1.0)]
    names = ("word", "normalized_word", "start_second", "end_second")
    row = {
        "question_id": "q1",
        "question_audio": encoded(),
        "question_speaker_id": "s1",
        "normalized_question_text": "who sat",
        "document_id": "d1",
        "document_audio": encoded(5000),
        "document_speaker_id": "t1",
        "normalized_document_text": "the cat, sat",
        "word2time": [dict(zip(names, word, strict=True)) for word in words],
        "answer_spans": [{"answer": "cat", "start_second": 0.1, "end_second": 0.2}],
    }
    parquet(tmp_path / "phase2" / "sqa5" / "verified_test-00000-of-00001.parquet", [row])
    done = run("slue-sqa-5", tmp_path / "phase2")
    check_questions(done, "verified_test")


def check_localisation(done, split, tmp_path):
    done.check_against_soundfile()
    found = done.utterances(split)[0]
    assert found.custom["entity_spans"] == [["GPE", "new york", 0.1, 0.24]]
    assert found.custom["words"] == [["in", 0.0, 0.1], ["#new", 0.1, 0.15], ["#", 0.15, 0.17], ["#york", 0.17, 0.24]]
    guesses = tmp_path / "spans.json"
    guesses.write_text(json.dumps({"u1": [["new york", 0.1, 0.24]]}))
    scored = score_files("localisation", done.out / f"{split}.jsonl", [str(guesses)])
    assert scored.systems[0].score.value == 1


WORDS = [("in", 0.0, 0.1), ("new", 0.1, 0.15), ("", 0.15, 0.17), ("york", 0.17, 0.24)]


def test_vp_nel_marks_the_words_of_entities(run, tmp_path, tone, text):
    source = tmp_path / "slue-vp_nel"
    lines = "id\tspeaker_id\ttext\tne_timestamps\nu1\t7\tin new york\t[['GPE', 3, 8, 0.1, 0.24]]\n"
    text(source / "slue-vp_nel_dev.tsv", lines + "u2\t7\tin rome\t[['GPE', 3, 4, 0.3, 0.2]]\n")
    tone(source / "audio" / "dev" / "u1.ogg", 8000)
    tone(source / "audio" / "dev" / "u2.ogg", 8000)
    times = "".join(f"{w}\t{b}\t{e}\n" for w, b, e in WORDS)
    text(source / "word_timestamps" / "dev" / "u1.tsv", "word\tstart_sec\tend_sec\n" + times)
    done = run("slue-vp-nel", source)
    check_localisation(done, "dev", tmp_path)
    assert done.reasons("dev") == {"u2": "bad_line"}


def test_vp_nel_from_parquet(run, tmp_path):
    entities = {"ne_label": ["GPE"], "start_char_idx": [3], "char_offset": [8], "start_sec": [0.1], "end_sec": [0.24]}
    times = {"word": [w for w, _, _ in WORDS], "start_sec": [b for _, b, _ in WORDS], "end_sec": [e for *_, e in WORDS]}
    row = {"id": "u1", "audio": encoded(), "text": "in new york", "ne_timestamps": entities, "word_timestamps": times}
    parquet(tmp_path / "phase2" / "vp_nel" / "validation-00000-of-00001.parquet", [row])
    check_localisation(run("slue-vp-nel", tmp_path / "phase2"), "validation", tmp_path)
