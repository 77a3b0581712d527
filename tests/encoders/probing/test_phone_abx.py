"""Phone ABX: fastabx gives the cells, a slow definition of the protocol the same errors."""

from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import pytest

from speechkit.data.records import AlignmentItem, Utterance
from speechkit.encoders.probing import phone_abx as measure
from speechkit.encoders.probing.phone_abx import (
    PhoneCell,
    PhoneToken,
    phone_abx,
    phone_abx_difference,
    phone_cells,
    phones_of,
    select_phones,
)
from speechkit.errors import MissingExtraError, UserError

needs_fastabx = pytest.mark.skipif(sys.version_info < (3, 12), reason="fastabx needs Python 3.12")


def planted(speakers, seed=0, tokens=2):
    """Three phones in two contexts by some speakers, of which one pair is hard to tell."""
    random = np.random.default_rng(seed)
    centres = {"AA": [1, 0, 0, 0], "IY": [0, 1, 0, 0], "UW": [0.2, 0.95, 0, 0]}
    made, segments = [], []
    for speaker in speakers:
        for phone, centre in centres.items():
            for before, after in (("K", "T"), ("SIL", "N")):
                for number in range(tokens):
                    made.append(PhoneToken(f"{speaker}{phone}{before}{number}", phone, before, after, speaker, 0, 3))
                    frames = int(random.integers(1, 6))
                    segments.append((centre + 0.4 * random.standard_normal((frames, 4))).astype(np.float32))
    return made, segments


def warped(one, other):
    """Mean angular distance along the best path, as a recursion that keeps every cost."""
    cost = np.array(
        [[math.acos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1)) for b in other] for a in one]
    )
    best, steps = np.full(cost.shape, np.inf), np.zeros(cost.shape)
    for i, j in itertools.product(*map(range, cost.shape)):
        before = [(best[p], steps[p]) for p in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if min(p) >= 0]
        low, length = min(before, key=lambda each: each[0]) if before else (0.0, 0)
        best[i, j], steps[i, j] = low + cost[i, j], length + 1
    return best[-1, -1] / steps[-1, -1] / math.pi


def slow(tokens, segments, across):
    """Errors by pair, context and speakers, averaged over contexts, speakers and pairs."""
    distance = {(a, b): warped(segments[a], segments[b]) for a, b in itertools.permutations(range(len(tokens)), 2)}
    cells = {}
    for x, a, b in itertools.permutations(range(len(tokens)), 3):
        one, two, other = tokens[x], tokens[a], tokens[b]
        contexts = {(token.before, token.after) for token in (one, two, other)}
        fits = one.phone == two.phone != other.phone and len(contexts) == 1 and two.speaker == other.speaker
        if fits and across == (one.speaker != two.speaker):
            wrong = 0.5 if distance[x, a] == distance[x, b] else float(distance[x, a] > distance[x, b])
            cell = (two.phone, other.phone, two.speaker, *contexts.pop(), one.speaker)
            cells.setdefault(cell, []).append(wrong)
    means = {}
    for (phone, other, speaker, *_), errors in cells.items():
        means.setdefault((phone, other, speaker), []).append(np.mean(errors))
    return {key: float(np.mean(errors)) for key, errors in means.items()}


@needs_fastabx
@pytest.mark.parametrize("across", [False, True])
def test_cells_of_fastabx_equal_the_protocol_written_out(across):
    tokens, segments = planted("xyz")
    cells = phone_cells(tokens, segments, across=across)
    wanted = slow(tokens, segments, across)
    assert {cell[:3]: cell.error for cell in cells} == pytest.approx(wanted, abs=1e-6)
    assert phone_abx(cells).error == pytest.approx(np.mean(list(wanted.values())), abs=1e-6)
    assert 0.02 < phone_abx(cells).error < 0.45


@needs_fastabx
def test_the_protocol_of_the_package_gives_the_same_figure(tmp_path):
    import torch
    from fastabx import zerospeech_abx

    tokens, segments = planted("xyz", 1, tokens=4)
    lines = ["#file onset offset #phone prev-phone next-phone speaker"]
    for token, segment in zip(tokens, segments, strict=True):
        torch.save(torch.from_numpy(segment), tmp_path / f"{token.utterance}.pt")
        end = f"{0.02 * len(segment):.2f}"
        lines.append(f"{token.utterance} 0.00 {end} {token.phone} {token.before} {token.after} {token.speaker}")
    (tmp_path / "all.item").write_text("\n".join(lines) + "\n")
    for speaker, across in (("within", False), ("across", True)):
        wanted = zerospeech_abx(tmp_path / "all.item", tmp_path, max_size_group=10, max_x_across=5, speaker=speaker)
        assert phone_abx(phone_cells(tokens, segments, across=across)).error == pytest.approx(wanted, abs=1e-5)


@needs_fastabx
def test_tokens_without_a_triple_are_one_sentence():
    tokens, segments = planted("x", tokens=1)
    for across, need in ((False, "a phone twice of one speaker"), (True, "a phone of two speakers")):
        with pytest.raises(UserError, match=need):
            phone_cells(tokens, segments, across=across)


def cells_of(values):
    """Cells from a table of errors by pair and speaker; None is a pair that the speaker does not have."""
    return [
        PhoneCell(*pair, f"s{place}", error, 4)
        for pair, errors in values.items()
        for place, error in enumerate(errors)
        if error is not None
    ]


def test_errors_are_averaged_over_speakers_and_then_over_pairs():
    cells = cells_of({("a", "b"): [0.2, 0.4, None], ("b", "a"): [None, None, 0.9]})
    found = phone_abx(cells, resamples=50)
    assert found.error == pytest.approx((0.3 + 0.9) / 2)
    assert (found.pairs, found.speakers, found.triples, found.unit) == (2, 3, 12, "phone")


def test_intervals_draw_speakers_where_there_are_enough_and_cover_what_one_speaker_moves():
    even = {pair: [0.2] * 12 for pair in (("a", "b"), ("b", "a"))}
    assert phone_abx(cells_of(even)).unit == "speaker"
    assert phone_abx(cells_of(even)).interval.low == pytest.approx(0.2)
    odd = {pair: [0.9, *errors[1:]] for pair, errors in even.items()}
    interval = phone_abx(cells_of(odd)).interval
    assert interval.units == 12
    # Of 12 speakers the odd one is drawn never to three times, which moves the mean by 0.7/12 each.
    assert interval.low == pytest.approx(0.2)
    assert interval.high == pytest.approx(0.2 + 3 * 0.7 / 12, abs=0.7 / 12 + 1e-9)


def test_differences_are_paired():
    random = np.random.default_rng(0)
    before = {pair: random.uniform(0, 0.4, 15).tolist() for pair in itertools.permutations("abc", 2)}
    after = {pair: [error + 0.1 for error in errors] for pair, errors in before.items()}
    found = phone_abx_difference([cells_of(before), cells_of(before)], cells_of(after))
    assert found.difference == pytest.approx(0.1)
    assert (found.interval.low, found.interval.high) == pytest.approx((0.1, 0.1))


def test_phones_have_the_contexts_that_they_touch_and_all_their_frames():
    tier = [AlignmentItem("K", 0.0, 0.05), AlignmentItem("AE", 0.05, 0.1), AlignmentItem("T", 0.3, 0.015)]
    row = Utterance(
        id="u", audio_filepath="a.wav", duration=0.32, sample_rate=16_000, speaker="s", alignment={"phone": tier}
    )
    tokens = phones_of(row, 50)
    # The middles of frames 0 to 14 are 0.01, 0.03 ... 0.29; of frame 15, 0.31.
    assert [(t.phone, t.before, t.after, t.begin, t.end) for t in tokens] == [
        ("K", "SIL", "AE", 0, 3),
        ("AE", "K", "SIL", 2, 8),
        ("T", "SIL", "SIL", 15, 16),
    ]
    assert select_phones(tokens, 2) == []
    assert select_phones(tokens, 3) == tokens


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="fastabx runs here")
def test_an_older_python_is_told_what_is_needed():
    tokens, segments = planted("xyz")
    with pytest.raises(MissingExtraError, match=r"needs fastabx and Python 3\.12.*"):
        phone_cells(tokens, segments, across=False)


def test_without_fastabx_the_install_line_is_named(monkeypatch):
    monkeypatch.setattr(measure.platform, "python_version_tuple", lambda: ("3", "12", "1"))
    monkeypatch.setitem(sys.modules, "fastabx", None)
    tokens, segments = planted("xyz")
    with pytest.raises(MissingExtraError, match=r"fastabx is not installed; run: pip install .*abx"):
        phone_cells(tokens, segments, across=False)
