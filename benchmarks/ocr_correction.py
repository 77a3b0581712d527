"""Character errors of mined text before and after words are put right by what was heard.

The recordings of two LibriSpeech readers whom the embedded recogniser never heard (clean, every second also with noise
10 dB below the speech), each against its own sentences with 6 % OCR errors, 20 % of them missing. Counted are the
sentences that were found (similarity .6 or more), after the matching normalisation, against what was said.

Run: python -m benchmarks.ocr_correction [--lexicon FILE]
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from collections import defaultdict
from pathlib import Path

from benchmarks.simulated_chapters import SAMPLE_RATE, damaged_document

RATE = 0.06


def main() -> None:
    """Print a row for each reader."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SPEECHKIT_DATA", "../shared/data")))
    parser.add_argument("--lexicon", default="auto")
    arguments = parser.parse_args()
    from scripts.calibrate_mining import document_of
    from scripts.calibration_recordings import UNHEARD, readings
    from speechkit.asr import load_recognizer
    from speechkit.io.audio import write_audio
    from speechkit.metrics import character_errors
    from speechkit.mining.config import RefinementConfig, RegionsConfig
    from speechkit.mining.correction import corrected, read_lexicon, with_corrections
    from speechkit.mining.placement import KeyedDocument, KeyedHypothesis, align, learned_costs, refine_alignment
    from speechkit.mining.regions import find_speech
    from speechkit.text import normalizer_for

    recognizer, normalizer = load_recognizer(), normalizer_for("en")
    lexicon = read_lexicon(arguments.lexicon, "en")
    texts: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.wav"
        for reading in readings(arguments.data, None):
            if reading.reader not in UNHEARD:
                continue
            write_audio(path, reading.waveform, SAMPLE_RATE)
            speech, levels = find_speech(path, RegionsConfig())
            hypothesis = recognizer.recognize(str(path), speech)
            written = damaged_document(reading.spoken, [], random.Random(reading.name), ocr=RATE, extraneous=0.0)
            document = KeyedDocument.of(document_of(reading.name, written), normalizer)
            key = KeyedHypothesis.of(hypothesis, normalizer)
            found = align(reading.name, document, key, 0.3, learned_costs([document], [key]))
            found = refine_alignment(found, document, hypothesis.emissions, levels, RefinementConfig())
            if hypothesis.emissions is not None:
                found = with_corrections(found, document.document, hypothesis.emissions, lexicon)
            index_of = {sentence.id: sentence.index for sentence in document.document.sentences}
            for match in found.matches:
                item = written[index_of[match.sentence]]
                if item.spoken is not None and match.similarity >= 0.6:
                    both = item.text, corrected(match, item.text)[0]
                    keys = [normalizer.normalize(text).text for text in (reading.spoken[item.spoken].text, *both)]
                    texts[reading.reader].append((keys[0], keys[1], keys[2]))
    print("| reader | sentences | before | after |\n|---|---|---|---|")
    for reader, rows in sorted(texts.items()):
        said, before, after = (list(column) for column in zip(*rows, strict=True))
        rates = [character_errors(said, column).rate for column in (before, after)]
        print(f"| {reader} | {len(rows)} | {rates[0]:.1%} | {rates[1]:.1%} |")


if __name__ == "__main__":
    main()
