from __future__ import annotations

import gzip
import json

import pytest

from speechkit.errors import UserError
from speechkit.metrics.transcripts import Audio, read_transcripts, transcript_format


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts(path, role="reference", **options):
    return [(t.id, t.text) for t in read_transcripts(path, role, **options)]


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_one_nemo_manifest_is_both_sides(tmp_path):
    path = write(
        tmp_path / "m.jsonl",
        lines(
            {"audio_filepath": "a.wav", "duration": 2.5, "text": "said", "pred_text": "heard", "lang": "en"},
            {"audio_filepath": "a.wav", "offset": 2.5, "duration": 1, "text": "", "pred_text": "x"},
        ),
    )
    assert texts(path) == [("a.wav", "said"), ("a.wav@2.5", "")]
    assert texts(path, "hypothesis") == [("a.wav", "heard"), ("a.wav@2.5", "x")]
    first, second = read_transcripts(path)
    assert first.groups == {"lang": "en"}
    assert second.audio == Audio("a.wav", 2.5, 1.0)
    assert second.recording == "a.wav"
    assert texts(path, text_field="pred_text") == texts(path, "hypothesis")


def test_hugging_face_rows(tmp_path):
    path = write(tmp_path / "metadata.jsonl", lines({"file_name": "x/1.flac", "transcription": "one"}))
    assert texts(path) == [("x/1.flac", "one")]
    decoded = lines({"audio": {"path": "1.wav", "sampling_rate": 16000}, "sentence": "two"})
    assert texts(write(tmp_path / "d.jsonl", decoded)) == [("1.wav", "two")]


def test_lhotse_cuts(tmp_path):
    cut = {
        "id": "c1",
        "start": 3.0,
        "duration": 2.0,
        "type": "MonoCut",
        "recording": {"id": "rec", "sources": [{"type": "file", "source": "/audio/rec.wav"}]},
        "supervisions": [{"id": "s1", "recording_id": "rec", "start": 0.5, "duration": 1.5, "text": "hi",
                          "speaker": "ann", "language": "en"}],
    }  # fmt: skip
    two = {**cut, "supervisions": [{"id": "a", "text": "x", "start": 0}, {"id": "b", "text": "y", "start": 1}]}
    found = read_transcripts(write(tmp_path / "cuts.jsonl.gz", gzip.compress(lines(cut, two).encode())))
    assert [(t.id, t.text, t.speaker) for t in found] == [("c1", "hi", "ann"), ("a", "x", None), ("b", "y", None)]
    assert found[0].audio == Audio("/audio/rec.wav", 3.5, 1.5)
    assert (found[0].recording, found[0].groups) == ("rec", {"language": "en"})
    same = {**cut, "supervisions": [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}]}
    with pytest.raises(UserError, match="ids must be unique"):
        read_transcripts(write(tmp_path / "twice.jsonl", lines(same)))


def test_slue_tables_and_submissions(tmp_path):
    table = write(
        tmp_path / "slue-voxpopuli_dev.tsv",
        "id\traw_text\tnormalized_text\tspeaker_id\tsplit\traw_ner\tnormalized_ner\n"
        'u1\tThe "EU".\tthe eu\t7\tdev\t[]\tNone\n',
    )
    submission = write(tmp_path / "sub.tsv", "id\tpred_text\tpred_ner\nu1\tthe you\t[['GPE','eu']]\n")
    found = read_transcripts(table)[0]
    assert (found.id, found.text, found.speaker, found.groups["split"]) == ("u1", "the eu", "7", "dev")
    assert texts(table, text_field="raw_text") == [("u1", 'The "EU".')]
    assert texts(submission, "hypothesis") == [("u1", "the you")]
    acts = "issue_id\tspeaker_id\tchannel\tstart_ms\tduration_ms\ttext\nabc\ts\t0\t100\t50\tyes\n"
    assert texts(write(tmp_path / "hvb.tsv", acts)) == [("abc_100_150", "yes")]


def test_fairseq_manifests_read_the_text_beside_them(tmp_path):
    path = write(tmp_path / "dev.tsv", "/audio\nu1.ogg\t100\nu2.ogg\t200\n")
    with pytest.raises(UserError, match="manifest without text"):
        read_transcripts(path)
    write(tmp_path / "dev.ltr", "h i | y o u |\n\n")
    assert texts(path) == [("u1", "hi you"), ("u2", "")]
    write(tmp_path / "dev.wrd", "hi you\n\n")
    assert texts(path) == [("u1", "hi you"), ("u2", "")]
    write(tmp_path / "dev.wrd", "hi you\n")
    with pytest.raises(UserError, match=r"1 lines.*2 rows"):
        read_transcripts(path)


def test_csv_with_commas_quotes_and_short_rows(tmp_path):
    path = write(tmp_path / "r.csv", '\ufeffid,text,speaker\na,"x, ""y""",s\nb,,\n')
    assert [(t.id, t.text, t.speaker) for t in read_transcripts(path)] == [("a", 'x, "y"', "s"), ("b", "", None)]
    with pytest.raises(UserError, match=r"r\.csv:3:.*another number.*cells"):
        read_transcripts(write(path, "id,text\na,b\nc\n"))
    with pytest.raises(UserError, match=r"t\.tsv:2: has 1 cells"):
        read_transcripts(write(tmp_path / "t.tsv", "id\ttext\nonly\n"))


def test_folders_and_nlp_files(tmp_path):
    write(tmp_path / "b.txt", "two\nlines\n")
    nlp = "token|speaker|ts|endTs|punctuation|case|tags\nGood|1|0|1|,||[]\nday|1|1|2|.||[]\n"
    write(tmp_path / "a.nlp.gz", gzip.compress(nlp.encode()))
    found = read_transcripts(tmp_path)
    assert [(t.id, t.text, t.recording) for t in found] == [("a", "Good, day.", "a"), ("b", "two lines", "b")]
    with pytest.raises(UserError, match="no columns token"):
        read_transcripts(write(tmp_path / "c.nlp", "a|b\n"))


def test_ctm_words_are_joined_by_time_for_each_channel(tmp_path):
    path = write(tmp_path / "h.ctm", ";; x\nr 1 2.0 0.1 b\nr 1 1.0 0.1 a 0.5\nr 2 0 1 c\n")
    assert texts(path) == [("r", "a b"), ("r-2", "c")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("h.ctm", "r 1 2.0\n", "h.ctm:1: has 3 fields"),
        ("h.ctm", "r 1 x 0.1 b\n", "'x' is not a time"),
        ("h.ctm", "r 1 0 1 <ALT_BEGIN>\n", "only the first choice"),
        ("r.stm", "r A s 2.0\n", "r.stm:1: has 4 fields"),
        ("r.stm", "r A s 2.0 1.0 x\n", "before it begins"),
        ("r.stm", "r A s 0 1 x\nr A t 0 1 y\n", "ids must be unique"),
        ("m.jsonl", '{"text": "x"}\n', "m.jsonl:1: has no id"),
        ("m.jsonl", '{"id": "a", "text": 3}\n', "text is a int"),
        ("m.jsonl", '{"id": "a", "supervisions": []}\n', "has no supervision"),
        ("m.jsonl", '{"id": "a", "supervisions": [1]}\n', "is not a Lhotse cut"),
        ("text", "x y\n".encode("utf-16"), "is UTF-16, not UTF-8"),
        ("text.gz", gzip.compress(b"a b\n" * 50, mtime=0)[:-12], "the compressed file is damaged"),
        ("text", b"a " + b"x" * (1 << 24) + b"\n", "longer than 16 MiB"),
    ],
)
def test_bad_files_name_place_and_cause(tmp_path, name, content, message):
    with pytest.raises(UserError) as error:
        read_transcripts(write(tmp_path / name, content))
    assert message in str(error.value)


def test_the_form_follows_the_name(tmp_path):
    assert transcript_format(tmp_path / "text") == "kaldi"
    assert transcript_format(tmp_path / "x.TXT") == "kaldi"
    assert transcript_format(tmp_path / "x.trn.gz") == "trn"
    assert transcript_format(tmp_path) == "folder"
