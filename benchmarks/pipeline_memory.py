"""Peak memory of the runner against the number of manifest rows: it should not grow.

    python -m benchmarks.pipeline_memory [--rows 1000 100000 1000000]

A whole-set stage writes the manifest, a worker stage reads and writes every row, another whole-set stage reads them.
Each size runs in a process of its own; the figure is its peak resident size.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import msgspec

from speechkit.data.records import Utterance
from speechkit.pipeline import SHARED, Context, Drop, Output, Recipe, Stage, Worker, run_recipe, stage


class Config(msgspec.Struct, frozen=True):
    rows: Annotated[int, SHARED] = 1000


def make(context: Context) -> None:
    context.write(
        "cuts.jsonl",
        (
            Utterance.from_samples(
                id=f"utt-{n:08d}", audio_filepath=f"audio/{n // 1000:05d}/{n:08d}.flac", num_samples=48000 + n % 1000,
                sample_rate=16000, text="the quick brown fox jumps over the lazy dog", speaker=f"s{n % 251}", lang="en",
            )
            for n in range(context.config.rows)
        ),
    )  # fmt: skip


class Upper(Worker):
    def process(self, batch: list[Utterance]) -> list[Utterance | Drop]:
        return [
            Drop("speaker") if cut.speaker == "s7" else msgspec.structs.replace(cut, text=(cut.text or "").upper())
            for cut in batch
        ]


def count(context: Context) -> None:
    context.output("count.txt").write_text(str(sum(1 for _ in context.read("cuts"))))


CUTS = (Output("cuts.jsonl", Utterance),)
RECIPE = Recipe(
    "memory",
    (
        Stage(1, "make", make, (), CUTS, Config),
        Stage(2, "upper", Upper, (stage("make", "cuts.jsonl"),), CUTS, drop_reasons=("speaker",)),
        Stage(3, "count", count, (stage("upper", "cuts.jsonl"),), (Output("count.txt"),)),
    ),
)


def one(rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        began, cpu = time.monotonic(), time.process_time()
        run_recipe(RECIPE, Path(folder) / "exp", [f"rows={rows}"], quiet=True)
        facts = {
            "rows": rows,
            "wall": time.monotonic() - began,
            "cpu": time.process_time() - cpu,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
    print(json.dumps(facts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 100_000, 1_000_000])
    parser.add_argument("--one", type=int)
    options = parser.parse_args()
    if options.one:
        return one(options.one)
    print("| manifest rows | peak memory, MB | CPU seconds | rows/s of CPU, three stages |")
    print("|---|---|---|---|")
    for rows in options.rows:
        command = [sys.executable, "-m", "benchmarks.pipeline_memory", "--one", str(rows)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
        facts = json.loads(done.stdout)
        print(f"| {rows:,} | {facts['peak'] / 1e6:.0f} | {facts['cpu']:.1f} | {rows / facts['cpu']:,.0f} |")
    return None


if __name__ == "__main__":
    main()
