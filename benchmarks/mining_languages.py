"""Mining in languages without an embedded recogniser, through multilingual Whisper: German and Hindi.

German: sentences of one reader (kerstin-de), joined into recordings of two minutes with pauses of 0.3 to 0.8 s. Hindi:
clips of Common Voice, joined in the same way, several readers in one recording. Each recording has a document with 6 %
damaged characters (half replaced, a quarter lost, a quarter doubled), from which 20 % of the spoken sentences are
missing and in which 30 % of the sentences were never read. A kept sentence is right if it was read there and both ends
lie within the tolerance of its sound; recall counts the sentences that were read and written.

Run: python -m benchmarks.mining_languages --recognizer faster-whisper:FOLDER [--minutes 10]
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.librispeech_mining import letters
from benchmarks.simulated_chapters import SAMPLE_RATE, Spoken, Written, as_text, damaged_document, sounding
from speechkit.data import Utterance
from speechkit.errors import UserError

Truth = dict[str, dict[str, Any]]
"""What each recording says (``spoken``) and its document (``written``)."""
RECORDING_SECONDS = 120.0
TOLERANCES = (1.0, 0.3)


def german(data: Path) -> list[tuple[Path, str]]:
    """Audio and sentence of the German reader, in order."""
    folder = data / "kerstin-de"
    rows = [line.split("|", 1) for line in (folder / "metadata.csv").read_text(encoding="utf-8").splitlines()]
    return [(next(folder.glob(f"wavs/{name}.*")), text) for name, text in rows]


def hindi(data: Path) -> list[tuple[Path, str]]:
    """Audio and sentence of the Hindi clips."""
    folder = data / "cv-corpus-6.1" / "hi"
    with (folder / "validated.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [(next(folder.glob(f"clips/{Path(row['path']).stem}.*")), row["sentence"]) for row in rows]


def damaged(text: str, rate: float, alphabet: Sequence[str], rng: random.Random) -> str:
    """Damage ``rate`` of the characters: half replaced by another of the language, the rest lost or doubled."""
    result = []
    for character in text:
        draw = rng.random() / rate
        if draw >= 1 or character == " ":
            result.append(character)
        elif draw < 0.5:
            result.append(rng.choice(alphabet))
        elif draw < 0.75:
            result.append(character * 2)
    return "".join(result)


def build(items: Sequence[tuple[Path, str]], folder: Path, minutes: float, rng: random.Random) -> Truth:
    """Write audio/ and documents/ and return the truth by recording; what is not spoken may stand in the documents."""
    from speechkit.io.atomic import write_text
    from speechkit.io.audio import read_audio, write_audio

    alphabet = sorted({character for _, text in items for character in text if character.isalpha()})
    rest = list(items)
    recordings: list[tuple[np.ndarray, list[Spoken]]] = []
    while rest and sum(len(waveform) for waveform, _ in recordings) < minutes * 60 * SAMPLE_RATE:
        pieces: list[np.ndarray] = []
        spoken: list[Spoken] = []
        cursor = 0
        while rest and cursor < RECORDING_SECONDS * SAMPLE_RATE:
            path, text = rest.pop(0)
            waveform = read_audio(path, sample_rate=SAMPLE_RATE)
            first, last = sounding(waveform)
            spoken.append(Spoken(path.stem, text, (cursor + first) / SAMPLE_RATE, (cursor + last) / SAMPLE_RATE))
            pieces += [waveform, np.zeros(round(rng.uniform(0.3, 0.8) * SAMPLE_RATE), np.float32)]
            cursor += len(pieces[-2]) + len(pieces[-1])
        recordings.append((np.concatenate(pieces), spoken))
    truth: Truth = {}
    for number, (waveform, spoken) in enumerate(recordings):
        name = f"recording-{number}"
        write_audio(folder / "audio" / f"{name}.flac", waveform, SAMPLE_RATE)
        # Unread sentences are those that no recording holds, or, where there are too few, those of others.
        unread = [text for _, text in rest] or [item.text for item in recordings[number - 1][1]]
        written = damaged_document(spoken, rng.sample(unread, min(30, len(unread))), rng, ocr=0.0)
        written = [Written(damaged(item.text, 0.06, alphabet, rng), item.spoken) for item in written]
        write_text(folder / "documents" / f"paper-{number}.txt", as_text(written, f"Page of paper {number}"))
        truth[name] = {"spoken": spoken, "written": written}
    return truth


def row(language: str, truth: Truth, utterances: Sequence[Utterance]) -> str:
    """Counts, precision and recall at each tolerance, and boundary errors."""
    wanted = sum(item.spoken is not None for facts in truth.values() for item in facts["written"])
    errors = []
    for item in utterances:
        facts = truth[(item.custom or {})["recording"]]
        spoken = {letters(one.text): one.spoken for one in facts["written"]}.get(letters(item.text or ""))
        said = None if spoken is None else facts["spoken"][spoken]
        ends = (item.offset, item.offset + item.duration)
        errors.append((np.inf, np.inf) if said is None else (ends[0] - said.start, ends[1] - said.end))
    apart = np.abs(np.array(errors).reshape(-1, 2))
    minutes = sum(facts["spoken"][-1].end for facts in truth.values()) / 60
    cells = [f"{minutes:.1f}", str(wanted), str(len(apart))]
    for tolerance in TOLERANCES:
        right = int((apart.max(1) <= tolerance).sum()) if len(apart) else 0
        cells.append(f"{right / max(len(apart), 1):.3f} / {right / max(wanted, 1):.3f}")
    finite = apart[np.isfinite(apart).all(1)] * 1000
    for side in (0, 1):
        values = finite[:, side] if len(finite) else np.array([np.nan])
        cells.append(f"{np.median(values):.0f} / {np.percentile(values, 95):.0f}")
    return f"| {language} | " + " | ".join(cells) + " |"


def main() -> None:
    """Mine every language and print a row for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SPEECHKIT_DATA", "../shared/data")))
    parser.add_argument("--recognizer", required=True, help="faster-whisper:FOLDER of a multilingual model")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--min-precision", type=float, default=0.98)
    arguments = parser.parse_args()
    from speechkit.mining import mine

    kind = arguments.recognizer.partition(":")[0]
    print(f"Recogniser {kind}, precision asked for {arguments.min_precision}\n")
    print(
        "| language | minutes | written and read | kept | precision / recall within 1 s | within .3 s "
        "| start error ms, median / p95 | end error ms |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for language, code, items in (
        ("German", "de", german(arguments.data)),
        ("Hindi", "hi", hindi(arguments.data)),
    ):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            truth = build(items, folder, arguments.minutes, random.Random(f"{code} 1"))
            utterances: list[Utterance] = []
            try:
                mined = mine(
                    folder / "audio", folder / "documents", folder / "out", lang=code,
                    recognizer=arguments.recognizer, min_precision=arguments.min_precision,
                )  # fmt: skip
                utterances = list(mined.utterances())
            except UserError as error:
                if not (folder / "out" / "manifest.jsonl").is_file():
                    raise
                print(error, file=sys.stderr)  # the run is complete and keeps no sentence: a result too
            print(row(language, truth, utterances), flush=True)


if __name__ == "__main__":
    main()
