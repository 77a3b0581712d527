"""Scoring of 44 hour-long calls with 363 thousand reference words: seconds and memory, beside jiwer alone.

Protocol: The ten Earnings-21 calls at hand and one recogniser's output are repeated to 44 calls, each cut at the same
share of its alignment, so that the references hold 363,115 words. Both sides are normalised beforehand (`earnings21`).
Each row is a process of its own that reads the two files: jiwer aligns and counts; `word_errors` aligns, counts and
keeps operations; `compare` does so under two normalisers with intervals, breakdowns, confusions and the worst passages,
which is what the page and the JSON are made of. Seconds are those of the work, without starting Python and loading
modules; memory is the peak of the whole process.

Run: SPEECHKIT_DATA=... python -m benchmarks.scoring
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import peak_megabytes

CALLS, WORDS = 44, 363_115
WAYS = ("jiwer", "word_errors", "compare")


def make(folder: Path, data: Path) -> tuple[Path, Path]:
    """The two Kaldi text files."""
    from speechkit.metrics import word_errors
    from speechkit.metrics.transcripts import read_transcripts

    texts = [
        {t.id: t.text or "" for t in read_transcripts(data / part)}
        for part in ("transcripts/nlp_references", "output/google")
    ]
    calls = word_errors(texts[0], texts[1], normalizer="earnings21").utterances
    total = sum(len(calls[i % len(calls)].reference) for i in range(CALLS))
    share = WORDS / total
    reference, hypothesis = folder / "reference", folder / "hypothesis"
    left = WORDS
    with reference.open("w", encoding="utf-8") as said, hypothesis.open("w", encoding="utf-8") as heard:
        for index in range(CALLS):
            call = calls[index % len(calls)]
            cut = min(len(call.reference), left if index == CALLS - 1 else round(share * len(call.reference)))
            left -= cut
            inside = [o for o in call.operations if o.reference_begin < cut]
            end = inside[-1].hypothesis_begin + min(
                inside[-1].hypothesis_end - inside[-1].hypothesis_begin, cut - inside[-1].reference_begin
            )
            said.write(f"call{index:02d} {' '.join(call.reference[:cut])}\n")
            heard.write(f"call{index:02d} {' '.join(call.hypothesis[:end])}\n")
    return reference, hypothesis


def measure(way: str, reference: Path, hypothesis: Path) -> dict[str, float]:
    """Seconds, peak memory in MB and the error counts of one way, in this process."""
    if way == "jiwer":
        import jiwer

        begin = time.perf_counter()
        sides = [
            [line.split(" ", 1)[1].strip() for line in path.open(encoding="utf-8")] for path in (reference, hypothesis)
        ]
        output = jiwer.process_words(*sides)
        counts = (output.hits, output.substitutions, output.deletions, output.insertions)
    else:
        from jiwer import process_words  # noqa: F401 - loaded before the clock starts

        from speechkit.metrics import word_errors
        from speechkit.metrics.comparison import compare
        from speechkit.metrics.confusions import confusions
        from speechkit.metrics.sides import read_sides
        from speechkit.report.score_alignment import columns, worst_passages

        begin = time.perf_counter()
        found = read_sides(reference, [str(hypothesis)])
        if way == "word_errors":
            truth = {t.id: t.text or "" for t in found.references}
            result = word_errors(truth, found.hypotheses["hypothesis"])
        else:
            scored = compare(found, normalizers=["none", "simple"])
            result = scored.results["none"]["hypothesis"]
            for systems in scored.results.values():
                confusions(systems["hypothesis"])
            for passage in worst_passages(result, 25):
                list(columns(passage))
        counts = (result.counts.hits, result.counts.substitutions, result.counts.deletions, result.counts.insertions)
    seconds = time.perf_counter() - begin
    memory = peak_megabytes()
    return {"seconds": seconds, "megabytes": memory, **dict(zip(("hits", "sub", "del", "ins"), counts, strict=True))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=3, metavar=("WAY", "REF", "HYP"), help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.one:
        way, reference, hypothesis = arguments.one
        print(json.dumps(measure(way, Path(reference), Path(hypothesis))))
        return
    data = os.environ.get("SPEECHKIT_DATA")
    if not data:
        raise SystemExit("set SPEECHKIT_DATA to the folder that holds earnings21-text")
    with tempfile.TemporaryDirectory() as folder:
        files = make(Path(folder), Path(data) / "earnings21-text")
        rows = {}
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.scoring", "--one", way, *map(str, files)]
            runs = [
                json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                for _ in range(arguments.repeats)
            ]
            rows[way] = min(runs, key=lambda run: run["seconds"])
    print("## Scoring of 44 hour-long calls\n")
    print(" ".join((__doc__ or "").split("Protocol: ")[1].split("\n\nRun:")[0].split()) + "\n")
    print("| way | seconds | of jiwer | peak MB | errors | S / D / I |")
    print("|---|---|---|---|---|---|")
    for way, row in rows.items():
        errors = row["sub"] + row["del"] + row["ins"]
        ratio = row["seconds"] / rows["jiwer"]["seconds"]
        kinds = f"{row['sub']:,} / {row['del']:,} / {row['ins']:,}"
        print(f"| {way} | {row['seconds']:.2f} | {ratio:.2f} | {row['megabytes']:.0f} | {errors:,} | {kinds} |")
    print(f"\nBest of {arguments.repeats} runs each.")


if __name__ == "__main__":
    main()
