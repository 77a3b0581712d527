"""Fit the probability that a mined sentence is right, and report how well it holds on readers that were left out.

    python scripts/calibrate_mining.py --data ../shared/data [--voice MANIFEST] [--calls ../shared/data/earnings21-text]

With emissions: the recordings of `calibration_recordings.py`, recognised by the embedded model, mined against documents
without and with 6 % OCR noise, 30 % unread sentences and 20 % of the spoken ones missing; in a fifth of the read
sentences a quarter or half of the words are others, in one run or scattered, and they are wrong then. A place is right
if its text was read and both ends lie within 0.5 s. What is ruled out whatever its probability is neither fitted nor
judged. Every recording is there twice: whole, and as small recordings of eight places.

Each reader whom the recogniser never heard is judged by a model that was fitted on all others.
Near misses are judged apart: documents in half of whose sentences a quarter or half of the words are others.

Without emissions, where calls are given (else the model that is there stays): the same recordings, and earnings calls
with the output of two recognisers, both ends within 1.0 s; five folds of readers and calls.
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
from benchmarks.simulated_chapters import SAMPLE_RATE, Written, damaged_document, ocr_noise
from scripts.calibration_recordings import UNHEARD, Reading, readings
from speechkit.asr import load_recognizer
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
from speechkit.mining.config import RefinementConfig, RegionsConfig, SelectionConfig
from speechkit.mining.placement import KeyedDocument, KeyedHypothesis, align, learned_costs, refine_alignment
from speechkit.mining.records import Document, Sentence
from speechkit.mining.regions import find_speech
from speechkit.mining.selection import ruled_out
from speechkit.text import normalizer_for

OCR_RATES = {"clean": 0.0, "OCR": 0.06}
ALTERED_SHARE = 0.2
NEAR_SHARE = 0.5
SMALL_PLACES = 8
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


@dataclass
class Heard:
    """A recognised recording."""

    reading: Reading
    levels: NDArray[np.float32]
    hypothesis: Hypothesis


def document_of(name: str, written: Sequence[Written]) -> Document:
    """Build the document that the sentences are read from."""
    text, sentences = "", []
    for index, item in enumerate(written):
        sentences.append(Sentence(f"{name}-{index:05d}", index, item.text, len(text), len(text) + len(item.text)))
        text += item.text + " "
    return Document(name, name, "text", "en", text, [], sentences)


def hear(data: Path, voice: Path | None, recognizer_name: str) -> list[Heard]:
    """Recognise every recording."""
    from speechkit.io.audio import write_audio

    recognizer = load_recognizer(recognizer_name)
    heard = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.wav"
        for reading in readings(data, voice):
            write_audio(path, reading.waveform, SAMPLE_RATE)
            speech, levels = find_speech(path, RegionsConfig())
            heard.append(Heard(reading, levels, recognizer.recognize(str(path), speech)))
            print(f"heard {reading.name}", flush=True)
    return heard


def altered(text: str, share: float, other: Sequence[str], rng: random.Random) -> str:
    """Replace a share of the words, at least one, by others of the same language: in one run, or anywhere."""
    words = text.split()
    count = min(len(words), max(1, round(len(words) * share)))
    begin = rng.randint(0, len(words) - count)
    places = range(begin, begin + count) if rng.random() < 0.5 else rng.sample(range(len(words)), count)
    others = " ".join(other).lower().replace(".", "").split()
    for place in places:
        words[place] = rng.choice([word for word in rng.sample(others, 8) if word != words[place].lower()] or others)
    return " ".join(words)


def evidence_of(
    heard: Sequence[Heard], with_emissions: bool, tolerance: float, near: float | None = None, kind: str = "clean"
) -> Evidence:
    """Mine every recording against a damaged document and compare with the truth.

    With ``near`` half of the read sentences have that share of their words replaced, otherwise a fifth of them a
    quarter or half.
    """
    normalizer, config = normalizer_for("en"), SelectionConfig()
    rows, right, groups = [], [], []
    for item in heard:
        reading = item.reading
        rng = random.Random(f"{reading.name} {kind} {near}")
        others = [other.reading.spoken for other in heard if other.reading.reader != reading.reader]
        unread = [said.text for _ in range(3) for said in rng.choice(others)]
        written = damaged_document(reading.spoken, unread, rng, ocr=0.0)
        share = ALTERED_SHARE if near is None else NEAR_SHARE
        spoiled = {i for i, w in enumerate(written) if w.spoken is not None and rng.random() < share}
        written = [
            Written(altered(w.text, near or rng.choice((0.25, 0.5)), unread, rng), w.spoken) if i in spoiled else w
            for i, w in enumerate(written)
        ]
        written = [Written(ocr_noise(w.text, OCR_RATES[kind], rng), w.spoken) for w in written]
        document = KeyedDocument.of(document_of(reading.name, written), normalizer)
        key = KeyedHypothesis.of(item.hypothesis, normalizer)
        found = align(reading.name, document, key, 0.3, learned_costs([document], [key]))
        emissions = item.hypothesis.emissions if with_emissions else None
        matches = refine_alignment(found, document, emissions, item.levels, RefinementConfig()).matches
        if with_emissions:
            matches = [match for match in matches if match.ctc_mean is not None]
        index_of = {s.id: s.index for s in document.document.sentences}
        matches = sorted(matches, key=lambda match: index_of[match.sentence])
        order = [index_of[match.sentence] for match in matches]
        lengths = [len(document.keys[index].text) for index in order]
        good = []
        for index, match in zip(order, matches, strict=True):
            said = None if index in spoiled else written[index].spoken
            truth = None if said is None else reading.spoken[said]
            good.append(
                truth is not None
                and abs(match.start - truth.start) <= tolerance
                and abs(match.end - truth.end) <= tolerance
            )
        for begin in [None, *range(0, len(matches), SMALL_PLACES)]:
            part = slice(None) if begin is None else slice(begin, begin + SMALL_PLACES)
            features = feature_rows(matches[part], lengths[part], order[part], with_emissions)
            for row, fine, match, length in zip(features, good[part], matches[part], lengths[part], strict=True):
                if ruled_out(match, length, config) is None:
                    rows.append(row)
                    right.append(fine)
                    groups.append(f"{reading.condition} {reading.reader}" + ("" if begin is None else " small"))
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


def judged(evidence: Evidence, names: Sequence[str], near: Evidence) -> tuple[NDArray[np.float64], list[str]]:
    """Leave-one-reader-out probabilities for the unheard readers' places, and the tables."""
    readers = np.array([reader_of(group) for group in evidence.groups])
    near_readers = np.array([reader_of(group) for group in near.groups])
    conditions = np.array([group.split()[0] for group in evidence.groups])
    folds = sorted(set(readers[np.isin(conditions, ["clean", "noisy"])]))
    probability, near_probability = np.full(len(readers), np.nan), np.full(len(near_readers), np.nan)
    for fold in folds:
        rest = evidence.where(readers != fold)
        model = fit_logistic(rest.rows, rest.right, names)
        for target, rows, of in ((probability, evidence.rows, readers), (near_probability, near.rows, near_readers)):
            if (of == fold).any():
                target[of == fold] = model.probability(rows[of == fold])
    whole = ~np.isnan(probability) & ~np.char.endswith(evidence.groups, " small")
    small = ~np.isnan(probability) & np.char.endswith(evidence.groups, " small")
    lines = ["| judged | places | right | calibration error | " + " | ".join(f"P / R at {w}" for w in WANTED) + " |"]
    lines.append("|---|---|---|---|" + "---|" * len(WANTED))
    library = np.isin(readers, UNHEARD)
    chosen = {f"reader {fold}": whole & (readers == fold) for fold in folds}
    chosen |= {f"84 and 2428, {kind} documents": whole & library & (evidence.kinds == kind) for kind in OCR_RATES}
    lines += [_line(name, probability, evidence.right, places) for name, places in chosen.items()]
    lines.append(_line("84 and 2428, both", probability, evidence.right, whole & library))
    lines.append(_line("84 and 2428, recordings of eight places", probability, evidence.right, small & library))
    lines.append(_line("all", probability, evidence.right, whole))
    near_whole = ~np.isnan(near_probability) & ~np.char.endswith(near.groups, " small")
    for share in sorted(set(near.kinds)):
        chosen = near_whole & (near.kinds == share)
        lines.append(_line(f"near misses, {share}", near_probability, near.right, chosen))
        lines.append(
            _line("the same, 84 and 2428", near_probability, near.right, chosen & np.isin(near_readers, UNHEARD))
        )
    return probability, lines


def _line(name: str, probability: NDArray[np.float64], right: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> str:
    """One row of the table: what each wanted precision gave on these places, thresholds drawn over them alone."""
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
    return [_line(name, probability, evidence.right, places) for name, places in chosen.items() if places.any()]


def main() -> None:
    """Fit both models, print the held-out reports and write the calibration."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--voice", type=Path, help="manifest of a further reader whom the recogniser never heard")
    parser.add_argument("--calls", type=Path)
    parser.add_argument("--recognizer", default="embedded")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    calibrate(hear(arguments.data, arguments.voice, arguments.recognizer), arguments.calls, arguments)


def calibrate(heard: Sequence[Heard], calls: Path | None, arguments: argparse.Namespace) -> None:
    """Fit and report the calibration, given recognised recordings."""
    with_emissions = joined([evidence_of(heard, True, 0.5, kind=kind) for kind in OCR_RATES])
    unheard = [item for item in heard if item.reading.condition != "heard"]
    near = []
    for name, share in (("a quarter of the words", 0.25), ("half of the words", 0.5)):
        found = evidence_of(unheard, True, 0.5, share)
        near.append(Evidence(found.rows, found.right, found.groups, np.full(len(found.right), name)))
    _, lines = judged(with_emissions, EMISSION_FEATURES, joined(near))
    # Read without conversion: the shipped file may use other evidence with emissions than the current code.
    text_model = msgspec.convert(msgspec.json.decode(SHIPPED.read_bytes())["text"], LogisticModel)
    if calls:
        text = joined([*(evidence_of(heard, False, 1.0, kind=kind) for kind in OCR_RATES), call_evidence(calls)])
        text_model = fit_logistic(text.rows, text.right, TEXT_FEATURES)
        lines += of_text(text)
    calibration = Calibration(
        text=text_model,
        emissions=fit_logistic(with_emissions.rows, with_emissions.right, EMISSION_FEATURES),
        provenance={
            "command": "python scripts/calibrate_mining.py",
            "recognizer": arguments.recognizer,
            "readers": " ".join(sorted({item.reading.reader for item in heard})),
        },
    )
    write_json(arguments.out, msgspec.to_builtins(calibration))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
