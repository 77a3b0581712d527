"""Earnings calls in the published layouts: text, entities, times and what is missing."""

from __future__ import annotations

import json

import pytest

from speechkit.data.corpora import corpora_module
from speechkit.errors import UserError

read_call = corpora_module("earnings_calls").read_call

HEAD = "token|speaker|ts|endTs|punctuation|case|tags|wer_tags\n"
CALL = HEAD + (
    "Welcome|0||||UC|[]|[]\n"
    "to|0||||LC|[]|[]\n"
    "Monro|0||||UC|[]|['5']\n"
    "Inc|0|||.|UC|[]|['5']\n"
    "Fiscal|1||||UC|[]|['6']\n"
    "2020|1|||.|CA|['0:YEAR']|['0', '6']\n"
)
TYPES = {"5": {"entity_type": "ORG"}, "6": {"entity_type": "DATE"}, "0": {"entity_type": "YEAR"}}


@pytest.fixture
def earnings21(tmp_path, tone, text):
    home = tmp_path / "earnings21"
    for name in ("4320211", "4330115"):
        tone(home / f"media/{name}.wav")
        text(home / f"transcripts/nlp_references/{name}.nlp", CALL)
        text(home / f"transcripts/wer_tags/{name}.wer_tag.json", json.dumps(TYPES))
    columns = "file_id,audio_length,sample_rate,company_name,financial_quarter,sector"
    table = f"{columns}\n4320211,0.25,16000,Monro Inc,3,Consumer\n"
    text(home / "earnings21-file-metadata.csv", table + "4330115,0.25,16000,Other,1,Services\n")
    text(home / "eval10-file-metadata.csv", table)
    return home


def test_a_call_is_one_utterance_with_its_entities_and_company(run, earnings21):
    found = run("earnings21", earnings21)
    call = found.utterances("all")[0]
    assert call.text == "Welcome to Monro Inc. Fiscal 2020."
    assert (call.custom["company"], call.custom["speakers"], call.custom["turns"]) == ("Monro Inc", 2, 2)
    said = [(tag, call.text[begin : begin + length]) for tag, begin, length in call.custom["wer_tags"]]
    assert said == [("ORG", "Monro Inc"), ("DATE", "Fiscal 2020"), ("YEAR", "2020")]
    assert [u.id for u in found.utterances("eval10")] == ["4320211"]
    assert "words" not in call.custom


def test_a_call_without_audio_or_transcript_or_with_a_torn_line_is_left_out_and_named(run, earnings21, text):
    (earnings21 / "media/4330115.wav").unlink()
    text(earnings21 / "transcripts/nlp_references/9.nlp", CALL + "torn|0\n")
    with (earnings21 / "earnings21-file-metadata.csv").open("a") as table:
        table.write("77,1,1,x,1,y\n")
    found = run("earnings21", earnings21, splits=["all"])
    assert found.reasons("all") == {"4330115": "audio_missing", "9": "bad_line", "77": "transcript_missing"}
    torn = next(item for item in found.left_out("all") if item.id == "9")
    assert "9.nlp:8: has 2 cells and the header 8" in torn.detail


def test_earnings22_tells_countries_and_aligned_words_have_times(run, tmp_path, tone, text):
    home = tmp_path / "earnings22"
    tone(home / "media/MP3-A.wav")
    text(home / "transcripts/nlp_references/MP3-A.nlp", CALL)
    timed = CALL.replace("Welcome|0|||", "Welcome|0|0.01|0.12|").replace("to|0|||", "to|0|0.12|0.2|")
    text(home / "transcripts/force_aligned_nlp_references/MP3-A.aligned.nlp", timed)
    columns = "File ID,Ticker Symbol,Country by Ticker,UN Defined,Major Dialect Family,Language Family + Area Based"
    text(home / "metadata.csv", f"{columns}\nMP3-A,TRANSCO.LG,Nigeria,Sub-Saharan Africa,Other,African\n")
    found = run("earnings22", home)
    call = found.utterances("aligned")[0]
    assert call.custom["country"] == "Nigeria"
    assert call.custom["words"] == [["Welcome", 0.01, 0.12], ["to", 0.12, 0.2]]
    assert "words" not in found.utterances("all")[0].custom


@pytest.mark.parametrize("name", ["earnings21", "earnings22"])
def test_a_folder_without_transcripts_is_refused(run, tmp_path, name):
    with pytest.raises(UserError, match="holds no transcripts/nlp_references"):
        run(name, tmp_path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (CALL.replace("['5']", "['5"), "are no list"),
        ("a|b\nx|y\n", "lacks the columns token, speaker"),
    ],
)
def test_what_is_no_nlp_file_is_said_with_its_line(tmp_path, text, content, why):
    path = text(tmp_path / "x.nlp", content)
    with pytest.raises(ValueError, match=why):
        read_call(path, tmp_path / "absent.json")


def test_the_calls_at_hand_are_read_as_scoring_reads_them(shared_data, tmp_path, text):
    import gzip

    source = shared_data / "earnings21-text/transcripts/nlp_references/4320211.nlp.gz"
    content = gzip.decompress(source.read_bytes()).decode()
    found, custom = read_call(text(tmp_path / "4320211.nlp", content), tmp_path / "absent.json")
    assert len(found.split()) == len(content.splitlines()) - 1
    assert custom["speakers"] > 1
