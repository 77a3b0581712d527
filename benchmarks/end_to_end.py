"""One hour of audio mined end to end with the embedded model: how many times faster than real time.

The recording is LibriSpeech chapters, one after another, up to an hour; the document is their transcripts, damaged as
in `librispeech_mining`. Seconds are wall time and CPU time of the whole command in a process of its own, memory is the
peak of that process and its children.

Run: python -m benchmarks.end_to_end [--hours 1]
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec


def build(corpus: Path, folder: Path, hours: float) -> float:
    """Write audio/hour.flac and documents/hour.txt; return the seconds of audio."""
    from benchmarks.simulated_chapters import SAMPLE_RATE, as_text, chapters, damaged_document, joined, record
    from speechkit.io.atomic import write_text
    from speechkit.io.audio import write_audio

    found = chapters(corpus)
    parts, seconds, used = [], 0.0, 0
    while seconds < hours * 3600:
        part = record(found[used % (len(found) - 2)])
        parts.append(part)
        seconds += len(part[0]) / SAMPLE_RATE
        used += 1
    waveform, spoken = joined(parts)
    waveform = waveform[: int(hours * 3600 * SAMPLE_RATE)]
    unread = [text for other in found[-2:] for text in other.texts().values()] * 20
    written = damaged_document(spoken, unread, random.Random(1))
    write_audio(folder / "audio/hour.flac", waveform, SAMPLE_RATE)
    write_text(folder / "documents/hour.txt", as_text(written, "An hour of reading", 30))
    return len(waveform) / SAMPLE_RATE


def main() -> None:
    parser = argparse.ArgumentParser(description="One hour of audio mined end to end with the embedded model.")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SPEECHKIT_DATA", "../shared/data")))
    parser.add_argument("--hours", type=float, default=1.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        seconds = build(arguments.data / "LibriSpeech/dev-clean", folder, arguments.hours)
        command = [sys.executable, "-m", "speechkit.cli.main", "mine", "audio", "documents", "--out", "out", "--json"]
        began = time.perf_counter()
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        wall = time.perf_counter() - began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        summary = msgspec.json.decode(done.stdout)["summary"]
        print("| audio | wall s | CPU s | times real time (wall) | peak memory | kept |")
        print("|---|---|---|---|---|---|")
        print(
            f"| {seconds / 3600:.2f} h | {wall:.0f} | {used.ru_utime + used.ru_stime:.0f} | {seconds / wall:.1f} "
            f"| {used.ru_maxrss / 1024:.0f} MB | {summary['kept']} sentences, {summary['kept_seconds'] / 60:.1f} min |"
        )
        print("\n| stage | s |\n|---|---|")
        for path in sorted((folder / "out/stages").glob("*/current/_stage.json")):
            record = msgspec.json.decode(path.read_bytes())
            print(f"| {path.parent.parent.name} | {record['run']['seconds']:.1f} |")


if __name__ == "__main__":
    main()
