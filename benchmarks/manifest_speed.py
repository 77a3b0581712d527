"""Writing and reading manifests, beside Lhotse's.

The same rows: an utterance of three seconds in one of 1000 recordings, with text, speaker and language; for Lhotse a
MonoCut with its recording and supervision, which are built before the clock starts on both sides. Lhotse writes with
its sequential JSONL writer and reads lazily. Every measurement runs in its own process, three times, and the median
CPU time counts; memory is what the process grew by while it streamed, so that imports do not count.

Run: python -m benchmarks.manifest_speed
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROWS = 100_000
MANY_ROWS = 1_000_000
TEXT = "the birch canoe slid on the smooth planks and the glue held the sheet to the dark blue background"


def our_rows(count: int) -> Iterator[object]:
    from speechkit.data import Utterance

    for index in range(count):
        yield Utterance.from_samples(
            offset_samples=index * 16000,
            num_samples=48000,
            sample_rate=16000,
            id=f"utterance-{index:07d}",
            audio_filepath=f"wavs/recording-{index % 1000:04d}.flac",
            text=TEXT,
            speaker=f"speaker-{index % 100:03d}",
            lang="en",
        )


def lhotse_rows(count: int) -> Iterator[object]:
    from lhotse import AudioSource, MonoCut, Recording, SupervisionSegment

    for index in range(count):
        name = f"recording-{index % 1000:04d}"
        recording = Recording(name, [AudioSource("file", [0], f"wavs/{name}.flac")], 16000, 16000 * 200_000, 200_000.0)
        part = SupervisionSegment(f"utterance-{index:07d}", name, 0.0, 3.0, 0, TEXT, "en", f"speaker-{index % 100:03d}")
        yield MonoCut(part.id, float(index), 3.0, 0, [part], recording=recording)


def write_ours(path: Path, rows: list[object] | Iterator[object]) -> None:
    from speechkit.data import write_manifest

    write_manifest(path, rows)


def read_ours(path: Path) -> int:
    from speechkit.data import read_manifest

    return sum(row.num_samples > 0 for row in read_manifest(path))


def write_lhotse(path: Path, rows: list[object] | Iterator[object]) -> None:
    from lhotse import CutSet

    with CutSet.open_writer(path) as writer:
        for row in rows:
            writer.write(row)


def read_lhotse(path: Path) -> int:
    from lhotse import CutSet

    return sum(cut.num_samples > 0 for cut in CutSet.from_jsonl_lazy(path))


ROOMS: dict[str, tuple[Callable[[int], Iterator[object]], Callable[..., None], Callable[[Path], int]]] = {
    "speechkit": (our_rows, write_ours, read_ours),
    "lhotse": (lhotse_rows, write_lhotse, read_lhotse),
}


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def one(name: str, what: str, count: int, suffix: str, folder: Path) -> dict[str, float]:
    """CPU seconds and grown memory of one task, in this process."""
    build, write, read = ROOMS[name]
    path = folder / f"{name}-{count}{suffix}"
    if what == "read":
        read_first = next(iter(build(1)))  # imports
        assert read_first is not None
        before, begin = peak_bytes(), time.process_time()
        assert read(path) == count
    elif what == "stream":
        write(folder / f"warm{suffix}", build(10))
        before, begin = peak_bytes(), time.process_time()
        write(path, build(count))
    else:
        rows = list(build(count))
        before, begin = peak_bytes(), time.process_time()
        write(path, rows)
    return {"seconds": time.process_time() - begin, "bytes": peak_bytes() - before}


def measured(repeats: int, *arguments: str) -> dict[str, float]:
    found = []
    for _ in range(repeats):
        command = [sys.executable, "-m", "benchmarks.manifest_speed", "--one", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return {key: statistics.median(entry[key] for entry in found) for key in ("seconds", "bytes")}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", nargs=5)
    chosen = parser.parse_args().one
    if chosen:
        name, what, count, suffix, folder = chosen
        print(json.dumps(one(name, what, int(count), suffix, Path(folder))))
        return
    print("## Manifests: writing and reading, beside Lhotse\n")
    print("| task | rows | speechkit | Lhotse | Lhotse / speechkit | memory grown, speechkit | Lhotse |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for what, suffix in (("write", ".jsonl"), ("read", ".jsonl"), ("write", ".jsonl.gz"), ("read", ".jsonl.gz")):
            ours, theirs = (measured(3, name, what, str(ROWS), suffix, folder) for name in ("speechkit", "lhotse"))
            print(
                f"| {what} {suffix} | {ROWS:,} | {ours['seconds']:.2f} s | {theirs['seconds']:.2f} s "
                f"| {theirs['seconds'] / ours['seconds']:.1f}x | {ours['bytes'] / 1e6:.1f} MB "
                f"| {theirs['bytes'] / 1e6:.1f} MB |"
            )
        for count in (1000, ROWS, MANY_ROWS):
            written = measured(1, "speechkit", "stream", str(count), ".jsonl", folder)
            read = measured(1, "speechkit", "read", str(count), ".jsonl", folder)
            for what, entry in (("make and write, streamed", written), ("read, streamed", read)):
                print(f"| {what} | {count:,} | {entry['seconds']:.2f} s | – | – | {entry['bytes'] / 1e6:.1f} MB | – |")


if __name__ == "__main__":
    main()
