"""SilverAlignment alignments of real speech."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.data.records import AlignmentItem
from speechkit.errors import AlignmentError
from speechkit.io.audio import read_audio
from speechkit.syllables.silver_alignment import PhoneAligner, align_silver, split_at_pauses
from speechkit.syllables.syllabification import is_vowel


@pytest.fixture(scope="module")
def spoken(shared_data):
    folder = shared_data / "LibriSpeech" / "dev-clean" / "84" / "121550"
    lines = (folder / "84-121550.trans.txt").read_text().splitlines()
    name, _, text = lines[1].partition(" ")
    return read_audio(folder / f"{name}.mp3"), text.lower().split()


@pytest.fixture(scope="module")
def aligner():
    return PhoneAligner("en")


def test_tiers_nest_and_follow_one_another(spoken, aligner):
    waveform, words = spoken
    silver = align_silver(aligner, waveform, words)
    assert [item.symbol for item in silver.word] == words
    for tier in silver.tiers().values():
        ends = [item.start + item.duration for item in tier]
        assert all(end <= item.start + 1e-6 for end, item in zip(ends, tier[1:], strict=False))
        assert ends[-1] <= len(waveform) / 16_000 + 1e-6
    nuclei = sum(is_vowel(phone.symbol) for phone in silver.phone)
    assert nuclei == len(silver.syllable)
    assert silver.deviation_seconds is None


def test_an_alignment_between_pauses_agrees_with_that_of_the_whole(spoken, aligner):
    waveform, words = spoken
    whole = align_silver(aligner, waveform, words)
    parts = align_silver(aligner, waveform, words, whole.word)
    assert parts.worst_seconds is not None
    assert parts.worst_seconds <= 0.1
    assert [item.symbol for item in parts.syllable] == [item.symbol for item in whole.syllable]


def test_vowels_are_louder_than_what_is_before_and_after_the_words(spoken, aligner):
    waveform, words = spoken
    silver = align_silver(aligner, waveform, words)

    def level(start, end):
        return float(np.mean(waveform[round(start * 16_000) : round(end * 16_000)] ** 2))

    vowels = [level(p.start, p.start + p.duration) for p in silver.phone if is_vowel(p.symbol)]
    edges = [level(0.0, silver.word[0].start), level(silver.word[-1].start + silver.word[-1].duration, 1e3)]
    assert np.median(vowels) > 30 * max(edges)


def test_a_word_of_no_dictionary_is_aligned_by_letters_and_counted(spoken, aligner):
    waveform, words = spoken
    changed = ["zorbiblax" if n == 0 else word for n, word in enumerate(words)]
    before = align_silver(aligner, waveform, words)
    silver = align_silver(aligner, waveform, changed)
    assert silver.rough_words == before.rough_words + 1
    assert silver.word[0].symbol == "zorbiblax"


def test_what_cannot_be_aligned_is_said(spoken, aligner):
    waveform, words = spoken
    with pytest.raises(AlignmentError, match="cannot be aligned"):
        aligner.align(waveform[:100], words)
    with pytest.raises(AlignmentError, match="cannot be aligned"):
        aligner.align(waveform, ["...", "1"])
    with pytest.raises(AlignmentError, match="differ from the"):
        align_silver(aligner, waveform, words, [AlignmentItem("other", 0, 1)])


@given(st.lists(st.tuples(st.floats(0.05, 1), st.floats(0, 1)), min_size=1, max_size=10))
def test_stretches_cover_every_word_once_and_cut_only_in_pauses(pairs):
    words, time = [], 0.0
    for length, gap in pairs:
        words.append(AlignmentItem("w", time, length))
        time += length + gap
    parts = split_at_pauses(words, time)
    assert [n for _, _, first, last in parts for n in range(first, last)] == list(range(len(words)))
    assert parts[0][0] == 0
    assert parts[-1][1] == time
    for (_, end, _, last), (begin, _, first, _) in pairwise(parts):
        assert end == begin
        assert first == last
        assert words[last - 1].start + words[last - 1].duration < end < words[first].start
