"""Claims about pairs: what may not tell them apart does not, ties count half, and stories are real chapters."""

from __future__ import annotations

import shutil
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.lm.pair_scores import PairClip, outcomes, pair_score, read_gold, story_pairs
from speechkit.lm.word_pairs import MAX_DIFFERENCE, STRESSES, PhoneBigram, grammar_pairs, spoken_phones, word_pairs
from speechkit.units.sequences import UnitSequence

ONSETS, VOWELS, CODAS = ("b", "k", "s", "t", "m", "r"), ("'a", "'i:", "'oU"), ("n", "l", "d", "S")


def lexicon(seed=0, size=120):
    """Made-up words of two syllables with stress on the first."""
    random = np.random.default_rng(seed)
    words = {}
    while len(words) < size:
        phones = tuple(
            str(random.choice(kind)) if kind is not VOWELS or not place else str(random.choice(kind)).strip("'")
            for place, kind in enumerate((ONSETS, VOWELS, CODAS, ONSETS, VOWELS, CODAS))
        )
        words["".join(phones)] = tuple(phone if place < 2 else phone.strip("'") for place, phone in enumerate(phones))
    return words


def test_non_words_are_no_words_and_neither_length_nor_neighbours_tell_them():
    words = lexicon()
    counts = dict.fromkeys(words, 2) | {next(iter(words)): 1}
    found = word_pairs(counts, words, 40, np.random.default_rng(1), candidates=20_000)
    assert len(found) == 40
    bigram = PhoneBigram(words.values())
    said = set()
    for pair in found:
        word, other = pair.phones
        assert counts[pair.name] >= 2
        assert words[pair.name] == word
        assert other not in words.values()
        assert len(word) == len(other)
        for mark in STRESSES:
            assert sum(p.startswith(mark) for p in word) == sum(p.startswith(mark) for p in other)
        assert abs(bigram.nats(word) - bigram.nats(other)) <= MAX_DIFFERENCE
        assert pair.texts == (spoken_phones(word), spoken_phones(other))
        said |= {word, other}
    assert len(said) == 80
    assert found == word_pairs(counts, words, 40, np.random.default_rng(1), candidates=20_000)


def test_words_that_are_too_rare_are_refused_in_a_sentence():
    with pytest.raises(UserError, match="occurs 2 times"):
        word_pairs(dict.fromkeys(lexicon(), 1), lexicon(), 3, np.random.default_rng(0))


def test_bigrams_of_phones_are_counts_with_half_added():
    bigram = PhoneBigram([("a", "b"), ("a",)])
    # Behind the beginning 2 of 2 are a; there are three kinds: a, b, the end.
    chances = (2.5 / 3.5, 1.5 / 3.5, 1.5 / 2.5)
    assert bigram.nats(("a", "b")) == pytest.approx(-np.log(chances).mean())


@pytest.mark.parametrize("number", [0, 1, 7, 60, 120])
def test_every_word_stands_as_often_on_the_right_as_on_the_wrong_side(number):
    found = grammar_pairs(number, np.random.default_rng(0))
    assert number - 2 < len(found) <= number
    right, wrong = (Counter(word for pair in found for word in pair.texts[side].split()) for side in (0, 1))
    assert right == wrong
    assert len({pair.name + pair.kind for pair in found}) == len(found)
    assert all(pair.texts[0] != pair.texts[1] for pair in found)
    if number >= 6:
        assert {pair.kind for pair in found} == {"agreement", "determiner", "reflexive"}


def clip(pair, voice, right, number=0):
    name = f"{pair}/{voice}/{right}/{number}"
    return PairClip(id=name, test="t", pair=pair, kind="k", voice=voice, right=right)


def test_ties_count_half_voices_are_averaged_first_and_half_pairs_left_out():
    clips = [clip(pair, voice, right) for pair in "abc" for voice in "xy" for right in (True, False)]
    values = {"a/x": (2, 1), "a/y": (1, 1), "b/x": (0, 3), "b/y": (0, 3), "c/x": (5, 1)}
    scores = {
        f"{name}/{right}/0": value
        for name, both in values.items()
        for right, value in zip((True, False), both, strict=True)
    }
    scores["c/y/True/0"] = 9.0  # its other side is missing
    assert outcomes(clips, scores) == (["a", "b", "c"], [0.75, 0.0, 1.0])
    score = pair_score("t", "s", clips, scores, scores)
    assert score.by_sum == pytest.approx(1.75 / 3)
    assert (score.pairs, score.voices) == (3, 2)
    with pytest.raises(UserError, match="no pair has scores for both items"):
        pair_score("t", "s", clips, {}, {})


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_accuracy_is_the_slow_count(data):
    clips, scores = [], {}
    for pair in range(data.draw(st.integers(1, 5))):
        for voice in range(data.draw(st.integers(1, 3))):
            for right in (True, False):
                for number in range(data.draw(st.integers(0, 2))):
                    made = clip(str(pair), str(voice), right, number)
                    clips.append(made)
                    scores[made.id] = float(data.draw(st.integers(-2, 2)))
    wanted = {}
    for pair in {each.pair for each in clips}:
        voices = []
        for voice in {each.voice for each in clips if each.pair == pair}:
            sides = [
                [scores[e.id] for e in clips if (e.pair, e.voice, e.right) == (pair, voice, right)]
                for right in (True, False)
            ]
            wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in sides[0] for b in sides[1]]
            voices += [sum(wins) / len(wins)] if wins else []
        if voices:
            wanted[pair] = sum(voices) / len(voices)
    names, found = outcomes(clips, scores)
    assert dict(zip(names, found, strict=True)) == pytest.approx(wanted)


def test_stories_are_four_utterances_in_a_row_and_endings_of_the_same_speaker():
    rows, speakers, places = [], [], []
    for speaker, chapter, numbers in (("A", "1", range(11)), ("A", "2", (0, 1, 2, 4, 5)), ("B", "3", range(6))):
        for number in numbers:
            rows.append(UnitSequence(f"{speaker}-{chapter}-{number}", [len(rows)], [2], "c"))
            speakers.append(speaker)
            places.append((chapter, number))
    clips, stories = story_pairs(rows, speakers, places, np.random.default_rng(0))
    # Chapter 2 lacks its fourth utterance, and B has no other chapter to take an ending from.
    assert [story.units[:4] for story in stories] == [[0, 1, 2, 3]] * 2 + [[5, 6, 7, 8]] * 2
    assert [each.right for each in clips] == [True, False] * 2
    assert [story.units[4] for story in stories[::2]] == [4, 9]
    assert all(11 <= story.units[4] <= 15 for story in stories[1::2])
    assert all(story.durations == [2] * 5 for story in stories)


def test_official_tables_are_read_and_damage_is_named_with_its_line(tmp_path):
    folder = tmp_path / "lexical"
    folder.mkdir()
    table = "id,filename,voice,frequency,word,phones,length_phones,correct\n"
    (folder / "gold.csv").write_text(table + "1,aa,A,oov,cat,k a t,3,1\n1,bb.wav,A,oov,kat,k e t,3,0\n")
    found = read_gold(folder, "swuggy")
    assert [(each.pair, each.voice, each.right, each.text) for each, _ in found] == [
        ("/1", "A", True, "cat"), ("/1", "A", False, "kat"),
    ]  # fmt: skip
    assert [path for _, path in found] == [folder / "aa.wav", folder / "bb.wav"]
    (folder / "gold.csv").write_text(table + "1,aa,A,oov,cat,k a t,3,2\n")
    with pytest.raises(UserError, match=r"gold.csv:2: correct is '2'"):
        read_gold(folder, "swuggy")
    for outside in ("../secret", "/etc/secret"):
        (folder / "gold.csv").write_text(table + f"1,{outside},A,oov,cat,k a t,3,1\n")
        with pytest.raises(UserError, match=r"gold.csv:2: .*secret.wav: (leads out|is an absolute path)"):
            read_gold(folder, "swuggy")
    (folder / "gold.csv").write_text("id,filename,voice,type,subtype,correct\n7,a,A,agr,far,1\n7,,A,agr,far,0\n")
    with pytest.raises(UserError, match=r"gold.csv:3: filename is empty"):
        read_gold(folder, "sblimp")
    (folder / "gold.csv").write_text(table)
    with pytest.raises(UserError, match="holds no clip"):
        read_gold(folder, "swuggy")
    with pytest.raises(UserError, match="cannot be read"):
        read_gold(tmp_path, "swuggy")


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_espeak_speaks_words_and_their_phones_alike_and_refuses_what_it_cannot():
    from speechkit.tts.espeak import EspeakVoice, phone_names

    voice = EspeakVoice()
    (phones,) = phone_names(["beekeeper"])
    assert len(phones) == 6
    as_text, as_phones = voice.say("beekeeper"), voice.say(spoken_phones(phones))
    assert as_text.rate == 16_000
    assert abs(as_text.seconds - as_phones.seconds) < 0.1
    assert voice.say("beekeeper").waveform.tobytes() == as_text.waveform.tobytes()
    assert voice.say("beekeeper", speed=2.0).seconds < as_text.seconds
    assert "_" in phone_names(["two words"])[0]
    with pytest.raises(UserError, match="no speaker"):
        voice.say("a", seconds=3.0)
    with pytest.raises(UserError, match="can speak"):
        voice.say("   ")
