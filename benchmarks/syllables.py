"""Segmenters of syllables: time a frame beside the released greedy rule in NumPy, and memory for ten hours.

Protocol: Times are of frames of width 768 with planted syllables of 8 to 18 frames (cosine of a frame to its syllable's
mean about 0.9) and pauses, which is an easy case for finding them and a usual one for the time. The peer is the rule of
Sylber's released code, which counts on where segments touch, written frame by frame in Python and NumPy; the released
code itself took 13 to 21 µs a frame elsewhere. Its boundaries must equal ours with `compat`, on these frames and on
those of the encoder inside the package of recorded speech, or the benchmark fails; how many of the latter the published
rule, ours without `compat`, has too is told. Times are CPU seconds of one thread, best of the runs. For memory, ten
hours of frames arrive in blocks of a second, made from ten minutes that repeat; the peak is that of the process, beside
the same after the first ten minutes.

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
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import peak_megabytes

Frames = NDArray[np.float32]
WIDTH, NORM, MERGE = 768, 2.6, 0.8
PEER_MINUTES, HOURS = 5, 10
SPEECH = Path(__file__).parents[1] / "recipes" / "mining" / "sample" / "audio" / "bees.ogg"


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


def spoken() -> Frames:
    """Frames (T, 384) of the sample of recorded speech by the encoder inside the package."""
    from speechkit.encoders import load_encoder

    encoder = load_encoder("embedded", device="cpu", dtype="float32")
    return np.concatenate(list(encoder.encode_long(SPEECH)))


def unit(vector: NDArray[np.floating]) -> NDArray[np.floating]:
    """The direction of vectors (..., D)."""
    directions: NDArray[np.floating] = vector / np.linalg.norm(vector, axis=-1, keepdims=True)
    return directions


def released(frames: Frames, norm: float = NORM, merge: float = MERGE) -> list[tuple[int, int]]:
    """The released greedy rule, frame by frame; a segment that is left without a frame is none."""
    segments: list[list[int]] = []
    touching: list[int] = []
    start, seen, mean = -1, 0, frames[0]
    for t, frame in enumerate(frames):
        if np.linalg.norm(frame) < norm:
            if start >= 0:
                segments.append([start, t])
            start, seen = -1, 0
            continue
        if start >= 0 and unit(mean) @ unit(frame) >= merge:
            mean = (mean * seen + frame) / (seen + 1)
        else:
            if start >= 0:
                segments.append([start, t])
                touching.append(len(segments) - 1)
            start, mean = t, frame
        seen += 1
    if start >= 0:
        segments.append([start, len(frames)])
    gone = set()
    for place in touching:
        (a, b), (_, c) = segments[place], segments[place + 1]
        left, right = unit(frames[a:b].mean(axis=0)), unit(frames[b:c].mean(axis=0))
        if left @ right >= merge:
            segments[place + 1][0] = a
            gone.add(place)
            continue
        begin, stop = max(a, b - max(1, (b - a) // 2)), min(c, b + max(1, (c - b) // 2))
        window = unit(frames[begin:stop])
        gains = np.concatenate([[0.0], np.cumsum(window @ left - window @ right)[:-1]])
        segments[place][1] = segments[place + 1][0] = begin + int(np.argmax(gains))
    return [(a, b) for place, (a, b) in enumerate(segments) if place not in gone and a < b]


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

    # First, since a process begins with the peak of the one that started it.
    memory = {}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for way in ("greedy", "envelope"):
        command = [sys.executable, "-m", "benchmarks.syllables", "--ten-hours", way]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        memory[way] = json.loads(done.stdout)
    frames, speech = planted(PEER_MINUTES), spoken()
    greedy = GreedySegmenter(NORM, MERGE, compat=True)
    norm = float(np.quantile(np.linalg.norm(speech, axis=1), 0.15))
    ours = [tuple(pair) for pair in greedy.segment(frames).tolist()]
    of_speech = [tuple(pair) for pair in GreedySegmenter(norm, MERGE, compat=True).segment(speech).tolist()]
    if ours != released(frames) or of_speech != released(speech, norm):
        raise SystemExit("the boundaries differ from those of the released rule")
    also = len(set(of_speech) & {tuple(pair) for pair in GreedySegmenter(norm, MERGE).segment(speech).tolist()})
    ways: dict[str, Callable[[], object]] = {
        "released greedy, NumPy": lambda: released(frames),
        "greedy, first pass": lambda: GreedySegmenter(NORM, MERGE, refine=False).segment(frames),
        "greedy with refinement": lambda: GreedySegmenter(NORM, MERGE).segment(frames),
        "greedy with compat": lambda: greedy.segment(frames),
        "norm peaks": lambda: PeakSegmenter().segment(frames),
        "dynamic, up to 35 frames": lambda: DynamicSegmenter(50.0, norm=NORM).segment(frames),
    }
    seconds = {}
    for name, work in ways.items():
        work()
        seconds[name] = cpu_seconds(work, arguments.repeats)
    peer = seconds["released greedy, NumPy"]
    print("## Segmenters of syllables\n")
    print(" ".join((__doc__ or "").split("Protocol: ")[1].split("\n\nRun:")[0].split()) + "\n")
    print(
        f"{PEER_MINUTES} minutes, {len(frames):,} frames, {len(ours):,} segments, and {len(speech):,} frames of "
        f"speech, {len(of_speech):,} segments; boundaries with compat equal the peer's. The published rule cuts "
        f"{also:,} of the latter too.\n"
    )
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
