r"""Fit the probability that a mined sentence is right, and report how well it holds on readers that were left out.

    python scripts/calibrate_mining.py --data ../shared/data --keep recognised --voice MANIFEST [--calls FOLDER]

for the embedded recogniser, with speech of a person or voice that it was not trained on. For a recogniser that was
trained with ``english_manifests.py --calibrating``:

    python scripts/calibrate_mining.py --data ../shared/data --keep recognised --recognizer FOLDER \
        --unheard 251,1272,1462,2035

The recordings of `calibration_recordings.py` are recognised and mined against documents without and with 6 % OCR noise,
30 % unread sentences and 20 % of the spoken ones missing. In a fifth of the read sentences a quarter or half of the
words are others, in one run or scattered, and they are wrong then. A sentence is right if its text was read and both
ends lie within 0.5 s. What is ruled out whatever its probability is neither fitted nor judged. Every recording is there
twice: whole, and as small recordings of eight sentences.

The coefficients are fitted on all readers but the judges, 84 and 2428, who judge them. Each of the other readers is
judged by coefficients that were fitted without that reader. Near misses are judged apart: documents in half of whose
sentences a quarter or half of the words are others.

Without emissions, where calls are given (else those coefficients stay as they are): the same recordings, and earnings
calls with the output of two recognisers, both ends within 1.0 s; five folds of readers and calls.

With --keep an interrupted or repeated run goes on with what was recognised. Fifteen minutes on two cores without.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.earnings21 import SYSTEMS, timed_words, with_truth
from benchmarks.earnings21 import damaged_document as damaged_call
from benchmarks.simulated_chapters import Written, damaged_document, ocr_noise
from scripts.calibration_recordings import JUDGES, readings
from scripts.recognized_readings import RecognizedReading, recognized_readings
from speechkit.asr.hypothesis import Hypothesis
from speechkit.io.atomic import write_json
from speechkit.metrics.calibration import reliability
from speechkit.metrics.logistic import LogisticModel, fit_logistic
from speechkit.mining.confidence import (
    EMISSION_FEATURES,
    SHIPPED,
    TEXT_FEATURES,
    Calibration,
    feature_rows,
    threshold_for,
)
from speechkit.mining.config import RefinementConfig, SelectionConfig
from speechkit.mining.placement import KeyedDocument, KeyedHypothesis, align, learned_costs, refine_alignment
from speechkit.mining.records import Document, Sentence
from speechkit.mining.selection import ruled_out
from speechkit.text import normalizer_for

OCR_RATES = {"clean": 0.0, "OCR": 0.06}
ALTERED_SHARE = 0.2
NEAR_SHARE = 0.5
SMALL_SENTENCES = 8
WANTED = (0.95, 0.98, 0.99, 0.995)


@dataclass
class Evidence:
    """Feature rows, whether each place was right, the group (a reader or a call) and the kind of document."""

    rows: NDArray[np.float64]
    right: NDArray[np.bool_]
    groups: NDArray[np.str_]
    kinds: NDArray[np.str_]

    def where(self, chosen: NDArray[np.bool_]) -> Evidence:
        """Select a subset of the places."""
        return Evidence(self.rows[chosen], self.right[chosen], self.groups[chosen], self.kinds[chosen])


def document_of(name: str, written: Sequence[Written]) -> Document:
    """Build the document that the sentences are read from."""
    text, sentences = "", []
    for index, item in enumerate(written):
        sentences.append(Sentence(f"{name}-{index:05d}", index, item.text, len(text), len(text) + len(item.text)))
        text += item.text + " "
    return Document(name, name, "text", "en", text, [], sentences)


def altered(text: str, share: float, other: Sequence[str], rng: random.Random) -> str:
    """Replace a share of the words, at least one, by others of the same language: in one run, or anywhere."""
    words = text.split()
    count = min(len(words), max(1, round(len(words) * share)))
    begin = rng.randint(0, len(words) - count)
    numbers = range(begin, begin + count) if rng.random() < 0.5 else rng.sample(range(len(words)), count)
    others = " ".join(other).lower().replace(".", "").split()
    for number in numbers:
        words[number] = rng.choice([word for word in rng.sample(others, 8) if word != words[number].lower()] or others)
    return " ".join(words)


def evidence_of(
    recordings: Sequence[RecognizedReading],
    with_emissions: bool,
    tolerance: float,
    near: float | None = None,
    kind: str = "clean",
) -> Evidence:
    """Mine every recording against a damaged document and compare with the truth.

    With ``near`` half of the read sentences have that share of their words replaced, otherwise a fifth of them a
    quarter or half.
    """
    normalizer, config = normalizer_for("en"), SelectionConfig()
    rows, right, groups = [], [], []
    for recording in recordings:
        rng = random.Random(f"{recording.name} {kind} {near}")
        others = [other.spoken for other in recordings if other.reader != recording.reader]
        unread = [sentence.text for _ in range(3) for sentence in rng.choice(others)]
        written = damaged_document(recording.spoken, unread, rng, ocr=0.0)
        share = ALTERED_SHARE if near is None else NEAR_SHARE
        spoiled = {i for i, w in enumerate(written) if w.spoken is not None and rng.random() < share}
        written = [
            Written(altered(w.text, near or rng.choice((0.25, 0.5)), unread, rng), w.spoken) if i in spoiled else w
            for i, w in enumerate(written)
        ]
        written = [Written(ocr_noise(w.text, OCR_RATES[kind], rng), w.spoken) for w in written]
        document = KeyedDocument.of(document_of(recording.name, written), normalizer)
        key = KeyedHypothesis.of(recording.hypothesis, normalizer)
        alignment = align(recording.name, document, key, 0.3, learned_costs([document], [key]))
        emissions = recording.hypothesis.emissions if with_emissions else None
        matches = refine_alignment(alignment, document, emissions, recording.levels, RefinementConfig()).matches
        if with_emissions:
            matches = [match for match in matches if match.ctc_mean is not None]
        index_of = {s.id: s.index for s in document.document.sentences}
        matches = sorted(matches, key=lambda match: index_of[match.sentence])
        order = [index_of[match.sentence] for match in matches]
        lengths = [len(document.keys[index].text) for index in order]
        is_right = []
        for index, match in zip(order, matches, strict=True):
            number = None if index in spoiled else written[index].spoken
            truth = None if number is None else recording.spoken[number]
            is_right.append(
                truth is not None
                and abs(match.start - truth.start) <= tolerance
                and abs(match.end - truth.end) <= tolerance
            )
        for begin in [None, *range(0, len(matches), SMALL_SENTENCES)]:
            part = slice(None) if begin is None else slice(begin, begin + SMALL_SENTENCES)
            features = feature_rows(matches[part], lengths[part], order[part], with_emissions)
            for row, outcome, match, length in zip(features, is_right[part], matches[part], lengths[part], strict=True):
                if ruled_out(match, length, config) is None:
                    rows.append(row)
                    right.append(outcome)
                    groups.append(f"{recording.condition} {recording.reader}" + ("" if begin is None else " small"))
    return Evidence(np.array(rows), np.array(right, bool), np.array(groups), np.full(len(rows), kind))


def joined(parts: Sequence[Evidence]) -> Evidence:
    """Concatenate evidence."""
    return Evidence(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.right for part in parts]),
        np.concatenate([part.groups for part in parts]),
        np.concatenate([part.kinds for part in parts]),
    )


def call_evidence(folder: Path) -> Evidence:
    """Earnings calls with the output of two recognisers, judged as in ``benchmarks/earnings21.py``."""
    normalizer = normalizer_for("en")
    calls = sorted(path.name.split(".")[0] for path in (folder / "transcripts/nlp_references").glob("*.nlp.gz"))
    rows, right, groups = [], [], []
    for number, call in enumerate(calls):
        for system, source in SYSTEMS.items():
            truth_from = "output/speechmatics" if (folder / "output/speechmatics").is_dir() else SYSTEMS["google"]
            sentences = with_truth(folder, call, truth_from)
            other = with_truth(folder, calls[(number + 1) % len(calls)], truth_from)
            written = damaged_call(sentences, other, seed=number)
            key = KeyedHypothesis.of(words_hypothesis(timed_words(folder, source, call)), normalizer)
            document = KeyedDocument.of(document_of(call, [Written(item.text, None) for item in written]), normalizer)
            alignment = align(call, document, key, 0.3, learned_costs([document], [key]))
            index_of = {s.id: s.index for s in document.document.sentences}
            order = [index_of[match.sentence] for match in alignment.matches]
            features = feature_rows(alignment.matches, [len(document.keys[i].text) for i in order], order, False)
            for row, index, match in zip(features, order, alignment.matches, strict=True):
                item = written[index]
                if item.real and (item.start is None or item.end is None):
                    continue
                is_right = item.start is not None and item.end is not None
                if item.start is not None and item.end is not None:
                    is_right = abs(match.start - item.start) <= 1.0 and abs(match.end - item.end) <= 1.0
                rows.append(row)
                right.append(is_right)
                groups.append(f"call-{call}")
            print(f"aligned {call} {system}", flush=True)
    return Evidence(np.array(rows), np.array(right, bool), np.array(groups), np.full(len(rows), "OCR"))


def words_hypothesis(words: Sequence[tuple[str, float, float]]) -> Hypothesis:
    """Convert words with times to a hypothesis; a word's duration is divided evenly among its characters."""
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


def reader_of(group: str) -> str:
    """Reader (or call) of a group name."""
    return group.removesuffix(" small").partition(" ")[2] or group


def judged(evidence: Evidence, near: Evidence, names: Sequence[str]) -> tuple[LogisticModel, list[str]]:
    """The coefficients over all readers but the judges, and the table of how far their probabilities hold.

    The judges' probabilities are those of the coefficients; those of every other reader come from a fit without it.
    """
    readers, near_readers = (np.array([reader_of(group) for group in each.groups]) for each in (evidence, near))
    judges, near_judges = np.isin(readers, JUDGES), np.isin(near_readers, JUDGES)
    model = fit_logistic(evidence.rows[~judges], evidence.right[~judges], names)
    probability, near_probability = model.probability(evidence.rows), model.probability(near.rows)
    folds = sorted(set(evidence.groups[~judges & ~np.char.endswith(evidence.groups, " small")]))
    folds = sorted({reader_of(group): group for group in folds}.items())
    for reader, _ in folds:
        rest = ~judges & (readers != reader)
        fitted = fit_logistic(evidence.rows[rest], evidence.right[rest], names)
        probability[readers == reader] = fitted.probability(evidence.rows[readers == reader])
        near_probability[near_readers == reader] = fitted.probability(near.rows[near_readers == reader])
    small, near_small = (np.char.endswith(each.groups, " small") for each in (evidence, near))
    lines = ["| judged | sentences | right | calibration error | " + " | ".join(f"P / R at {w}" for w in WANTED) + " |"]
    lines.append("|---|---|---|---|" + "---|" * len(WANTED))

    def add(name: str, chosen: NDArray[np.bool_]) -> None:
        if chosen.any():
            lines.append(_line(name, probability, evidence.right, chosen))

    for reader, group in folds:
        trained = " (trained on, at another speed)" if group.startswith("trained") else ""
        add(f"fold {reader}{trained}", ~small & (readers == reader))
    for name, side in (("all folds", ~judges), (" and ".join(JUDGES), judges)):
        for kind in OCR_RATES:
            add(f"{name}, {kind} documents", ~small & side & (evidence.kinds == kind))
        add(f"{name}, both", ~small & side)
        add(f"{name}, recordings of {SMALL_SENTENCES} sentences", small & side)
    for name, side in (("all folds", ~near_judges), (" and ".join(JUDGES), near_judges)):
        for share in sorted(set(near.kinds)):
            chosen = ~near_small & side & (near.kinds == share)
            if chosen.any():
                lines.append(_line(f"near misses, {share}, {name}", near_probability, near.right, chosen))
    return model, lines


def _line(name: str, probability: NDArray[np.float64], right: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> str:
    """One row of the table: what each wanted precision gave on these sentences, thresholds drawn over them alone."""
    probability, right = probability[chosen], right[chosen]
    cells = []
    for wanted in WANTED:
        floor = min(SelectionConfig().min_probability, wanted)
        kept = probability >= max(threshold_for(probability, wanted), floor)
        precision = right[kept].mean() if kept.any() else float("nan")
        cells.append(f"{precision:.3f} / {right[kept].sum() / max(right.sum(), 1):.3f}")
    error = reliability(probability, right).expected_error
    return f"| {name} | {len(right)} | {right.mean():.3f} | {error:.3f} | " + " | ".join(cells) + " |"


def of_text(evidence: Evidence) -> list[str]:
    """The table of five folds of readers and calls."""
    folds = {group: number % 5 for number, group in enumerate(sorted(set(map(reader_of, evidence.groups))))}
    fold = np.array([folds[reader_of(group)] for group in evidence.groups])
    probability = np.zeros(len(fold))
    for number in range(5):
        rest = evidence.where(fold != number)
        model = fit_logistic(rest.rows, rest.right, TEXT_FEATURES)
        probability[fold == number] = model.probability(evidence.rows[fold == number])
    calls = np.char.startswith(evidence.groups, "call-")
    chosen = {"text alone, calls": calls, "text alone, readers": ~calls}
    return [_line(name, probability, evidence.right, part) for name, part in chosen.items() if part.any()]


def main() -> None:
    """Fit both models, print the tables of readers and calls left out, and write the calibration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with LibriSpeech/dev-clean and noise")
    parser.add_argument("--voice", type=Path, help="manifest of a further reader that the recogniser is not trained on")
    parser.add_argument("--unheard", default="", help="comma-separated readers that the recogniser is not trained on")
    parser.add_argument("--calls", type=Path, help="folder of Earnings-21 with transcripts and outputs")
    parser.add_argument("--recognizer", default="embedded", help="a name as speechkit mine takes it, with emissions")
    parser.add_argument("--keep", type=Path, help="folder for what was recognised, to go on with")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="the calibration; by default the shipped one")
    arguments = parser.parse_args()
    unheard = [reader for reader in arguments.unheard.split(",") if reader]
    if not unheard and arguments.voice is None:
        parser.error("there is no reader to fit on that the recogniser is not trained on; give --voice or --unheard")
    given = readings(arguments.data, arguments.voice, unheard)
    recordings = recognized_readings(given, arguments.recognizer, arguments.keep)
    calibration, lines = calibrated(recordings, arguments.recognizer, arguments.calls)
    write_json(arguments.out, msgspec.to_builtins(calibration))
    print("\n".join(lines))


def calibrated(
    recordings: Sequence[RecognizedReading], recognizer: str, calls: Path | None
) -> tuple[Calibration, list[str]]:
    """The calibration from recognised recordings, and a table of how far it holds."""
    evidence = joined([evidence_of(recordings, True, 0.5, kind=kind) for kind in OCR_RATES])
    unheard = [recording for recording in recordings if recording.condition != "trained"]
    near = []
    for name, share in (("a quarter of the words", 0.25), ("half of the words", 0.5)):
        part = evidence_of(unheard, True, 0.5, share)
        near.append(Evidence(part.rows, part.right, part.groups, np.full(len(part.right), name)))
    model, lines = judged(evidence, joined(near), EMISSION_FEATURES)
    # Read without conversion: the shipped file may use other evidence with emissions than the current code.
    text_model = msgspec.convert(msgspec.json.decode(SHIPPED.read_bytes())["text"], LogisticModel)
    if calls:
        text = joined([*(evidence_of(recordings, False, 1.0, kind=kind) for kind in OCR_RATES), call_evidence(calls)])
        text_model = fit_logistic(text.rows, text.right, TEXT_FEATURES)
        lines += of_text(text)
    fitted_on = sorted({recording.reader for recording in recordings} - set(JUDGES))
    provenance = {
        "command": "python scripts/calibrate_mining.py",
        "recognizer": recognizer,
        "readers": " ".join(fitted_on),
        "judges": " ".join(JUDGES),
    }
    return Calibration(text=text_model, emissions=model, provenance=provenance), lines


if __name__ == "__main__":
    main()
