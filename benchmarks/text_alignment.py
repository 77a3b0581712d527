"""Alignment of the text of an hour of speech with a damaged document, beside the peers.

Both sides have about 60,000 characters: the hypothesis has 20 % errors (10 % substitutions, 5 % deletions, 5 %
insertions), and 30 % of the document was never read. Every row ran in its own process; memory is the peak of the
process, interpreter and libraries included. Peers that keep the whole matrix are run at the size in the table and
their figures scaled by the number of cells. `needleman_wunsch`, parasail and kaldialign compute every cell, with the
same scores but for kaldialign, which counts edits only.

Run: python -m benchmarks.text_alignment
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks import peak_megabytes

METHODS = ("locate_sentences", "locate_sentences 10 h", "needleman_wunsch", "edlib", "parasail", "kaldialign")
SIZES = {"locate_sentences 10 h": 600_000, "parasail": 10_000, "kaldialign": 10_000}
ALL_CELLS = {"parasail", "kaldialign", "needleman_wunsch"}
FULL = 60_000


def texts(characters: int, seed: int = 0) -> tuple[list[str], str]:
    """Sentences of a document and the hypothesis of a recording that reads seven tenths of them."""
    rng = random.Random(seed)
    letters, weights = "etaoinshrdlucmfwypvbgk", range(22, 0, -1)
    vocabulary = ["".join(rng.choices(letters, weights, k=rng.randint(1, 9))) for _ in range(6000)]
    popularity = [1 / (rank + 3) for rank in range(len(vocabulary))]
    sentences, spoken, length = [], [], 0
    while length < characters:
        read = rng.random() < 0.7
        for _ in range(rng.randint(3, 9)):
            sentence = " ".join(rng.choices(vocabulary, popularity, k=rng.randint(5, 25)))
            sentences.append(sentence)
            length += len(sentence) + 1
            if read:
                spoken.append(sentence)
    heard = []
    for character in " ".join(spoken):
        draw = rng.random()
        if draw < 0.10:
            heard.append(rng.choice(letters))
        elif draw >= 0.15:
            heard.append(character)
        if draw > 0.95:
            heard.append(rng.choice(letters))
    return sentences, "".join(heard)


def task(method: str, sentences: list[str], hypothesis: str) -> Callable[[], object]:
    document = " ".join(sentences)
    if method.startswith("locate_sentences"):
        from speechkit.mining.alignment import locate_sentences

        return lambda: locate_sentences(sentences, hypothesis)
    if method == "needleman_wunsch":
        from speechkit.mining.alignment import Scores, needleman_wunsch

        return lambda: needleman_wunsch(document, hypothesis, Scores(gap_open=-1.0, gap_extend=-0.5))
    if method == "edlib":
        import edlib

        return lambda: edlib.align(document, hypothesis, mode="NW", task="path")
    if method == "parasail":
        import parasail

        matrix = parasail.matrix_create("abcdefghijklmnopqrstuvwxyz ", 2, -2)  # in halves
        return lambda: parasail.nw_trace_striped_32(document, hypothesis, 3, 1, matrix).cigar.decode
    import kaldialign

    return lambda: kaldialign.align(list(document), list(hypothesis), "*")


def measure(method: str) -> dict[str, float]:
    size = SIZES.get(method, FULL)
    sentences, hypothesis = texts(size)
    function = task(method, sentences, hypothesis)
    first = 0.0
    if "_" in method:  # ours: load or compile the kernels on something small first, and say how long that took
        began = time.process_time()
        task(method, *texts(3000))()
        first = time.process_time() - began
    began = time.process_time()
    function()
    cpu = time.process_time() - began
    memory = peak_megabytes()
    return {"document": len(" ".join(sentences)), "hypothesis": len(hypothesis), "cpu": cpu, "mb": memory,
            "first": first}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", choices=METHODS)
    arguments = parser.parse_args()
    if arguments.method:
        print(json.dumps(measure(arguments.method)))
        return
    print(f"Load of the machine at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors.\n")
    print(
        "| method | characters | CPU s | peak MB | scaled to 60 k x 60 k | million cells a second "
        "| needleman_wunsch / this | CPU by locate_sentences | start (s) |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    ours = full = 0.0
    for method in METHODS:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "benchmarks.text_alignment", "--method", method]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["killed"])[-1]
            print(f"| {method} | - | failed: {reason} | | | | | | |")
            continue
        got = json.loads(done.stdout)
        rate = got["document"] * got["hypothesis"] / got["cpu"] / 1e6
        if method == "needleman_wunsch":
            full = rate
        scale = (FULL / SIZES.get(method, FULL)) ** 2
        scaled = "measured"
        if method in SIZES:
            scaled = "10 h" if "10 h" in method else f"{got['cpu'] * scale:.0f} s, {got['mb'] * scale / 1000:.1f} GB"
        size = f"{got['document'] / 1000:.0f} k x {got['hypothesis'] / 1000:.0f} k"
        start = f"{got['first']:.1f}" if got["first"] else ""
        cells = f"{rate:.0f} | {full / rate:.1f} x" if method in ALL_CELLS else "|"
        ours = ours or got["cpu"]
        ratio = "" if "10 h" in method else f"{got['cpu'] * scale / ours:.1f} x"
        print(f"| {method} | {size} | {got['cpu']:.2f} | {got['mb']:.0f} | {scaled} | {cells} | {ratio} | {start} |")
    print(
        "\nstart: importing numba and loading the kernels from the cache; the very first call on a machine compiles "
        "them instead. edlib has no gap costs, no scores and no order-free places."
    )


if __name__ == "__main__":
    main()
