"""Order of tracks where windows meet in silence: conversations of two readers with pauses longer than the overlap.

Protocol: the readers of LibriSpeech dev-clean in pairs; each pair makes two minutes of exchanges at 8 kHz: an utterance
of each (12 s at most), the later one coming in over the last second of the other, then a silence of 2.5 to 4 s. What is
measured is the stitching alone: in place of a network stands one that knows the readers, gives each window's tracks in
a drawn order and lets a tenth of the other's amplitude (20 dB below) leak into each. Windows of 8 s overlap by 2 s. A
join is right if the tracks behind it hold the readers that they held before. "no voices" has the order that fits the
overlap best, "voices" asks the encoder inside the package where the overlap does not tell.

Run: SPEECHKIT_DATA=... python -m benchmarks.separation_order
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np

from speechkit.io.arrays import Float
from speechkit.io.audio import read_audio
from speechkit.separation.streaming import SeparationStream, Windowing
from speechkit.separation.voices import Embed, Voice, embed_voice

RATE = 8000
LEAK = 0.1


class KnownReaders:
    """Answers the windows of a stream, in turn, with the sources there in a drawn order."""

    sample_rate, speakers, batch_size = RATE, 2, 1

    def __init__(self, sources: Float, windowing: Windowing, seed: int):
        self.sources = sources
        self.hop = round((windowing.window_seconds - windowing.overlap_seconds) * RATE)
        self.generator = np.random.default_rng(seed)
        self.orders: list[tuple[int, ...]] = []

    def separate_windows(self, windows: Float) -> Float:
        begin = min(len(self.orders) * self.hop, self.sources.shape[1] - windows.shape[1])
        found = self.sources[:, begin : begin + windows.shape[1]]
        order = tuple(int(place) for place in self.generator.permutation(2))
        self.orders.append(order)
        return (found + LEAK * found[::-1])[list(order)][None]


def conversation(readers: tuple[Path, Path], seconds: float, seed: int) -> Float:
    """Sources (2, S) of two readers in turns with pauses."""
    generator = np.random.default_rng(seed)
    files = [sorted(path.rglob("*.mp3")) + sorted(path.rglob("*.flac")) for path in readers]
    tracks: list[list[Float]] = [[], []]
    held = 0.0
    number = 0
    while held < seconds:
        turns = [read_audio(each[number % len(each)], sample_rate=RATE)[: 12 * RATE] for each in files]
        turns = [0.1 * turn / max(float(np.sqrt(np.mean(turn**2))), 1e-6) for turn in turns]
        if generator.random() < 0.5:
            begins = (0, max(0, len(turns[0]) - RATE))
        else:
            begins = (max(0, len(turns[1]) - RATE), 0)
        pause = int(generator.uniform(2.5, 4.0) * RATE)
        length = max(begin + len(turn) for begin, turn in zip(begins, turns, strict=True)) + pause
        for track, begin, turn in zip(tracks, begins, turns, strict=True):
            track.append(np.pad(turn, (begin, length - begin - len(turn))))
        held += length / RATE
        number += 1
    return np.stack([np.concatenate(track) for track in tracks]).astype(np.float32)


def joins(sources: Float, embed: Embed, seed: int) -> Counter[tuple[str, bool]]:
    """How often each way of telling the order was taken, and was right."""
    windowing = Windowing()
    separator = KnownReaders(sources, windowing, seed)
    stream = SeparationStream(separator, RATE, windowing=windowing, embed=embed)
    tracks = np.concatenate([stream.push(sources.sum(0)), stream.finish()], axis=1)
    found: Counter[tuple[str, bool]] = Counter()
    edges = [0, *(join.sample + RATE for join in stream.joins), sources.shape[1]]
    straight = [places_kept(tracks[:, a:b], sources[:, a:b]) for a, b in pairwise(edges)]
    for join, before, after in zip(stream.joins, straight, straight[1:], strict=False):
        found[join.decided, before == after] += 1
    return found


def places_kept(tracks: Float, sources: Float) -> bool:
    """Whether the first track holds the first reader."""
    products = tracks.astype(np.float64) @ sources.T.astype(np.float64)
    return bool(np.trace(products) >= np.trace(products[:, ::-1]))


def nobody(speech: Float, rate: int) -> Voice | None:
    """No voices."""
    return None


def main() -> None:
    """Print a table: joins by what decided them, and how many were right."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default=os.environ.get("SPEECHKIT_DATA", "../shared/data"))
    parser.add_argument("--seconds", type=float, default=120.0)
    options = parser.parse_args()
    readers = sorted(path for path in Path(options.data, "LibriSpeech/dev-clean").iterdir() if path.is_dir())
    if len(readers) < 2:
        raise SystemExit(f"{options.data}: holds no readers of LibriSpeech dev-clean; give --data")
    pairs = [pair for step in (1, 2) for pair in zip(readers[::step], readers[step::step], strict=False)]
    print("## Separation: the order of tracks where windows meet in silence\n")
    print((__doc__ or "").split("\n\n")[1])
    print("\n| | joins told by the overlap | right | by voice | right | by nothing | right | all | right |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, embed in (("no voices", nobody), ("voices", embed_voice)):
        total: Counter[tuple[str, bool]] = Counter()
        for seed, pair in enumerate(pairs):
            total += joins(conversation(pair, options.seconds, seed), embed, seed)
        cells = []
        for kind in ("overlap", "voice", "kept", None):
            right, wrong = (
                sum(n for (found, ok), n in total.items() if kind in (None, found) and ok == value)
                for value in (True, False)
            )
            cells += [str(right + wrong), f"{100 * right / (right + wrong):.1f} %" if right + wrong else "–"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
