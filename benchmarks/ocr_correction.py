"""Character errors of mined text before and after OCR errors are corrected from the emissions, and by the filter.

The recordings of two LibriSpeech readers whom the embedded recogniser never heard (clean, every second also with noise
10 dB below the speech), each against its own sentences with 6 % OCR errors and without any, 20 % of them missing.
Counted are the sentences that were located (similarity .6 or more), after the matching normalisation, against what was
spoken. The second table shows what each bound on the estimated character errors (`export.max_character_errors`) keeps.

Run: python -m benchmarks.ocr_correction [--lexicon FILE]
"""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.simulated_chapters import damaged_document
from scripts.calibrate_mining import document_of
from scripts.calibration_recordings import JUDGES, readings
from scripts.recognized_readings import RecognizedReading, recognized_readings

RATES = {"OCR": 0.06, "clean": 0.0}
BOUNDS = (0.02, 0.03, 0.04, 0.05, 1.0)


@dataclass(frozen=True)
class Row:
    """Matching keys of a sentence as spoken, as written and as corrected, and the estimated character errors."""

    reader: str
    spoken: str
    written: str
    corrected: str
    estimate: float


def main() -> None:
    """Print a table by reader, and one by bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SPEECHKIT_DATA", "../shared/data")))
    parser.add_argument("--lexicon", default="auto")
    parser.add_argument("--keep", type=Path, help="folder for what was recognised, to go on with")
    arguments = parser.parse_args()
    from speechkit.mining.correction import read_lexicon

    lexicon = read_lexicon(arguments.lexicon, "en")
    given = (reading for reading in readings(arguments.data, None) if reading.reader in JUDGES)
    rows: dict[str, list[Row]] = {kind: [] for kind in RATES}
    for recording in recognized_readings(given, "embedded", arguments.keep):
        for kind, rate in RATES.items():
            rows[kind] += mined_rows(recording, rate, lexicon)
    print("| reader | sentences | before | after |\n|---|---|---|---|")
    for reader in sorted({row.reader for row in rows["OCR"]}):
        own = [row for row in rows["OCR"] if row.reader == reader]
        print(f"| {reader} | {len(own)} | {errors(own, 'written'):.1%} | {errors(own, 'corrected'):.1%} |")
    print("\n| bound | OCR: kept | character errors | clean: kept | character errors |\n|---|---|---|---|---|")
    for bound in BOUNDS:
        cells = []
        for kind in RATES:
            kept = [row for row in rows[kind] if row.estimate <= bound]
            cells += [f"{len(kept) / len(rows[kind]):.1%}", f"{errors(kept, 'corrected'):.2%}"]
        print(f"| {bound if bound < 1 else 'none'} | " + " | ".join(cells) + " |")


def mined_rows(reading: RecognizedReading, rate: float, lexicon: frozenset[str]) -> Iterator[Row]:
    """The located sentences of a recording against a document with a share of damaged characters."""
    from speechkit.mining.character_errors import with_character_errors
    from speechkit.mining.config import RefinementConfig
    from speechkit.mining.correction import Spellings, corrected, with_corrections, without_lost
    from speechkit.mining.placement import KeyedDocument, KeyedHypothesis, align, learned_costs, refine_alignment
    from speechkit.text import normalizer_for

    hypothesis, emissions = reading.hypothesis, reading.hypothesis.emissions
    if emissions is None:
        return
    normalizer = normalizer_for("en")
    written = damaged_document(reading.spoken, [], random.Random(reading.name), ocr=rate, extraneous=0.0)
    document = KeyedDocument.of(document_of(reading.name, written), normalizer)
    key = KeyedHypothesis.of(hypothesis, normalizer)
    alignment = align(reading.name, document, key, 0.3, learned_costs([document], [key]))
    alignment = refine_alignment(alignment, document, emissions, reading.levels, RefinementConfig())
    spellings = Spellings((sentence.text for sentence in document.document.sentences), lexicon)
    if rate:
        alignment = with_corrections(alignment, document.document, emissions, spellings)
    alignment = with_character_errors(alignment, document.document, emissions, spellings, normalizer)
    index_of = {sentence.id: sentence.index for sentence in document.document.sentences}
    for match in alignment.matches:
        item = written[index_of[match.sentence]]
        if item.spoken is None or match.similarity < 0.6:
            continue
        texts = (
            reading.spoken[item.spoken].text,
            item.text,
            without_lost(corrected(match, item.text)[0], match),
        )
        spoken, before, after = (normalizer.normalize(text).text for text in texts)
        yield Row(reading.reader, spoken, before, after, match.character_errors or 0.0)


def errors(rows: Sequence[Row], column: str) -> float:
    """Character error rate of a column against what was spoken; 0 for no rows."""
    from speechkit.metrics import character_errors

    if not rows:
        return 0.0
    return character_errors([row.spoken for row in rows], [getattr(row, column) for row in rows]).rate


if __name__ == "__main__":
    main()
