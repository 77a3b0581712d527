"""ABX discrimination of phones by fastabx, under the protocol of ZeroSpeech 2021.

Is X, a phone of A's kind, nearer to A than to B, when all three stand between the same two phones? Distances are
angular, along the best warping of time. Within: all three of one speaker. Across: A and B of one, X of another. Of a
cell (two phones, a context, speakers) at most 10 tokens of a kind are compared, of one A and B at most 5 speakers of X.
Errors are averaged over contexts, then over speakers, then over pairs of phones.

Needs the extra ``abx`` (fastabx, Python 3.12 or later). Frames are those whose middle lies in the phone, the last one
too, which the tools of 2021 left out: figures made with them are not comparable.
Source: Schatz 2016, ABX-discriminability measures and applications; Poli et al. 2025, fastabx.
"""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.data.records import Utterance
from speechkit.encoders.probing.abx import AbxDifference
from speechkit.encoders.probing.word_tokens import token_frames
from speechkit.errors import MissingExtraError, UserError, install_line, require
from speechkit.io.arrays import Float
from speechkit.metrics.bootstrap import DEFAULT_RESAMPLES, Interval, percentile_interval
from speechkit.runtime import item_seed

TIER, SILENCE = "phone", "SIL"
MOST_IN_GROUP, MOST_SPEAKERS_OF_X = 10, 5
MIN_SPEAKERS = 10
"""With fewer, intervals are over phones: speakers would be drawn from too few."""
TOUCHING_SECONDS = 0.005


class PhoneToken(msgspec.Struct, frozen=True):
    """Frames ``begin`` to ``end`` of an utterance, which say ``phone`` between two others, or silence."""

    utterance: str
    phone: str
    before: str
    after: str
    speaker: str
    begin: int
    end: int


class PhoneCell(NamedTuple):
    """The error of a pair of phones by one speaker's A and B, over all contexts."""

    phone: str
    other: str
    speaker: str
    error: float
    triples: int


class PhoneAbx(msgspec.Struct, frozen=True):
    """Share of triples that are wrong, averaged as the protocol says.

    Attributes:
        error: 0 to 1; 0.5 is chance.
        interval: over ``unit``.
        unit: ``speaker``, or ``phone`` where there are fewer than `MIN_SPEAKERS`.
        pairs: ordered pairs of phones.
        speakers: of A and B.
        triples: compared.
    """

    error: float
    interval: Interval
    unit: str
    pairs: int
    speakers: int
    triples: int


def phones_of(row: Utterance, frame_rate: float) -> list[PhoneToken]:
    """The tokens of an utterance with a tier ``phone``, in features of so many frames a second."""
    items = (row.alignment or {}).get(TIER, [])
    if row.speaker is None:
        return []
    frames = int(row.duration * frame_rate + 1e-6)
    ends = [item.start + item.duration for item in items]
    tokens = []
    for place, item in enumerate(items):
        begin, end = token_frames(item.start, ends[place], frame_rate)
        begin, end = max(0, begin), min(end, frames)
        if end <= begin:
            continue
        touches_left = place > 0 and item.start - ends[place - 1] < TOUCHING_SECONDS
        touches_right = place + 1 < len(items) and items[place + 1].start - ends[place] < TOUCHING_SECONDS
        before = items[place - 1].symbol if touches_left else SILENCE
        after = items[place + 1].symbol if touches_right else SILENCE
        tokens.append(PhoneToken(row.id, item.symbol, before, after, row.speaker, begin, end))
    return tokens


def select_phones(tokens: Iterable[PhoneToken], most: int, seed: int = 0) -> list[PhoneToken]:
    """Those of whole utterances, drawn, until there are ``most``."""
    of_utterance: dict[str, list[PhoneToken]] = defaultdict(list)
    for token in tokens:
        of_utterance[token.utterance].append(token)
    chosen: list[PhoneToken] = []
    for name in sorted(of_utterance, key=lambda name: item_seed(seed, name)):
        if len(chosen) + len(of_utterance[name]) <= most:
            chosen += of_utterance[name]
    return sorted(chosen, key=lambda token: (token.utterance, token.begin))


def phone_cells(
    tokens: Sequence[PhoneToken], segments: Sequence[Float], *, across: bool, seed: int = 0
) -> list[PhoneCell]:
    """Errors of each pair of phones and speaker, in a fixed order; the same cells for all features of some tokens.

    Args:
        tokens: (K,).
        segments: K of (frames, D).
        across: whether X is of another speaker.
        seed: of what is drawn where a cell has too many tokens.

    Raises:
        MissingExtraError: if fastabx is not installed.
        UserError: if the tokens make no triple.
    """
    fastabx = load_fastabx()
    import torch

    polars: Any = require("polars")
    if not _has_triple(tokens, across):
        need = "two speakers who share a phone" if across else "a speaker who says a phone twice"
        raise UserError(
            f"{len(tokens)} phones make no ABX triple: there must be {need} between the same two phones, and another "
            "one there; take more recordings"
        )
    lengths = [len(segment) for segment in segments]
    ends = np.cumsum([0, *lengths]).tolist()
    data = torch.from_numpy(np.concatenate(segments).astype(np.float32))
    names = ("#phone", "prev-phone", "next-phone", "speaker")
    labels = polars.DataFrame(
        [(token.phone, token.before, token.after, token.speaker) for token in tokens], schema=names, orient="row"
    )
    places = {place: (ends[place], ends[place + 1]) for place in range(len(lengths))}
    context = ["prev-phone", "next-phone"]
    task = fastabx.Task(
        fastabx.Dataset(labels=labels, accessor=fastabx.InMemoryAccessor(places, data, torch.device("cpu"))),
        on="#phone",
        by=context if across else [*context, "speaker"],
        across=["speaker"] if across else None,
        subsampler=fastabx.Subsampler(MOST_IN_GROUP, MOST_SPEAKERS_OF_X if across else None, seed),
    )
    score = fastabx.Score(task, "angular", progress=False)
    found = score.details(levels=[("next-phone", "prev-phone")])
    columns = ("#phone", "#phone_b", "speaker", "score", "size")
    return sorted(PhoneCell(*row) for row in found.select(columns).iter_rows())


def phone_abx(cells: Sequence[PhoneCell], *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0) -> PhoneAbx:
    """The error of some cells, with an interval of 95 %."""
    table, phones = _table(cells)
    interval, unit = _interval(table, phones, resamples, seed)
    pairs, speakers = table.shape
    return PhoneAbx(_mean(table), interval, unit, pairs, speakers, sum(cell.triples for cell in cells))


def phone_abx_difference(
    first: Sequence[Sequence[PhoneCell]],
    second: Sequence[PhoneCell],
    *,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> AbxDifference:
    """The error by ``second`` less the mean error by those of ``first``, all of the same tokens and seed; paired."""
    tables = [_table(cells) for cells in (*first, second)]
    more = tables[-1][0] - np.mean([table for table, _ in tables[:-1]], axis=0)
    return AbxDifference(_mean(more), _interval(more, tables[-1][1], resamples, seed)[0])


def load_fastabx() -> Any:
    """The package.

    Raises:
        MissingExtraError: if it is not installed, or Python is older than 3.12.
    """
    have = platform.python_version_tuple()[:2]
    if tuple(map(int, have)) < (3, 12):
        line = install_line("abx")
        raise MissingExtraError(f"phone ABX needs fastabx, and that Python 3.12, not {'.'.join(have)}: {line}")
    return require("fastabx")


def _has_triple(tokens: Sequence[PhoneToken], across: bool) -> bool:
    """Whether some cell has an A, a B and an X."""
    counts: dict[tuple[str, str], dict[str, dict[str, int]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(int))
    )
    for token in tokens:
        counts[token.before, token.after][token.speaker][token.phone] += 1
    for speakers in counts.values():
        for speaker, phones in speakers.items():
            if len(phones) < 2:
                continue
            if not across and max(phones.values()) > 1:
                return True
            others = {phone for other, said in speakers.items() if other != speaker for phone in said}
            if across and others & set(phones):
                return True
    return False


def _table(cells: Sequence[PhoneCell]) -> tuple[NDArray[np.float64], list[str]]:
    """Errors (pairs, speakers), NaN where there is none, and the phone of A of each pair."""
    pairs = {pair: row for row, pair in enumerate(sorted({(cell.phone, cell.other) for cell in cells}))}
    speakers = {speaker: column for column, speaker in enumerate(sorted({cell.speaker for cell in cells}))}
    table = np.full((len(pairs), len(speakers)), np.nan)
    for cell in cells:
        table[pairs[cell.phone, cell.other], speakers[cell.speaker]] = cell.error
    return table, [phone for phone, _ in pairs]


def _mean(table: NDArray[np.float64]) -> float:
    """Over the speakers of each pair, then over pairs."""
    return float(np.nanmean(table, axis=1).mean())


def _interval(table: NDArray[np.float64], phones: Sequence[str], resamples: int, seed: int) -> tuple[Interval, str]:
    """Of 95 % for the mean, over means of what is drawn with replacement, and what that is."""
    random = np.random.default_rng(seed)
    there = np.isfinite(table)
    values = np.where(there, table, 0.0)
    if table.shape[1] >= MIN_SPEAKERS:
        people = table.shape[1]
        weights = random.multinomial(people, np.full(people, 1 / people), size=resamples).astype(np.float64)
        counts = weights @ there.T
        means = np.divide(weights @ values.T, counts, out=np.zeros_like(counts), where=counts > 0)
        return percentile_interval(means.sum(1) / (counts > 0).sum(1), 0.95, people), "speaker"
    kinds, of_pair = np.unique(np.asarray(phones), return_inverse=True)
    weights = random.multinomial(len(kinds), np.full(len(kinds), 1 / len(kinds)), size=resamples).astype(np.float64)
    of_pairs = weights[:, of_pair]
    draws = (of_pairs @ (values.sum(1) / there.sum(1))) / of_pairs.sum(1)
    return percentile_interval(draws, 0.95, len(kinds)), "phone"
