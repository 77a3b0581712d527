"""ABX discrimination of phones by fastabx, under the protocol of ZeroSpeech 2021.

Is X nearer to A, a token of the same phone, than to B, a token of another one in the same context of two phones?
Distances are angular, averaged along the DTW path. Within: all three are of one speaker. Across: A and B are of one
speaker, X of another. A cell (two phones, a context, speakers) is limited to 10 tokens of each phone, and each pair of
A and B to 5 speakers of X. Errors are averaged over contexts, then over speakers, then over pairs of phones.

Needs the extra ``abx`` (fastabx, Python 3.12 or later). A phone's frames are those whose centre lies in it, including
the last one, which the tools of 2021 left out: their figures are not comparable.
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
MAX_TOKENS, MAX_SPEAKERS_OF_X = 10, 5
MIN_SPEAKERS = 10
"""With fewer, intervals are over phones, since a bootstrap over so few speakers is unreliable."""
TOUCHING_SECONDS = 0.005


class PhoneToken(msgspec.Struct, frozen=True):
    """A phone in frames ``begin`` to ``end`` of an utterance, and its neighbours ``before`` and ``after``."""

    utterance: str
    phone: str
    before: str
    after: str
    speaker: str
    begin: int
    end: int


class PhoneCell(NamedTuple):
    """ABX error of a pair of phones for one speaker of A and B, over all contexts."""

    phone: str
    other: str
    speaker: str
    error: float
    triples: int


class PhoneAbx(msgspec.Struct, frozen=True):
    """ABX error, averaged over cells by the protocol.

    Attributes:
        error: 0 to 1; 0.5 is chance.
        interval: over ``unit``.
        unit: ``speaker``, or ``phone`` where there are fewer than `MIN_SPEAKERS`.
        pairs: ordered pairs of phones.
        speakers: number of speakers of A and B.
        triples: number of triples.
    """

    error: float
    interval: Interval
    unit: str
    pairs: int
    speakers: int
    triples: int


def phones_of(row: Utterance, frame_rate: float) -> list[PhoneToken]:
    """Phone tokens of an utterance with an alignment tier ``phone``, in frames at a frame rate in hertz."""
    items = (row.alignment or {}).get(TIER, [])
    if row.speaker is None:
        return []
    frames = int(row.duration * frame_rate + 1e-6)
    ends = [item.start + item.duration for item in items]
    tokens = []
    for index, item in enumerate(items):
        begin, end = token_frames(item.start, ends[index], frame_rate)
        begin, end = max(0, begin), min(end, frames)
        if end <= begin:
            continue
        touches_left = index > 0 and item.start - ends[index - 1] < TOUCHING_SECONDS
        touches_right = index + 1 < len(items) and items[index + 1].start - ends[index] < TOUCHING_SECONDS
        before = items[index - 1].symbol if touches_left else SILENCE
        after = items[index + 1].symbol if touches_right else SILENCE
        tokens.append(PhoneToken(row.id, item.symbol, before, after, row.speaker, begin, end))
    return tokens


def select_phones(tokens: Iterable[PhoneToken], max_tokens: int, seed: int = 0) -> list[PhoneToken]:
    """All tokens of randomly drawn utterances, at most ``max_tokens``."""
    of_utterance: dict[str, list[PhoneToken]] = defaultdict(list)
    for token in tokens:
        of_utterance[token.utterance].append(token)
    chosen: list[PhoneToken] = []
    for name in sorted(of_utterance, key=lambda name: item_seed(seed, name)):
        if len(chosen) + len(of_utterance[name]) <= max_tokens:
            chosen += of_utterance[name]
    return sorted(chosen, key=lambda token: (token.utterance, token.begin))


def phone_cells(
    tokens: Sequence[PhoneToken], segments: Sequence[Float], *, across: bool, seed: int = 0
) -> list[PhoneCell]:
    """Errors for each pair of phones and speaker, sorted; the cells of given tokens are the same for all features.

    Args:
        tokens: (K,) phone tokens.
        segments: features (frames, D) of each token.
        across: whether X is of another speaker.
        seed: of the subsampling of large cells.

    Raises:
        MissingExtraError: if fastabx is not installed.
        UserError: if the tokens form no triple.
    """
    fastabx = load_fastabx()
    import torch

    polars: Any = require("polars")
    if not _has_triple(tokens, across):
        need = "a phone of two speakers" if across else "a phone twice of one speaker"
        raise UserError(
            f"{len(tokens)} phones form no ABX triple, which needs {need} and another phone in the same context; "
            "give more recordings"
        )
    lengths = [len(segment) for segment in segments]
    ends = np.cumsum([0, *lengths]).tolist()
    data = torch.from_numpy(np.concatenate(segments).astype(np.float32))
    names = ("#phone", "prev-phone", "next-phone", "speaker")
    labels = polars.DataFrame(
        [(token.phone, token.before, token.after, token.speaker) for token in tokens], schema=names, orient="row"
    )
    ranges = {index: (ends[index], ends[index + 1]) for index in range(len(lengths))}
    context = ["prev-phone", "next-phone"]
    task = fastabx.Task(
        fastabx.Dataset(labels=labels, accessor=fastabx.InMemoryAccessor(ranges, data, torch.device("cpu"))),
        on="#phone",
        by=context if across else [*context, "speaker"],
        across=["speaker"] if across else None,
        subsampler=fastabx.Subsampler(MAX_TOKENS, MAX_SPEAKERS_OF_X if across else None, seed),
    )
    score = fastabx.Score(task, "angular", progress=False)
    details = score.details(levels=[("next-phone", "prev-phone")])
    columns = ("#phone", "#phone_b", "speaker", "score", "size")
    return sorted(PhoneCell(*row) for row in details.select(columns).iter_rows())


def phone_abx(cells: Sequence[PhoneCell], *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0) -> PhoneAbx:
    """ABX error of cells, with a 95 % confidence interval."""
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
    """Error of ``second`` minus the mean error of those in ``first``, paired; all of the same tokens and seed."""
    tables = [_table(cells) for cells in (*first, second)]
    difference = tables[-1][0] - np.mean([table for table, _ in tables[:-1]], axis=0)
    return AbxDifference(_mean(difference), _interval(difference, tables[-1][1], resamples, seed)[0])


def load_fastabx() -> Any:
    """Import fastabx.

    Raises:
        MissingExtraError: if it is not installed, or Python is older than 3.12.
    """
    version = platform.python_version_tuple()[:2]
    if tuple(map(int, version)) < (3, 12):
        line = install_line("abx")
        raise MissingExtraError(f"phone ABX needs fastabx and Python 3.12 or later, not {'.'.join(version)}: {line}")
    return require("fastabx")


def _has_triple(tokens: Sequence[PhoneToken], across: bool) -> bool:
    """Whether there is a triple A, B and X."""
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
            others = {phone for other, counted in speakers.items() if other != speaker for phone in counted}
            if across and others & set(phones):
                return True
    return False


def _table(cells: Sequence[PhoneCell]) -> tuple[NDArray[np.float64], list[str]]:
    """Errors (pairs, speakers), NaN where there is no triple, and the phone of A of each pair."""
    pairs = {pair: row for row, pair in enumerate(sorted({(cell.phone, cell.other) for cell in cells}))}
    speakers = {speaker: column for column, speaker in enumerate(sorted({cell.speaker for cell in cells}))}
    table = np.full((len(pairs), len(speakers)), np.nan)
    for cell in cells:
        table[pairs[cell.phone, cell.other], speakers[cell.speaker]] = cell.error
    return table, [phone for phone, _ in pairs]


def _mean(table: NDArray[np.float64]) -> float:
    """Mean over the speakers of each pair, then over pairs."""
    return float(np.nanmean(table, axis=1).mean())


def _interval(table: NDArray[np.float64], phones: Sequence[str], resamples: int, seed: int) -> tuple[Interval, str]:
    """95 % bootstrap interval of the mean, and the resampled unit."""
    random = np.random.default_rng(seed)
    valid = np.isfinite(table)
    values = np.where(valid, table, 0.0)
    if table.shape[1] >= MIN_SPEAKERS:
        speakers = table.shape[1]
        weights = random.multinomial(speakers, np.full(speakers, 1 / speakers), size=resamples).astype(np.float64)
        counts = weights @ valid.T
        means = np.divide(weights @ values.T, counts, out=np.zeros_like(counts), where=counts > 0)
        return percentile_interval(means.sum(1) / (counts > 0).sum(1), 0.95, speakers), "speaker"
    kinds, of_pair = np.unique(np.asarray(phones), return_inverse=True)
    weights = random.multinomial(len(kinds), np.full(len(kinds), 1 / len(kinds)), size=resamples).astype(np.float64)
    of_pairs = weights[:, of_pair]
    draws = (of_pairs @ (values.sum(1) / valid.sum(1))) / of_pairs.sum(1)
    return percentile_interval(draws, 0.95, len(kinds)), "phone"
