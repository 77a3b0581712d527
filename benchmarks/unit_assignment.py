"""Nearest centroids against faiss IndexFlatL2 on the same frames, one thread each."""

from __future__ import annotations

import time

import numpy as np

from speechkit.errors import require
from speechkit.runtime import limit_threads
from speechkit.units.assignment import nearest

FRAMES, ROUNDS = 100_000, 5
SHAPES = ((768, 100), (768, 500), (768, 2000), (256, 500), (1024, 1000))


def cpu_seconds(work) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    faiss = require("faiss")
    limit_threads(1)
    faiss.omp_set_num_threads(1)
    random = np.random.default_rng(0)
    print("## Assignment of frames to units\n")
    print(f"{FRAMES:,} random frames, float32, one thread; the least CPU seconds of {ROUNDS} rounds taken in turns.\n")
    print("| width | units | faiss IndexFlatL2, s | speechkit, s | faiss / speechkit | same unit |")
    print("|---|---|---|---|---|---|")
    for width, clusters in SHAPES:
        frames = random.standard_normal((FRAMES, width), dtype=np.float32)
        centroids = random.standard_normal((clusters, width), dtype=np.float32)
        index = faiss.IndexFlatL2(width)
        index.add(centroids)
        same = float((nearest(frames, centroids) == index.search(frames, 1)[1][:, 0]).mean())
        theirs, ours = [], []
        for _ in range(ROUNDS):
            theirs.append(cpu_seconds(lambda index=index, frames=frames: index.search(frames, 1)))
            ours.append(cpu_seconds(lambda frames=frames, centroids=centroids: nearest(frames, centroids)))
        ratio = min(theirs) / min(ours)
        print(f"| {width} | {clusters} | {min(theirs):.2f} | {min(ours):.2f} | {ratio:.2f} | {same:.3%} |")


if __name__ == "__main__":
    main()
