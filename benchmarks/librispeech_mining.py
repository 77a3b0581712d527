"""Chapters of LibriSpeech mined against damaged documents: precision, recall and boundary errors.

Every chapter is one long recording (its utterances in id order). Its document, a plain text file with pages, a running
header and page numbers, holds the transcripts with 5 % OCR noise; 20 % of the spoken sentences are missing and 30 % of
its sentences come from the chapters of readers who are not in the run. There are two runs, one for each half of the
readers, since what one reader did not read another might: the recordings and documents of a half are mined together,
paired by content, with the embedded model. A kept sentence is right if it was read there and its middle lies inside the
true sentence with both ends within 1.0 s; recall counts the sentences that were read and written. The truth is where
the sound of each utterance begins and ends (`benchmarks/simulated_chapters.py`).

Run: python -m benchmarks.librispeech_mining [--held-out 84 2428] [--recognizer embedded]
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

TOLERANCE_SECONDS = 1.0


def build(corpus: Path, folder: Path, seed: int, half: int) -> dict[str, dict]:
    """Write audio/ and documents/; return the truth by recording: what was said, and what the document says."""
    from benchmarks.simulated_chapters import as_text, chapters, damaged_document, record
    from speechkit.io.atomic import write_text
    from speechkit.io.audio import write_audio

    found = chapters(corpus)
    readers = set(sorted({chapter.speaker for chapter in found})[half::2])
    others = [chapter for chapter in found if chapter.speaker not in readers]
    truth: dict[str, dict] = {}
    for chapter in found:
        if chapter.speaker not in readers:
            continue
        waveform, spoken = record(chapter)
        write_audio(folder / "audio" / f"{chapter.name}.flac", waveform, 16000)
        rng = random.Random(f"{chapter.name} {seed}")
        unread = [text for other in rng.sample(others, 2) for text in other.texts().values()]
        written = damaged_document(spoken, unread, rng)
        write_text(
            folder / "documents" / f"paper-{chapter.name}.txt", as_text(written, f"Chapter {chapter.folder.name}")
        )
        truth[chapter.name] = {"speaker": chapter.speaker, "spoken": spoken, "written": written}
    return truth


def measure(truth: dict[str, dict], utterances: list) -> dict[str, dict[str, list]]:
    """Right and wrong sentences and boundary errors by speaker."""
    result: dict[str, dict[str, list]] = defaultdict(lambda: {"wanted": [], "right": [], "start": [], "end": []})
    by_recording = defaultdict(list)
    for item in utterances:
        by_recording[item.custom["recording"]].append(item)
    for name, facts in truth.items():
        scores = result[facts["speaker"]]
        # The document reader may join or split what was written; a sentence is known by its letters.
        place = {letters(item.text): item.spoken for item in facts["written"]}
        scores["wanted"].append(sum(item.spoken is not None for item in facts["written"]))
        for item in by_recording[name]:
            spoken = place.get(letters(item.text))
            good = False
            if spoken is not None:
                said = facts["spoken"][spoken]
                start, end = item.offset - said.start, item.offset + item.duration - said.end
                good = abs(start) <= TOLERANCE_SECONDS and abs(end) <= TOLERANCE_SECONDS
                scores["start"].append(start)
                scores["end"].append(end)
            scores["right"].append(good)
    return result


def letters(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())


def row(name: str, parts: list[dict[str, list]]) -> str:
    right = [value for part in parts for value in part["right"]]
    wanted = sum(value for part in parts for value in part["wanted"])
    start = np.abs([value for part in parts for value in part["start"]] or [np.nan]) * 1000
    end = np.abs([value for part in parts for value in part["end"]] or [np.nan]) * 1000
    return (
        f"| {name} | {wanted} | {len(right)} | {np.mean(right or [np.nan]):.3f} | {sum(right) / wanted:.3f} "
        f"| {np.median(start):.0f} / {np.percentile(start, 95):.0f} "
        f"| {np.median(end):.0f} / {np.percentile(end, 95):.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Chapters of LibriSpeech mined against damaged documents.")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SPEECHKIT_DATA", "../shared/data")))
    parser.add_argument(
        "--held-out", nargs="*", default=["84", "2428"], help="speakers that the model was not trained on"
    )
    parser.add_argument("--recognizer", default="embedded")
    parser.add_argument("--min-precision", type=float, default=0.98)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, help="keep the files here, in a folder for each run")
    arguments = parser.parse_args()
    from speechkit.mining import mine

    found: dict[str, dict[str, list]] = {}
    print(f"Recogniser {arguments.recognizer}, precision asked for {arguments.min_precision}", end="")
    with tempfile.TemporaryDirectory() as temporary:
        for half in (0, 1):
            folder = (arguments.work or Path(temporary)) / f"run{half}"
            truth = build(arguments.data / "LibriSpeech/dev-clean", folder, arguments.seed, half)
            mined = mine(
                folder / "audio", folder / "documents", folder / "out",
                recognizer=arguments.recognizer, min_precision=arguments.min_precision,
            )  # fmt: skip
            found |= measure(truth, list(mined.utterances()))
            print(f", threshold {mined.summary.threshold:.3f}", end="")
    print("\n")
    print("| readers | written and read | kept | precision | recall | start error ms, median / p95 | end error ms |")
    print("|---|---|---|---|---|---|---|")
    print(row("all", list(found.values())))
    if arguments.held_out:
        print(row("not in training: " + " ".join(arguments.held_out), [found[name] for name in arguments.held_out]))
        print(row("the others", [part for name, part in found.items() if name not in arguments.held_out]))
    for name in sorted(found):
        print(row(name, [found[name]]))


if __name__ == "__main__":
    main()
