"""Pairing recordings with documents by content, under the noise that recognisers and scans make."""

from __future__ import annotations

import random
import re
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.mining.config import PairingConfig
from speechkit.mining.input_stages import check_pairs
from speechkit.mining.pairing import PassageIndex, kgram_hashes, known_names, pair_all, read_pairs

SYLLABLES = re.findall("..", "babebikokakelolalemimomanenonapipoparerisasesotatetovuveva")


def words(count: int, seed: int, vocabulary: int = 1500) -> list[str]:
    made = random.Random(7)
    lexicon = ["".join(made.choice(SYLLABLES) for _ in range(made.randint(1, 4))) for _ in range(vocabulary)]
    chosen = random.Random(seed)
    return [lexicon[int(vocabulary ** chosen.random()) - 1] for _ in range(count)]


def text(count: int, seed: int) -> str:
    return " ".join(words(count, seed))


def noisy(source: str, rate: float, seed: int) -> str:
    """A recogniser's errors, which come in words: half of the wrong ones damaged, a quarter lost, a quarter swapped."""
    rng = random.Random(seed)
    result = []
    for word in source.split():
        kind = rng.random()
        if kind >= rate * 1.6:
            result.append(word)
        elif kind < rate * 0.9:
            result.append("".join(rng.choice("abeiklmnoprstv") if rng.random() < 0.5 else c for c in word))
        elif kind < rate * 1.25:
            result.append(rng.choice(words(1, rng.randrange(9999))))
    return " ".join(result)


@pytest.mark.slow
def test_every_recording_finds_its_document_at_25_percent_errors() -> None:
    originals = [text(900, seed) for seed in range(30)]
    documents = [(f"d{i}", noisy(source, 0.05, i)) for i, source in enumerate(originals)]
    recordings = [(f"r{i}", noisy(source, 0.25, 100 + i)) for i, source in enumerate(originals)]
    best = {}
    for pair in pair_all(recordings, documents, PairingConfig()):
        best.setdefault(pair.recording, pair.document)
    assert best == {f"r{i}": f"d{i}" for i in range(30)}


def test_recording_without_a_document_stays_alone() -> None:
    documents = [(f"d{i}", text(900, i)) for i in range(20)]
    assert pair_all([("stranger", text(900, 999))], documents, PairingConfig()) == []


def test_recording_that_reads_two_documents_is_paired_with_both() -> None:
    documents = [(f"d{i}", text(800, i)) for i in range(8)]
    recording = noisy(documents[2][1], 0.15, 1) + " " + noisy(documents[5][1], 0.15, 2)
    found = pair_all([("r", recording)], documents, PairingConfig())
    assert {pair.document for pair in found} == {"d2", "d5"}
    assert all(pair.margin > 0 for pair in found)


def test_document_that_spans_recordings_is_paired_with_each() -> None:
    book = words(4000, 3)
    documents = [("book", " ".join(book)), ("other", text(4000, 4))]
    recordings = [(f"part{i}", noisy(" ".join(book[i * 1000 : (i + 1) * 1000]), 0.2, i)) for i in range(4)]
    found = pair_all(recordings, documents, PairingConfig())
    assert {(pair.recording, pair.document) for pair in found} == {(f"part{i}", "book") for i in range(4)}


def test_two_copies_of_a_document_are_both_candidates_without_margin() -> None:
    source = text(900, 1)
    found = pair_all(
        [("r", noisy(source, 0.1, 5))], [("a", source), ("b", source), ("c", text(900, 2))], PairingConfig()
    )
    assert {pair.document for pair in found} == {"a", "b"}
    assert min(pair.margin for pair in found) == pytest.approx(0, abs=1e-9)


def test_a_thousand_documents_fit_in_a_bounded_index() -> None:
    documents = [(f"d{i}", text(400, i)) for i in range(1000)]
    index = PassageIndex([content for _, content in documents], PairingConfig(max_kgrams=400_000))
    assert index.sampling > 1
    assert len(index.hashes) <= 400_000
    scores = index.scores(noisy(documents[321][1], 0.1, 3))
    assert max(scores, key=lambda document: scores[document]) == 321


@given(st.text(max_size=60), st.integers(4, 12))
def test_equal_runs_have_equal_hashes_and_different_ones_differ(source: str, k: int) -> None:
    hashes = kgram_hashes(source, k)
    runs = [source[i : i + k] for i in range(len(source) - k + 1)]
    assert len(hashes) == len(runs)
    assert len(set(hashes.tolist())) == len(set(runs))


def test_empty_texts_pair_with_nothing() -> None:
    assert pair_all([("r", "")], [("d", text(500, 1))], PairingConfig()) == []
    assert pair_all([("r", text(500, 1))], [("d", "")], PairingConfig()) == []
    assert pair_all([("r", "abc")], [], PairingConfig()) == []
    assert kgram_hashes("", 8).dtype == np.uint64


def test_list_of_pairs_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("recording\tdocument\n# a comment\n\na.wav\tx.pdf\nb\tx.pdf\nb\tx.pdf\n")
    found = read_pairs(path, {"a.wav": "a", "b": "b"}, {"x.pdf": "x"})
    assert [(pair.recording, pair.document) for pair in found] == [("a", "x"), ("b", "x")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.wav", "pairs.csv:1: one column"),
        ("a.wav,y.pdf", "no document y.pdf; did you mean x.pdf"),
        ("q,x.pdf", ":1: there is no recording q"),
    ],
)
def test_wrong_lists_of_pairs_are_named_by_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(line + "\n")
    with pytest.raises(UserError, match=message):
        read_pairs(path, {"a.wav": "a"}, {"x.pdf": "x"})


def test_a_name_of_several_files_is_refused_and_their_paths_are_not(tmp_path: Path) -> None:
    documents = known_names([("a-talk", "a/talk.txt"), ("b-talk", "b/talk.txt"), ("talk", "talk.txt"), ("x", None)])
    recordings = known_names([("a-talk", "a/talk.wav"), ("b-talk", "b/talk.wav")])
    path = tmp_path / "pairs.tsv"
    path.write_text("b/talk.wav\ttalk.txt\na-talk\ta/talk.txt\n")
    found = read_pairs(path, recordings, documents)
    assert [(pair.recording, pair.document) for pair in found] == [("b-talk", "talk"), ("a-talk", "a-talk")]
    path.write_text("talk.wav\ttalk.txt\n")
    with pytest.raises(UserError, match=r":1: several recordings are called talk\.wav; .*a/talk\.wav, b/talk\.wav"):
        read_pairs(path, recordings, documents)


def test_a_file_split_into_channels_cannot_be_paired_by_its_own_name(tmp_path: Path) -> None:
    for name in ("audio", "documents"):
        (tmp_path / name).mkdir()
    soundfile.write(tmp_path / "audio/talk.wav", np.zeros((1600, 2)), 16_000)
    (tmp_path / "documents/talk.txt").write_text("Hello.")
    path = tmp_path / "pairs.tsv"
    for name, fits in (("talk-channel2", True), ("talk", False), ("talk.wav", False)):
        path.write_text(f"{name}\ttalk.txt\n")
        with nullcontext() if fits else pytest.raises(UserError, match="there is no recording talk"):
            check_pairs(path, tmp_path / "audio", tmp_path / "documents", each_channel=True)
