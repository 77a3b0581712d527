"""CTM, TextGrid and SRT: what other tools will read from them."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.data import AlignmentItem, Utterance, write_manifest
from speechkit.errors import UserError
from speechkit.mining.export import format_textgrid, write_ctm, write_subtitles, write_textgrids
from speechkit.mining.export.recordings import recordings
from speechkit.mining.export.subtitles import CUE_SECONDS, LINE_CHARACTERS, cues_of


def _cut(number: int, recording: str, start: float, text: str, seconds: float = 4.0, timed: bool = True, **more):
    words = text.split()
    step = seconds / max(1, len(words))
    items = [AlignmentItem(word, index * step, step, -0.105) for index, word in enumerate(words)]
    return Utterance(
        id=f"{recording}-{number}",
        audio_filepath=f"{recording}.wav",
        offset=start,
        duration=seconds,
        sample_rate=16000,
        text=text,
        alignment={"word": items} if timed else None,
        **more,
    )


def test_ctm_is_sorted_by_recording_channel_and_time(tmp_path: Path) -> None:
    cuts = [
        _cut(1, "b", 4.0, "three four"),
        _cut(2, "a", 10.0, "late"),
        _cut(3, "b", 0.0, "one two"),
        _cut(4, "a", 2.0, "other side", channel=1),
        _cut(5, "a", 1.0, "no times", timed=False),
    ]
    assert write_ctm(cuts, tmp_path / "x.ctm") == 4
    assert (tmp_path / "x.ctm").read_text().splitlines() == [
        "a 1 10.000 4.000 late 0.900",
        "a 2 2.000 2.000 other 0.900",
        "a 2 4.000 2.000 side 0.900",
        "b 1 0.000 2.000 one 0.900",
        "b 1 2.000 2.000 two 0.900",
        "b 1 4.000 2.000 three 0.900",
        "b 1 6.000 2.000 four 0.900",
    ]


def test_ctm_lines_have_six_fields_whatever_the_words_hold(tmp_path: Path) -> None:
    items = [
        AlignmentItem("two words", 0, 1, -1.0),
        AlignmentItem("\u00a0", 1, 1, -1.0),
        AlignmentItem("ok", 2, 1, None),
    ]
    cut = Utterance(
        id="x", audio_filepath="dir with space/é.wav", duration=3, sample_rate=8000, alignment={"word": items}
    )
    write_ctm([cut], tmp_path / "x.ctm")
    lines = (tmp_path / "x.ctm").read_text().splitlines()
    assert [len(line.split()) for line in lines] == [6, 6, 5]
    assert "two_words" in lines[0]


def test_mixed_recordings_come_out_whole_and_in_order() -> None:
    cuts = [_cut(i, "ab"[i % 2], 40.0 - i, f"w{i}") for i in range(10)]
    found = list(recordings(cuts))
    assert [len(group.utterances) for group in found] == [5, 5]
    for group in found:
        assert [cut.offset for cut in group.utterances] == sorted(cut.offset for cut in group.utterances)


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 5000), TEXT), max_size=12), st.integers(1, 20000))
def test_textgrid_comes_back_and_covers_the_recording(
    read_tiers, tmp_path_factory, steps: list[tuple[int, int, str]], extra: int
) -> None:
    at, intervals = 0, []
    for gap, length, text in steps:
        intervals.append(((at + gap) / 1000, (at + gap + length) / 1000, text))
        at += gap + length
    end = (at + extra) / 1000
    path = tmp_path_factory.getbasetemp() / "grid.TextGrid"
    path.write_text(format_textgrid({"sentences": intervals, 'odd "name"': []}, end))
    tiers = read_tiers(path)
    for tier in tiers.values():
        assert tier[0][0] == 0
        assert tier[-1][1] == pytest.approx(end)
        assert all(one[1] == other[0] for one, other in itertools.pairwise(tier))
        assert all(stop > start for start, stop, _ in tier)
    named = [(start, stop, text.strip()) for start, stop, text in intervals if text.strip()]  # praatio strips labels
    assert [interval for interval in tiers["sentences"] if interval[2]] == [
        (pytest.approx(a), pytest.approx(b), text) for a, b, text in named
    ]
    assert list(tiers) == ["sentences", 'odd "name"']


def test_textgrid_is_in_praats_long_format() -> None:
    text = format_textgrid({"words": [(0.5, 1.0, 'say "hi"')]}, 2.0)
    assert text == (
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 2\n'
        "tiers? <exists>\nsize = 1\nitem []:\n"
        '    item [1]:\n        class = "IntervalTier"\n        name = "words"\n        xmin = 0\n        xmax = 2\n'
        "        intervals: size = 3\n"
        '        intervals [1]:\n            xmin = 0\n            xmax = 0.5\n            text = ""\n'
        '        intervals [2]:\n            xmin = 0.5\n            xmax = 1\n            text = "say ""hi"""\n'
        '        intervals [3]:\n            xmin = 1\n            xmax = 2\n            text = ""\n'
    )


def test_overlapping_sentences_get_a_tier_of_their_own(tmp_path: Path, read_tiers) -> None:
    cuts = [_cut(1, "r", 0.0, "first one"), _cut(2, "r", 2.0, "second one"), _cut(3, "r", 4.0, "third one")]
    (path,) = write_textgrids(cuts, tmp_path, {"r": 12.0})
    tiers = read_tiers(path)
    texts = {name: [text for _, _, text in tier if text] for name, tier in tiers.items()}
    assert texts["sentences"] == ["first one", "third one"]
    assert texts["sentences 2"] == ["second one"]
    assert sorted(texts["words"] + texts["words 2"]) == sorted(["first", "one", "second", "one", "third", "one"])
    assert tiers["words"][-1][1] == 12.0


def test_intervals_that_overlap_in_a_tier_are_refused() -> None:
    with pytest.raises(UserError, match="overlaps"):
        format_textgrid({"words": [(0.0, 2.0, "a"), (1.0, 3.0, "b")]}, 3.0)


def test_subtitles_are_numbered_and_clocked(tmp_path: Path) -> None:
    cuts = [_cut(1, "r", 1.5, "Good morning."), _cut(2, "r", 3661.25, "Good --> night.")]
    (path,) = write_subtitles(cuts, tmp_path)
    assert path.read_text() == (
        "1\n00:00:01,500 --> 00:00:05,500\nGood morning.\n\n2\n01:01:01,250 --> 01:01:05,250\nGood → night.\n"
    )


WORDS = st.lists(st.text("abcdefgh,.", min_size=1, max_size=14), min_size=1, max_size=60)


@given(WORDS, st.floats(0.5, 40), st.booleans())
def test_cues_hold_every_word_once_and_can_be_read(words: list[str], seconds: float, timed: bool) -> None:
    cues = cues_of(_cut(1, "r", 10.0, " ".join(words), seconds, timed))
    assert " ".join(text.replace("\n", " ") for _, _, text in cues).split() == words
    for start, end, text in cues:
        lines = text.split("\n")
        assert len(lines) <= 2
        assert all(len(line) <= LINE_CHARACTERS for line in lines)
        assert end - start <= CUE_SECONDS + 1e-6 or len(text.split()) == 1
    assert cues[0][0] == pytest.approx(10.0)
    assert cues[-1][1] == pytest.approx(10.0 + seconds, abs=1e-4)
    assert all(one[1] <= other[0] + 1e-4 for one, other in itertools.pairwise(cues))


def test_long_sentence_breaks_after_punctuation() -> None:
    text = "When the winter came at last and the lamp was lit, nobody in the town had ever heard such a silence before."
    first = cues_of(_cut(1, "r", 0.0, text, 8.0))[0][2].replace("\n", " ")
    assert first.endswith("lit,")


def test_script_without_spaces_is_folded_too() -> None:
    cues = cues_of(_cut(1, "r", 0.0, "語" * 150, 12.0, timed=False))
    assert "".join(text.replace("\n", "") for _, _, text in cues) == "語" * 150
    assert max(len(line) for _, _, text in cues for line in text.split("\n")) <= LINE_CHARACTERS


def test_times_agree_across_the_three_forms(tmp_path: Path, read_tiers) -> None:
    write_manifest(tmp_path / "m.jsonl", [_cut(1, "r", 2.0, "one two three")])
    write_ctm(tmp_path / "m.jsonl", tmp_path / "r.ctm")
    (grid,) = write_textgrids(tmp_path / "m.jsonl", tmp_path)
    (subtitles,) = write_subtitles(tmp_path / "m.jsonl", tmp_path)
    ctm = [float(line.split()[2]) for line in (tmp_path / "r.ctm").read_text().splitlines()]
    words = [start for start, _, text in read_tiers(grid)["words"] if text]
    assert ctm == pytest.approx(words, abs=1e-3)
    assert re.findall(r"(\d\d:\d\d:\d\d,\d{3}) -->", subtitles.read_text()) == ["00:00:02,000"]
