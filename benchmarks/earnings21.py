"""Sentences of a damaged transcript located in the output of real recognisers, on earnings calls.

Protocol: the document is the human reference with 5 % of its characters damaged as OCR does, a fifth of its blocks
deleted (speech that nobody wrote down), blocks of another call inserted (text that nobody read) and page headers. The
hypothesis is a recogniser's output with word times. The truth is another recogniser's times, at sentences whose first
and last word both match there. A sentence is right if both ends lie within 1.0 s. Sentences under five words and real
sentences without a truth are left out. F1 is given at the best threshold and, the honest figure, at the threshold
that is best on the other calls.

Run: python -m benchmarks.earnings21
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import os
import random
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HEADER = "{company} earnings call transcript page {page} of 24 confidential"
SYSTEMS = {"google": "output/google", "kaldi-librispeech": "output/kaldi_org/librispeech/nlp"}


@dataclass
class Sentence:
    text: str
    start: float | None  # seconds; None without a truth
    end: float | None
    real: bool


def rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        return list(csv.DictReader(io.StringIO(handle.read()), delimiter="|", quoting=csv.QUOTE_NONE))


def plain(word: str) -> str:
    return re.sub(r"[^\w]", "", word.lower())


def reference_sentences(data: Path, call: str) -> list[list[str]]:
    sentences: list[list[str]] = [[]]
    for row in rows(data / "transcripts/nlp_references" / f"{call}.nlp.gz"):
        mark = row["punctuation"] or ""
        sentences[-1].append(row["token"] + mark)
        if mark in {".", "?", "!"}:
            sentences.append([])
    return [sentence for sentence in sentences if sentence]


def timed_words(data: Path, folder: str, call: str) -> list[tuple[str, float, float]]:
    return [(row["token"], float(row["ts"]), float(row["endTs"])) for row in rows(data / folder / f"{call}.nlp.gz")]


def with_truth(data: Path, call: str, truth: str) -> list[Sentence]:
    from rapidfuzz.distance import Levenshtein

    sentences = reference_sentences(data, call)
    words = [plain(word) for sentence in sentences for word in sentence]
    timed = timed_words(data, truth, call)
    times: dict[int, tuple[float, float]] = {}
    for step in Levenshtein.opcodes(words, [plain(word) for word, _, _ in timed]):
        if step.tag == "equal":
            for offset in range(step.src_end - step.src_start):
                times[step.src_start + offset] = timed[step.dest_start + offset][1:]
    found, position = [], 0
    for sentence in sentences:
        first, last = times.get(position), times.get(position + len(sentence) - 1)
        position += len(sentence)
        known = first is not None and last is not None and 0 < last[1] - first[0] < 1.5 * len(sentence) + 3
        found.append(Sentence(" ".join(sentence), first[0] if known else None, last[1] if known else None, real=True))
    return found


def ocr_damage(text: str, rate: float, rng: random.Random) -> str:
    similar = {"l": "1i", "i": "l1j", "o": "0c", "e": "c", "c": "e", "s": "5", "h": "b", "n": "ru", "m": "rn",
               "u": "v", "a": "o", "t": "f", "g": "q", "b": "h", "rn": "m"}  # fmt: skip
    damaged = []
    for character in text:
        if rng.random() >= rate:
            damaged.append(character)
            continue
        kind = rng.random()
        if kind < 0.6:
            damaged.append(rng.choice(similar.get(character.lower(), "abcdefghijklmnopqrstuvwxyz")))
        elif kind < 0.8:
            damaged.append(character + rng.choice("abcdefghijklmnopqrstuvwxyz ."))
    return "".join(damaged)


def damaged_document(real: list[Sentence], other: list[Sentence], seed: int, ocr: float = 0.05) -> list[Sentence]:
    rng = random.Random(seed)
    blocks, at = [], 0
    while at < len(real):
        size = rng.randint(3, 12)
        blocks.append(real[at : at + size])
        at += size
    document: list[Sentence] = []
    page = 1
    for block in blocks:
        if rng.random() < 0.20:
            continue
        document.extend(block)
        if rng.random() < 0.7:
            begin = rng.randrange(max(1, len(other) - 15))
            unread = other[begin : begin + rng.randint(4, 14)]
            document.extend(Sentence(sentence.text, None, None, real=False) for sentence in unread)
        if rng.random() < 0.5:
            document.append(Sentence(HEADER.format(company="Example Corp", page=page), None, None, real=False))
            page += 1
    return [Sentence(ocr_damage(s.text, ocr, rng), s.start, s.end, s.real) for s in document]


def timed_characters(words: list[tuple[str, float, float]], normalize) -> tuple[str, np.ndarray, np.ndarray]:
    text, starts, ends = [], [], []
    for word, start, end in words:
        key = normalize(word)
        if not key:
            continue
        if text:
            text.append(" ")
            starts.append(ends[-1])
            ends.append(max(start, ends[-1]))
        edges = np.linspace(start, end, len(key) + 1)
        text.append(key)
        starts.extend(edges[:-1])
        ends.extend(edges[1:])
    return "".join(text), np.array(starts), np.array(ends)


@dataclass
class Outcome:
    call: str
    features: list[float]
    kept: bool
    right: bool
    real: bool


def judge(call: str, document: list[Sentence], located, starts: np.ndarray, ends: np.ndarray) -> list[Outcome]:
    outcomes = []
    for sentence, match in zip(document, located.matches, strict=True):
        if len(sentence.text.split()) < 5 or (sentence.real and sentence.start is None):
            continue
        right, features = False, [0.0, 1.0, 0.0]
        if match is not None:
            features = [match.similarity, match.edge_cer, match.margin]
            if sentence.real:
                begin, end = float(starts[match.begin]), float(ends[match.end - 1])
                right = abs(begin - sentence.start) <= 1.0 and abs(end - sentence.end) <= 1.0
        outcomes.append(Outcome(call, features, match is not None, right, sentence.real))
    return outcomes


def f1_curve(outcomes: list[Outcome], scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds with precision, recall and F1 of keeping everything that scores at least as much."""
    order = np.argsort(-scores, kind="stable")
    right = np.array([outcomes[i].right for i in order], float)
    kept = np.array([outcomes[i].kept for i in order], float)
    wanted = sum(outcome.real for outcome in outcomes)
    precision = right.cumsum() / np.maximum(kept.cumsum(), 1)
    recall = right.cumsum() / max(wanted, 1)
    return scores[order], precision, recall, 2 * precision * recall / np.maximum(precision + recall, 1e-9)


def report(name: str, outcomes: list[Outcome], cpu: float) -> str:
    scores = np.array([outcome.features[0] for outcome in outcomes])
    _, precision, recall, f1 = f1_curve(outcomes, scores)
    best = int(f1.argmax())
    at95 = recall[precision >= 0.95].max(initial=0)
    calls = sorted({outcome.call for outcome in outcomes})
    right = kept = wanted = 0
    for call in calls:
        train = [i for i, o in enumerate(outcomes) if o.call != call]
        thresholds, _, _, curve = f1_curve([outcomes[i] for i in train], scores[train])
        threshold = thresholds[int(curve.argmax())]
        for i, outcome in enumerate(outcomes):
            if outcome.call == call:
                wanted += outcome.real
                if outcome.kept and scores[i] >= threshold:
                    kept += 1
                    right += outcome.right
    p, r = right / max(kept, 1), right / max(wanted, 1)
    real = sum(o.real for o in outcomes)
    return (
        f"| {name} | {real} + {len(outcomes) - real} | {f1[best]:.3f} | {2 * p * r / max(p + r, 1e-9):.3f} "
        f"| {p:.3f} | {r:.3f} | {at95:.2f} | {cpu:.2f} |"
    )


def run(data: Path, calls: list[str], system: str, truth: str, seed: int, locate, normalize) -> tuple[list, float]:
    outcomes, cpu = [], 0.0
    for index, call in enumerate(calls):
        real = with_truth(data, call, truth)
        other = with_truth(data, calls[(index + 1) % len(calls)], truth)
        document = damaged_document(real, other, seed + index)
        text, starts, ends = timed_characters(timed_words(data, SYSTEMS[system], call), normalize)
        keys = [normalize(sentence.text) for sentence in document]
        began = time.process_time()
        located = locate(keys, text)
        cpu += time.process_time() - began
        outcomes.extend(judge(call, document, located, starts, ends))
    return outcomes, cpu


def main() -> None:
    from speechkit.mining.alignment import locate_sentences
    from speechkit.text import get_normalizer

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    root = Path(os.environ.get("SPEECHKIT_DATA", Path(__file__).resolve().parents[2] / "shared/data"))
    data = root / "earnings21-text"
    calls = sorted(path.name.split(".")[0] for path in (data / "transcripts/nlp_references").glob("*.nlp.gz"))
    normalizer = get_normalizer("english")

    def normalize(text: str) -> str:
        return normalizer.normalize(text).text.strip()

    locate_sentences(["a warm start"], "a warm start")
    print("| recogniser | sentences real + not | best F1 | F1, threshold of other calls | P | R | R at P .95 | CPU s |")
    print("|---|---|---|---|---|---|---|---|")
    for system in SYSTEMS:
        outcomes, cpu = run(data, calls, system, "output/speechmatics", arguments.seed, locate_sentences, normalize)
        print(report(system, outcomes, cpu))


if __name__ == "__main__":
    main()
