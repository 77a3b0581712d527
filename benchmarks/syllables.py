"""Segmenters of syllables: time a frame beside the published greedy in NumPy, and memory for ten hours.

Protocol: Frames of width 768 with planted syllables of 8 to 18 frames (cosine of a frame to its syllable's mean about
0.9) and pauses, which is an easy case for finding them and a usual one for the time. The peer is the published greedy
algorithm with its refinement, written frame by frame in Python and NumPy with a running mean; the official code took
13 to 21 µs a frame elsewhere. Its boundaries must equal ours, or the benchmark fails. Times are CPU seconds of one
thread, best of the runs. For memory, ten hours of frames arrive in blocks of a second, made from ten minutes that
repeat; the peak is that of the process, beside the same after the first ten minutes.

Run: python -m benchmarks.syllables
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks import peak_megabytes

Frames = NDArray[np.float32]
WIDTH, NORM, MERGE = 768, 2.6, 0.8
PEER_MINUTES, HOURS = 5, 10


def planted(minutes: float, seed: int = 0) -> Frames:
    """Frames (T, 768) of syllables and pauses."""
    random = np.random.default_rng(seed)
    count = round(minutes * 3000)
    frames = (random.standard_normal((count, WIDTH), np.float32) * np.float32(0.1)).astype(np.float32)
    t = 0
    while t < count:
        length = int(random.integers(8, 19))
        if random.random() < 0.2:
            frames[t : t + length] *= 0.2
        else:
            centre = random.standard_normal(WIDTH)
            frames[t : t + length] += (6.0 * centre / np.linalg.norm(centre)).astype(np.float32)
        t += length
    return frames


def published(frames: Frames) -> list[tuple[int, int]]:
    """The published greedy algorithm, frame by frame."""
    segments: list[list[int]] = []
    start, mean = -1, frames[0]
    for t, frame in enumerate(frames):
        norm = np.linalg.norm(frame)
        if start >= 0:
            if norm >= NORM and mean @ frame / (np.linalg.norm(mean) * norm) >= MERGE:
                mean = mean + (frame - mean) / (t - start + 1)
                continue
            segments.append([start, t])
            start = -1
        if norm >= NORM:
            start, mean = t, frame
    if start >= 0:
        segments.append([start, len(frames)])
    settled = segments[:1]
    for right in segments[1:]:
        left = settled[-1]
        if left[1] != right[0]:
            settled.append(right)
            continue
        means = [frames[a:b].mean(axis=0) for a, b in (left, right)]
        means = [mean / np.linalg.norm(mean) for mean in means]
        if means[0] @ means[1] >= MERGE:
            left[1] = right[1]
            continue
        begin, end = (left[0] + left[1]) // 2, (right[0] + right[1]) // 2
        window = frames[begin:end] / np.linalg.norm(frames[begin:end], axis=1, keepdims=True)
        gains = np.concatenate([[0.0], np.cumsum(window @ means[0] - window @ means[1])])
        lowest = max(begin, left[0] + 1)
        left[1] = right[0] = lowest + int(np.argmax(gains[lowest - begin :]))
        settled.append(right)
    return [(a, b) for a, b in settled]


def cpu_seconds(work: Callable[[], object], repeats: int) -> float:
    """The least CPU time of some runs."""
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def ten_hours(way: str) -> dict[str, float]:
    """Ten hours through the stream of frames or the envelope, in this process."""
    from speechkit.syllables.envelope import EnvelopeSegmenter
    from speechkit.syllables.greedy import GreedySegmenter, GreedyStream

    rounds = HOURS * 6
    count, early = 0, 0.0
    if way == "envelope":
        second = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
        second *= np.hanning(16_000).astype(np.float32)
        EnvelopeSegmenter().segment_blocks(second for _ in range(600))
        early, begin = peak_megabytes(), time.process_time()
        count = len(EnvelopeSegmenter().segment_blocks(second for _ in range(600 * rounds)))
    else:
        frames = planted(10)
        stream = GreedyStream(GreedySegmenter(NORM, MERGE))
        begin = time.process_time()
        for number in range(rounds):
            for start in range(0, len(frames), 50):
                count += len(stream.push(frames[start : start + 50]))
            if number == 0:
                early = peak_megabytes()
        count += len(stream.finish())
    return {"seconds": time.process_time() - begin, "early": early, "peak": peak_megabytes(), "segments": count}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ten-hours", choices=["greedy", "envelope"], help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.ten_hours:
        print(json.dumps(ten_hours(arguments.ten_hours)))
        return
    from speechkit.syllables.dynamic import DynamicSegmenter
    from speechkit.syllables.greedy import GreedySegmenter
    from speechkit.syllables.peaks import PeakSegmenter

    frames = planted(PEER_MINUTES)
    greedy = GreedySegmenter(NORM, MERGE)
    ours = [tuple(pair) for pair in greedy.segment(frames).tolist()]
    if ours != published(frames):
        raise SystemExit("the boundaries differ from those of the published algorithm")
    ways: dict[str, Callable[[], object]] = {
        "published greedy, NumPy": lambda: published(frames),
        "greedy, first pass": lambda: GreedySegmenter(NORM, MERGE, refine=False).segment(frames),
        "greedy with refinement": lambda: greedy.segment(frames),
        "norm peaks": lambda: PeakSegmenter().segment(frames),
        "dynamic, up to 35 frames": lambda: DynamicSegmenter(50.0, norm=NORM).segment(frames),
    }
    seconds = {}
    for name, work in ways.items():
        work()
        seconds[name] = cpu_seconds(work, arguments.repeats)
    memory = {}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for way in ("greedy", "envelope"):
        command = [sys.executable, "-m", "benchmarks.syllables", "--ten-hours", way]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        memory[way] = json.loads(done.stdout)
    peer = seconds["published greedy, NumPy"]
    print("## Segmenters of syllables\n")
    print(" ".join((__doc__ or "").split("Protocol: ")[1].split("\n\nRun:")[0].split()) + "\n")
    print(f"{PEER_MINUTES} minutes, {len(frames):,} frames, {len(ours):,} segments; boundaries equal the peer's.\n")
    print("| segmenter | µs a frame | times faster than the peer |")
    print("|---|---|---|")
    for name, value in seconds.items():
        print(f"| {name} | {1e6 * value / len(frames):.2f} | {peer / value:.1f} |")
    print(f"\n| {HOURS} hours in a stream | CPU seconds | segments | peak MB | MB after 10 minutes |")
    print("|---|---|---|---|---|")
    for way, row in memory.items():
        print(f"| {way} | {row['seconds']:.1f} | {row['segments']:,} | {row['peak']:.0f} | {row['early']:.0f} |")


if __name__ == "__main__":
    main()
