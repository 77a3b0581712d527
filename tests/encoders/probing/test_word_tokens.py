"""Claims about word tokens: which frames, which words, and that no encoder changes the choice."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from speechkit.data.records import AlignmentItem, Utterance
from speechkit.encoders.probing.word_tokens import WordConfig, WordToken, select_tokens, token_frames, words_of


@given(st.integers(0, 3000), st.integers(1, 1500))
def test_frames_are_those_whose_middle_lies_in_the_stretch(start_ms, length_ms):
    begin, end = token_frames(start_ms / 1000, (start_ms + length_ms) / 1000, 50)
    inside = [t for t in range(300) if start_ms <= 20 * t + 10 <= start_ms + length_ms]
    assert list(range(begin, end)) == inside


def utterance(words, **changes):
    tier = [AlignmentItem(word, start, end - start, score) for word, start, end, score in words]
    fields = {"id": "u", "audio_filepath": "u.wav", "duration": 10.0, "sample_rate": 16000, "speaker": "s"}
    return Utterance(**(fields | changes), alignment={"word": tier})


def test_short_long_doubtful_and_nobodys_words_are_no_tokens():
    plain = WordConfig(widen_seconds=0.0)
    row = utterance(
        [
            ("Garden", 1.0, 1.5, -0.1),
            ("a", 2, 2.5, 0.0),
            ("quick", 3, 3.1, 0.0),
            ("slow", 4, 8, 0.0),
            ("odd", 9, 9.5, -4),
        ]
    )
    assert words_of(row, plain, 50) == [WordToken("u", "garden", "s", 50, 75)]
    assert words_of(utterance([("garden", 1.0, 1.5, None)], speaker=None), plain, 50) == []
    assert words_of(Utterance(id="u", audio_filepath="u.wav", duration=1.0, sample_rate=16000), plain, 50) == []


def test_ends_are_widened_no_further_than_the_middle_of_the_pause():
    row = utterance([("first", 1.0, 1.5, 0.0), ("second", 1.54, 2.0, 0.0)])
    first, second = words_of(row, WordConfig(widen_seconds=0.06), 50)
    assert first.begin == 47  # 0.94 s
    assert first.end == second.begin == 76  # 1.52 s
    assert words_of(utterance([("last", 9.5, 10.0, 0.0)]), WordConfig(), 50)[0].end == 500


def tokens(count, speakers="st", words=("garden", "window", "river")):
    return [
        WordToken(f"u{i}", word, speaker, i, i + 20) for i in range(count) for word in words for speaker in speakers
    ]


def test_the_choice_depends_on_no_order_and_keeps_to_its_limits():
    config = WordConfig(tokens_per_speaker=3, max_tokens=12)
    all_tokens = [*tokens(8), WordToken("x", "once", "s", 0, 20), *tokens(2, "s", ("common",) * 20)]
    chosen = select_tokens(all_tokens, config, seed=1)
    shuffled = list(all_tokens)
    random.Random(0).shuffle(shuffled)
    assert select_tokens(shuffled, config, seed=1) == chosen
    assert len(chosen) == 12
    assert {token.word for token in chosen} == {"garden", "river"}  # of two speakers, so they come first
    assert select_tokens(all_tokens, config, seed=2) != chosen
