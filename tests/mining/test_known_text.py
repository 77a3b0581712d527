"""A text that is not, or only partly, what a recording says: refused, named, and never squeezed or stretched."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from speechkit.asr.hypothesis import Emissions
from speechkit.asr.refinement import refine, word_frames
from speechkit.cli.align import app
from speechkit.errors import AlignmentError
from speechkit.mining.config import RefinementConfig, SelectionConfig
from speechkit.mining.records import Recording, Sentence, SentenceMatch, WordTime
from speechkit.mining.selection import decide, utterance_of
from speechkit.mining.sentence_edges import lost_words, searched_again, settled_edges, with_gaps

CHAPTER = "LibriSpeech/dev-clean/84/121550"
RATE = 16000


@pytest.fixture(scope="module")
def reading(shared_data, tmp_path_factory):
    """Half a minute of one reader: the file, its sentences and those of another reader's chapter."""
    folder = shared_data / CHAPTER
    lines = dict(line.split(" ", 1) for line in next(folder.glob("*.trans.txt")).read_text().splitlines())
    parts, texts, length = [], [], 0
    for name in sorted(lines)[:6]:
        parts.append(soundfile.read(folder / f"{name}.mp3", dtype="float32")[0])
        texts.append(lines[name].strip().capitalize() + ".")
        length += len(parts[-1])
        if length > 25 * RATE:
            break
    path = tmp_path_factory.mktemp("reading") / "reading.flac"
    soundfile.write(path, np.concatenate(parts), RATE)
    other = next(path for path in sorted(folder.parent.parent.glob("*/*/*.trans.txt")) if "84/" not in str(path))
    unrelated = [line.split(" ", 1)[1].strip().capitalize() + "." for line in other.read_text().splitlines()]
    return path, texts, unrelated


def placed(audio: Path, sentences: list[str], folder: Path, *options: str):
    (folder / "text.txt").write_text("\n\n".join(sentences))
    return CliRunner().invoke(app, ["audio", str(audio), str(folder / "text.txt"), "--json", *options])


@pytest.mark.parametrize("similarity", ["0.4", "0"])
def test_unrelated_text_is_refused(reading, tmp_path: Path, similarity: str) -> None:
    audio, _, unrelated = reading
    result = placed(audio, unrelated[:12], tmp_path, "--min-similarity", similarity)
    assert isinstance(result.exception, AlignmentError)  # exit code 2 by the program
    assert "is said in" in str(result.exception)
    assert "give the text of this recording" in str(result.exception)


def test_a_fifth_of_unread_text_gets_no_time_and_the_rest_keeps_its_own(reading, tmp_path: Path) -> None:
    audio, texts, unrelated = reading
    plain = json.loads(placed(audio, texts, tmp_path).stdout)
    assert plain["not_found"] == []
    damaged, scraps = [], []
    for number, text in enumerate(texts):
        words = text.split()
        scrap = unrelated[number].rstrip(".").lower().split()[: max(2, len(words) // 5)]
        scraps += scrap
        middle = len(words) // 2
        damaged.append(" ".join([*words[:middle], *scrap, *words[middle:]]))
    damaged.insert(2, unrelated[9])  # and a whole sentence
    result = json.loads(placed(audio, damaged, tmp_path).stdout)
    assert unrelated[9] in result["not_found"]
    right = {(word["word"], word["start"]) for row in plain["sentences"] for word in row["words"]}
    timed = [(word["word"], word["start"]) for row in result["sentences"] for word in row["words"]]
    said = {word for word, _ in right}
    wrong = [word for word, _ in timed if word in scraps and word not in said]
    assert len(wrong) <= 0.2 * len(scraps)
    moved = sum(not any(word == w and abs(start - s) < 0.15 for w, s in right) for word, start in timed)
    assert moved <= 0.1 * len(timed)
    assert all(0 < word["end"] - word["start"] < 3 for row in result["sentences"] for word in row["words"])
    assert any("not heard, and without times" in warning for warning in result["warnings"])


def emissions_of(symbols: str, hop_seconds: float = 0.02, sure: float = 0.9999) -> Emissions:
    """One character a frame; ``_`` is the blank."""
    vocabulary = ("_", " ", *"abcdefghijklmnopqrstuvwxyz")
    rows = np.full((len(symbols), len(vocabulary)), (1 - sure) / len(vocabulary))
    rows[np.arange(len(symbols)), [vocabulary.index(symbol) for symbol in symbols]] = sure
    return Emissions(np.log(rows / rows.sum(1, keepdims=True)).astype(np.float32), hop_seconds, vocabulary, 0)


def tokens(text: str, emissions: Emissions) -> tuple[np.ndarray, np.ndarray]:
    column = {symbol: index for index, symbol in enumerate(emissions.vocabulary)}
    owners, word = [], 0
    for character in text:
        owners.append(-1 if character == " " else word)
        word += character == " "
    return np.array([column[character] for character in text]), np.array(owners)


def test_speech_inside_a_sentence_that_is_not_in_its_text_gets_a_gap() -> None:
    # Long enough that the words before and after are not squeezed together instead.
    before, after = "the wide river runs over the land and " * 5, " sat down on a mat in the sun with us" * 5
    # Four seconds in which only a's fit.
    emissions = emissions_of("_".join(before) + "ca" * 100 + "__cat__" + "_".join(after))
    wanted, owners = tokens(f"{before}cat{after}", emissions)
    plain = refine(emissions.log_probs, wanted, 0)
    gaps = with_gaps(plain, wanted, owners, emissions, RefinementConfig())
    longest = [max(last - first for _, first, last, _ in word_frames(found, owners)) for found in (plain, gaps)]
    assert longest[1] <= 12
    assert longest[0] > 150
    assert (gaps.token_frames[:, 1] <= plain.end_frame).all()


def test_a_first_word_that_was_torn_off_is_looked_for_again_and_counted_as_lost_if_it_is_not_there() -> None:
    pause = "_" * 40
    for said, found_again in (
        ("a__bee__" + pause + "a_ b_e_g_i_n_s", True),
        ("a__bee__" + pause + "b_e_g_i_n_s", False),
    ):
        emissions = emissions_of(said)
        wanted, owners = tokens("a begins", emissions)
        torn = refine(emissions.log_probs, wanted, 0)
        frames, scores = torn.token_frames.copy(), torn.token_scores.copy()
        frames[0], scores[0] = (0, 1), -4.0  # as if the speech before the pause had held it
        torn = type(torn)(0, torn.end_frame, frames, scores, torn.mean, torn.worst)
        first, last = settled_edges(torn, owners, 0.02)
        assert first == 2
        assert last == len(owners)
        again, first, last = searched_again(torn, first, last, owners, wanted, emissions, RefinementConfig())
        assert (first == 0) == found_again
        lost = lost_words(owners, first, last, ["A", "begins."])
        assert lost == ({} if found_again else {"lost_before": 1, "lost_after": 0, "lost_characters": 1})
        if found_again:
            assert again.start_frame == said.rindex("a")


def word(text: str, start: float, end: float, score: float = -0.1) -> WordTime:
    return WordTime(text, start, end, score)


def match(**fields: object) -> SentenceMatch:
    base = {"similarity": 0.9, "edge_cer": 0.0, "margin": 0.5, "characters_per_second": 14.0, "probability": 0.999}
    return SentenceMatch("d-0", "r", "d", 1.0, 5.0, **{**base, **fields})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, None),
        ({"lost_before": 1, "lost_characters": 1}, None),
        ({"lost_before": 1, "lost_characters": 5}, "edge_word_lost"),
        ({"words": [word("one", 1, 4.5), word("two", 4.5, 5)]}, "stretched_word"),
        ({"words": [word("read", 1, 2), word("unread", 2, 2.1, -12.0)]}, "unread_words"),
        ({"words": [word("a-long-word-that-was-read", 1, 2), word("tlie", 2, 2.1, -7.0)]}, None),
    ],
)
def test_sentences_whose_words_do_not_fit_are_rejected_with_the_reason(fields: dict, reason: str | None) -> None:
    decision = decide([match(**fields)], {"d-0": 40}, SelectionConfig())
    assert [why for _, why in decision.rejected] == ([reason] if reason else [])


def test_a_scrap_without_a_time_is_not_in_the_text_that_is_kept() -> None:
    sentence = Sentence("d-0", 0, "i The river rises l", 0, 19)
    recording = Recording("r", "r.wav", RATE, 10 * RATE, 1, [])
    kept = utterance_of(match(lost_before=1, lost_after=1, lost_characters=1), sentence, recording, "en")
    assert kept.text == "The river rises"
