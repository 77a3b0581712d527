"""Pairing of documents and recordings by rare character k-grams shared between passages and speech windows.

A recording is cut into windows of recognised text, a document into overlapping passages of clean text. Each k-gram is
hashed; a k-gram that few passages hold says much, one that many hold little (inverse passage frequency). A window's
score with a passage is the weighted share of its k-grams found there. Windows of one recording may favour different
documents and windows of several recordings the same one, so pairing is many-to-many.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.mining.config import PairingConfig
from speechkit.mining.records import Pair

Hashes = NDArray[np.uint64]
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def kgram_hashes(text: str, k: int) -> Hashes:
    """64-bit hash of every run of ``k`` characters, shape (len(text) - k + 1,); the same on every machine."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    count = len(codes) - k + 1
    if count <= 0:
        return np.zeros(0, np.uint64)
    hashed = np.zeros(count, np.uint64)
    with np.errstate(over="ignore"):
        for offset in range(k):
            hashed = hashed * _MULTIPLIER + codes[offset : offset + count]
            hashed ^= hashed >> np.uint64(29)
        hashed *= _MULTIPLIER
        hashed ^= hashed >> np.uint64(32)
    return hashed


class PassageIndex:
    """Inverted index from k-gram to passage. ``texts`` are normalised, in the documents' order.

    Memory: 12 bytes a k-gram; above ``max_kgrams`` only hashes divisible by a power of two are kept, on both sides.
    """

    def __init__(self, texts: Sequence[str], config: PairingConfig) -> None:
        self.config = config
        total = sum(max(0, len(text) - config.kgram + 1) for text in texts) * 2
        self.sampling = 1
        while total // self.sampling > config.max_kgrams:
            self.sampling *= 2
        stride = max(1, config.passage_characters // 2)
        hashes: list[Hashes] = []
        passages: list[NDArray[np.uint32]] = []
        owners: list[int] = []
        for document, text in enumerate(texts):
            all_hashes = kgram_hashes(text, config.kgram)
            for begin in range(0, max(1, len(all_hashes) - stride), stride):
                sampled = np.unique(self._sampled(all_hashes[begin : begin + 2 * stride]))
                hashes.append(sampled)
                passages.append(np.full(len(sampled), len(owners), np.uint32))
                owners.append(document)
        self.owners = np.array(owners, np.int64)
        joined = np.concatenate(hashes) if hashes else np.zeros(0, np.uint64)
        order = np.argsort(joined, kind="stable")
        self.hashes = joined[order]
        self.passages = (np.concatenate(passages) if passages else np.zeros(0, np.uint32))[order]

    def _sampled(self, hashes: Hashes) -> Hashes:
        return hashes if self.sampling == 1 else hashes[hashes % np.uint64(self.sampling) == 0]

    def scores(self, window: str) -> dict[int, float]:
        """Weighted share (0 to 1) of the window's k-grams that the best passage of each document holds."""
        wanted = np.unique(self._sampled(kgram_hashes(window, self.config.kgram)))
        if not len(wanted) or not len(self.owners):
            return {}
        first = np.searchsorted(self.hashes, wanted, "left")
        frequency = np.searchsorted(self.hashes, wanted, "right") - first
        count = len(self.owners)
        weight = np.log((count + 1) / np.maximum(frequency, 1)) + 0.1
        # K-grams in a tenth of all passages are common phrases of the language.
        used = (frequency > 0) & (frequency <= max(4, count // 10))
        total = float(weight.sum())
        first, repeats, weight = first[used], frequency[used], weight[used]
        if not len(first):
            return {}
        starts = np.repeat(first - np.concatenate([[0], np.cumsum(repeats)[:-1]]), repeats)
        passages = self.passages[starts + np.arange(int(repeats.sum()))]
        mass = np.bincount(passages, np.repeat(weight, repeats), minlength=0)
        best: dict[int, float] = {}
        for passage in np.flatnonzero(mass).tolist():
            document = int(self.owners[passage])
            best[document] = max(best.get(document, 0.0), float(mass[passage]) / total)
        return best


def pair_recording(recording: str, text: str, index: PassageIndex, documents: Sequence[str]) -> list[Pair]:
    """The documents that a recording may read, best first.

    Args:
        recording: its id.
        text: its normalised recognised text.
        index: of the documents' normalised texts.
        documents: their ids, in the index's order.

    Returns:
        Pairs whose score, in at least one window, reaches ``min_score``, ``min_share_of_best`` of that window's best
        and ``min_times_usual`` of the median document's.
        ``score`` is the mean over the windows that the document wins (or its best window), ``margin`` how much it
        exceeds there the best of the others.
    """
    config = index.config
    step = config.window_characters
    won: dict[int, list[tuple[float, float]]] = defaultdict(list)
    near: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for begin in range(0, max(len(text), 1), step):
        if begin and len(text) - begin < step // 3:
            break
        window = text[begin : begin + step if len(text) - begin - step >= step // 3 else len(text)]
        ranked = sorted(index.scores(window).items(), key=lambda item: (-item[1], item[0]))
        if not ranked or ranked[0][1] < config.min_score:
            continue
        # What any text of this language shares with the window; a reading stands far above it.
        usual = ranked[len(documents) // 2][1] if len(documents) >= 5 and len(ranked) > len(documents) // 2 else 0.0
        lowest = max(config.min_score, config.min_share_of_best * ranked[0][1], config.min_times_usual * usual)
        for rank, (document, score) in enumerate(ranked):
            if score < lowest:
                break
            other = ranked[1][1] if rank == 0 and len(ranked) > 1 else ranked[0][1] if rank else 0.0
            (won if rank == 0 else near)[document].append((score, score - other))
    pairs = []
    for document in {**won, **near}:
        evidence = won.get(document) or [max(near[document])]
        score, margin = np.mean(evidence, axis=0)
        pairs.append(Pair(recording, documents[document], round(float(score), 6), round(float(margin), 6)))
    return sorted(pairs, key=lambda pair: (-pair.score, pair.document))


AMBIGUOUS = ""
"""In the place of an id: several files have this name."""


def known_names(files: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """Id of every name that a file goes by: its id, its relative path, and the last part of that.

    An id precedes a path, and a path the last part of another one; a last part of several paths is `AMBIGUOUS`.

    Args:
        files: id and relative path of each; without a path the id is the only name.
    """
    named = [(identifier, path) for identifier, path in files]
    names: dict[str, str] = {}
    for identifier, path in named:
        if path is not None:
            last = Path(path).name
            names[last] = identifier if last not in names else AMBIGUOUS
    names |= {path: identifier for identifier, path in named if path is not None}
    return names | {identifier: identifier for identifier, _ in named}


def pair_lines(path: Path | str) -> Iterator[tuple[int, str, str]]:
    """Line number, recording and document of each line of a TSV or CSV list.

    A first line with the words recording and document is a header, ``#`` begins a comment.

    Raises:
        UserError: if it cannot be read, or a line has one column.
    """
    try:
        lines = Path(path).read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the list of pairs cannot be read ({error}); give a UTF-8 TSV or CSV file") from error
    is_first = True
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            cells = next(iter(csv.reader([line], delimiter="\t" if "\t" in line else ",")))
        except csv.Error as error:
            raise UserError(f"{path}:{number}: is not a line of a table ({error}); fix or remove it") from error
        names = [cell.strip() for cell in cells[:2]]
        is_header = is_first and [name.lower() for name in names] == ["recording", "document"]
        is_first = False
        if is_header:
            continue
        if len(names) < 2 or not all(names):
            raise UserError(f"{path}:{number}: one column; give a recording and a document, separated by a tab")
        yield number, names[0], names[1]


def read_pairs(path: Path | str, recordings: Mapping[str, str], documents: Mapping[str, str]) -> list[Pair]:
    """Pairs from a TSV or CSV list: recording and document in the first two columns, by id or relative path.

    Args:
        path: the list, see `pair_lines`.
        recordings: id of every name that a recording goes by, as `known_names` gives them.
        documents: the same for documents.

    Raises:
        UserError: naming file and line, if a line has one column, or a name is unknown or that of several files.
    """
    import difflib

    pairs: dict[tuple[str, str], Pair] = {}
    for number, recording, document in pair_lines(path):
        for name, known, kind in ((recording, recordings, "recording"), (document, documents, "document")):
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {close[0]}?" if close else "; correct the name or remove the line"
                raise UserError(f"{path}:{number}: there is no {kind} {name}{hint}")
            if known[name] == AMBIGUOUS:
                paths = ", ".join(sorted(other for other in known if other.endswith(f"/{name}"))[:3])
                raise UserError(
                    f"{path}:{number}: several {kind}s are called {name}; give the path in the folder ({paths})"
                )
        key = (recordings[recording], documents[document])
        pairs[key] = Pair(key[0], key[1], 1.0, 1.0)
    return list(pairs.values())


def pair_all(
    recordings: Iterable[tuple[str, str]], documents: Sequence[tuple[str, str]], config: PairingConfig
) -> list[Pair]:
    """Pair (id, normalised text) recordings with (id, normalised text) documents; see `pair_recording`."""
    index = PassageIndex([text for _, text in documents], config)
    names = [name for name, _ in documents]
    return [pair for name, text in recordings for pair in pair_recording(name, text, index, names)]
