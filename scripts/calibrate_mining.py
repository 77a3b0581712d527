"""Fit the probability that a mined sentence is right, and report how well it holds on readers that were left out.

    python scripts/calibrate_mining.py --corpus ../shared/data/LibriSpeech/dev-clean \
        --calls ../shared/data/earnings21-text --noise ../shared/data/noise

With emissions: every chapter is recorded clean and with noise at 10 dB, recognised by the embedded model, and mined
against documents with 0, 5 and 10 % OCR noise, 30 % unread sentences and 20 % of the spoken ones missing; a tenth of
the read sentences have a run of a quarter to two thirds of their words replaced, and are wrong then. A place is right
if its text was read and both ends lie within 0.5 s. Without emissions: the same, and earnings calls with the output of
two recognisers, both ends within 1.0 s.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.earnings21 import SYSTEMS, timed_words, with_truth
from benchmarks.earnings21 import damaged_document as damaged_call
from benchmarks.simulated_chapters import SAMPLE_RATE, Chapter, Spoken, Written, chapters, damaged_document, record
from speechkit.asr import load_recognizer
from speechkit.asr.hypothesis import Hypothesis
from speechkit.io.atomic import write_json
from speechkit.metrics.calibration import reliability
from speechkit.metrics.logistic import fit_logistic
from speechkit.mining.confidence import (
    EMISSION_FEATURES,
    SHIPPED,
    TEXT_FEATURES,
    Calibration,
    feature_rows,
)
from speechkit.mining.config import RefinementConfig, RegionsConfig
from speechkit.mining.placement import KeyedDocument, KeyedHypothesis, align, learned_costs, refine_alignment
from speechkit.mining.records import Document, Sentence
from speechkit.mining.regions import find_speech
from speechkit.text import normalizer_for

OCR_RATES = (0.0, 0.05, 0.10)
ALTERED_SHARE = 0.1


@dataclass
class Evidence:
    """Feature rows, whether each place was right, and the group (a reader or a call) it belongs to."""

    rows: NDArray[np.float64]
    right: NDArray[np.bool_]
    groups: list[str]


@dataclass
class Heard:
    """A recording that was recognised."""

    chapter: Chapter
    spoken: list[Spoken]
    levels: NDArray[np.float32]
    hypothesis: Hypothesis


def document_of(name: str, written: Sequence[Written]) -> Document:
    """Sentences as the document they would be read from."""
    text, sentences = "", []
    for index, item in enumerate(written):
        sentences.append(Sentence(f"{name}-{index:05d}", index, item.text, len(text), len(text) + len(item.text)))
        text += item.text + " "
    return Document(name, name, "text", "en", text, [], sentences)


def hear(corpus: Path, noise: Path | None, recognizer_name: str) -> list[Heard]:
    """Record every chapter, clean and noisy, and recognise it."""
    from speechkit.io.audio import read_audio, write_audio

    recognizer = load_recognizer(recognizer_name)
    hums = [read_audio(path, sample_rate=SAMPLE_RATE) for path in sorted(noise.rglob("*.*"))
            if path.suffix in {".wav", ".flac", ".ogg", ".opus", ".mp3"}] if noise else []  # fmt: skip
    heard = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.wav"
        for number, chapter in enumerate(chapters(corpus)):
            clean, spoken = record(chapter)
            for waveform in [clean, *([noisy(clean, hums[number % len(hums)])] if hums else [])]:
                write_audio(path, waveform, SAMPLE_RATE)
                speech, levels = find_speech(path, RegionsConfig())
                heard.append(Heard(chapter, spoken, levels, recognizer.recognize(str(path), speech)))
            print(f"heard {chapter.name}", flush=True)
    return heard


def noisy(waveform: NDArray[np.float32], hum: NDArray[np.float32], decibels: float = 10.0) -> NDArray[np.float32]:
    """Add noise, repeated to the length, at a signal-to-noise ratio over the whole recording."""
    repeated = np.resize(hum, len(waveform))
    power = float(np.mean(waveform**2)) / max(float(np.mean(repeated**2)), 1e-12)
    mixed = waveform + repeated * np.float32(np.sqrt(power / 10 ** (decibels / 10)))
    return np.asarray(mixed / max(1.0, float(np.abs(mixed).max())), np.float32)


def altered(text: str, other: Sequence[str], rng: random.Random) -> str:
    """Replace a run of a quarter to two thirds of the words, at least two."""
    words = text.split()
    count = max(2, round(len(words) * rng.uniform(0.25, 0.67)))
    begin = rng.randint(0, max(0, len(words) - count))
    source = " ".join(other).split()
    place = rng.randrange(max(1, len(source) - count))
    return " ".join([*words[:begin], *source[place : place + count], *words[begin + count :]])


def chapter_evidence(heard: Sequence[Heard], with_emissions: bool, tolerance: float) -> Evidence:
    """Mine every recording against damaged documents and compare with the truth."""
    normalizer = normalizer_for("en")
    rows, right, groups = [], [], []
    for number, item in enumerate(heard):
        others = [other.spoken for other in heard if other.chapter.speaker != item.chapter.speaker]
        key = KeyedHypothesis.of(item.hypothesis, normalizer)
        for rate in OCR_RATES:
            rng = random.Random(f"{item.chapter.name} {number} {rate}")
            unread = [said.text for _ in range(3) for said in rng.choice(others)]
            written = damaged_document(item.spoken, unread, rng, ocr=rate)
            spoiled = {i for i, w in enumerate(written) if w.spoken is not None and rng.random() < ALTERED_SHARE}
            written = [
                Written(altered(w.text, unread, rng), w.spoken) if i in spoiled else w for i, w in enumerate(written)
            ]
            document = KeyedDocument.of(document_of(item.chapter.name, written), normalizer)
            found = align(item.chapter.name, document, key, 0.3, learned_costs([document], [key]))
            emissions = item.hypothesis.emissions if with_emissions else None
            found = refine_alignment(found, document, emissions, item.levels, RefinementConfig())
            index_of = {s.id: s.index for s in document.document.sentences}
            order = [index_of[match.sentence] for match in found.matches]
            rows.append(feature_rows(found.matches, [len(document.keys[i].text) for i in order], order, with_emissions))
            for index, match in zip(order, found.matches, strict=True):
                spoken = written[index].spoken
                good = spoken is not None and index not in spoiled
                if good and spoken is not None:
                    truth = item.spoken[spoken]
                    good = abs(match.start - truth.start) <= tolerance and abs(match.end - truth.end) <= tolerance
                right.append(good)
                groups.append(item.chapter.speaker)
    return Evidence(np.concatenate(rows), np.array(right, bool), groups)


def call_evidence(folder: Path) -> Evidence:
    """Earnings calls with the output of two recognisers, judged as in ``benchmarks/earnings21.py``."""
    normalizer = normalizer_for("en")
    calls = sorted(path.name.split(".")[0] for path in (folder / "transcripts/nlp_references").glob("*.nlp.gz"))
    rows, right, groups = [], [], []
    for number, call in enumerate(calls):
        for system, place in SYSTEMS.items():
            truth_from = "output/speechmatics" if (folder / "output/speechmatics").is_dir() else SYSTEMS["google"]
            sentences = with_truth(folder, call, truth_from)
            other = with_truth(folder, calls[(number + 1) % len(calls)], truth_from)
            written = damaged_call(sentences, other, seed=number)
            key = KeyedHypothesis.of(words_hypothesis(timed_words(folder, place, call)), normalizer)
            document = KeyedDocument.of(document_of(call, [Written(item.text, None) for item in written]), normalizer)
            found = align(call, document, key, 0.3, learned_costs([document], [key]))
            index_of = {s.id: s.index for s in document.document.sentences}
            order = [index_of[match.sentence] for match in found.matches]
            features = feature_rows(found.matches, [len(document.keys[i].text) for i in order], order, False)
            for row, index, match in zip(features, order, found.matches, strict=True):
                item = written[index]
                if item.real and (item.start is None or item.end is None):
                    continue
                good = item.start is not None and item.end is not None
                if item.start is not None and item.end is not None:
                    good = abs(match.start - item.start) <= 1.0 and abs(match.end - item.end) <= 1.0
                rows.append(row)
                right.append(good)
                groups.append(f"call-{call}")
            print(f"aligned {call} {system}", flush=True)
    return Evidence(np.array(rows), np.array(right, bool), groups)


def words_hypothesis(words: Sequence[tuple[str, float, float]]) -> Hypothesis:
    """Words with times as a hypothesis; a word's time is shared evenly by its characters."""
    text = ""
    starts: list[float] = []
    ends: list[float] = []
    for word, start, end in words:
        if text:
            text += " "
            starts.append(ends[-1])
            ends.append(max(start, ends[-1]))
        edges = np.linspace(start, end, len(word) + 1)
        text += word
        starts += edges[:-1].tolist()
        ends += edges[1:].tolist()
    return Hypothesis(text, np.array(starts), np.array(ends), np.zeros(len(text), np.float32))


def held_out(evidence: Evidence, names: Sequence[str]) -> tuple[NDArray[np.float64], str]:
    """Probabilities of every item from a model that saw neither its reader nor its call (five folds), and the table."""
    folds = {group: number % 5 for number, group in enumerate(sorted(set(evidence.groups)))}
    fold = np.array([folds[group] for group in evidence.groups])
    probability = np.zeros(len(fold))
    for number in range(5):
        mine = fold == number
        if mine.any():
            probability[mine] = fit_logistic(evidence.rows[~mine], evidence.right[~mine], names).probability(
                evidence.rows[mine]
            )
    table = reliability(probability, evidence.right)
    lines = ["| probability | places | mean probability | share right |", "|---|---|---|---|"]
    lines += [
        f"| {b.low:.1f}–{b.high:.1f} | {b.count} | {b.mean_probability:.3f} | {b.share_right:.3f} |" for b in table.bins
    ]
    lines.append("")
    lines.append(
        f"Expected calibration error {table.expected_error:.4f}, Brier score {table.brier:.4f}, {table.count} places."
    )
    return probability, "\n".join(lines)


def precision_lines(probability: NDArray[np.float64], right: NDArray[np.bool_]) -> str:
    """What a wanted precision gave on held-out items."""
    from speechkit.mining.confidence import threshold_for

    lines = ["| wanted precision | kept | precision | recall of the right ones |", "|---|---|---|---|"]
    for wanted in (0.9, 0.95, 0.98, 0.99):
        kept = probability >= threshold_for(probability, wanted)
        precision = right[kept].mean() if kept.any() else float("nan")
        lines.append(f"| {wanted} | {kept.sum()} | {precision:.4f} | {right[kept].sum() / max(right.sum(), 1):.4f} |")
    return "\n".join(lines)


def main() -> None:
    """Fit both models, print the held-out reports and write the calibration."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--calls", type=Path)
    parser.add_argument("--noise", type=Path)
    parser.add_argument("--recognizer", default="embedded")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    heard = hear(arguments.corpus, arguments.noise, arguments.recognizer)
    with_emissions = chapter_evidence(heard, True, 0.5)
    parts = [chapter_evidence(heard, False, 1.0)]
    if arguments.calls:
        parts.append(call_evidence(arguments.calls))
    text = Evidence(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.right for part in parts]),
        [group for part in parts for group in part.groups],
    )
    report = []
    for title, evidence, names in (
        ("With emissions", with_emissions, EMISSION_FEATURES),
        ("Text only", text, TEXT_FEATURES),
    ):
        probability, table = held_out(evidence, names)
        report += [f"### {title}", "", table, "", precision_lines(probability, evidence.right), ""]
    calibration = Calibration(
        text=fit_logistic(text.rows, text.right, TEXT_FEATURES),
        emissions=fit_logistic(with_emissions.rows, with_emissions.right, EMISSION_FEATURES),
        provenance={
            "command": "python scripts/calibrate_mining.py",
            "recognizer": arguments.recognizer,
            "readers": " ".join(sorted({item.chapter.speaker for item in heard})),
            "calls": " ".join(sorted({group for group in text.groups if group.startswith("call-")})),
        },
    )
    write_json(arguments.out, msgspec.to_builtins(calibration))
    print("\n".join(report))


if __name__ == "__main__":
    main()
