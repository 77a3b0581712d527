"""kill -9 at random moments over a recipe: does every resume end in the same bytes?

    python -m benchmarks.kill_resume [--kills 100] [--backend inline|pool]

Runs a small recipe (documents of synthetic rows, a worker with drops, a worker with arrays, a summary) in a process of
its own, kills it at a random moment, resumes, and so on; a recipe that ends before its kill makes way for one with the
next seed. At the end every seed's folder is compared with that of a run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

from speechkit.pipeline import Context, Drop, Output, Recipe, Stage, Value, Worker, run_recipe, stage
from speechkit.pipeline.content import walk
from speechkit.runtime import item_seed

ROWS = 1000


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    id: str
    number: int
    features: str | None = None


def make(context: Context) -> None:
    context.write("rows.jsonl", (Row(f"row-{n:06d}", item_seed(context.seed, str(n)) % 1000) for n in range(ROWS)))


class Sieve(Worker):
    def process(self, batch: list[Row]) -> list[Row | Drop]:
        return [Drop("even") if row.number % 2 == 0 else row for row in batch]


class Noise(Worker):
    def process(self, batch: list[Row]) -> list[Value]:
        return [
            Value(row, {"noise": np.random.default_rng(item_seed(self.seed, row.id)).random((50, 32), np.float32)})
            for row in batch
        ]


def total(context: Context) -> None:
    context.output("total.txt").write_text(f"{sum(row.number for row in context.read('rows'))}\n")


RECIPE = Recipe(
    "kills",
    (
        Stage(1, "make", make, (), (Output("rows.jsonl", Row),)),
        Stage(
            2,
            "sieve",
            Sieve,
            (stage("make", "rows.jsonl"),),
            (Output("rows.jsonl", Row),),
            drop_reasons=("even",),
            part_records=50,
        ),
        Stage(3, "noise", Noise, (stage("sieve", "rows.jsonl"),), (Output("rows.jsonl", Row),), part_records=20),
        Stage(4, "total", total, (stage("noise", "rows.jsonl"),), (Output("total.txt"),)),
    ),
)


def start(exp: Path, seed: int, backend: str) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from benchmarks.kill_resume import RECIPE; from speechkit.pipeline import run_recipe\n"
        "if __name__ == '__main__':\n"
        "    run_recipe(RECIPE, sys.argv[1], ['seed=' + sys.argv[2]], sys.argv[3], workers=2, quiet=True)"
    )
    command = [sys.executable, "-c", code, str(exp), str(seed), backend]
    return subprocess.Popen(command, stderr=subprocess.PIPE, cwd=Path(__file__).parent.parent)


def committed(exp: Path) -> dict[str, str]:
    """Digest of every committed file; of ``_stage.json`` all but the facts of the run itself."""
    found = {}
    for record in exp.glob("*/*/_stage.json"):
        if record.parent.name == "current":
            continue
        for name, path in walk(record.parent):
            content = path.read_bytes()
            if name == "_stage.json":
                content = json.dumps({k: v for k, v in json.loads(content).items() if k != "run"}).encode()
            found[f"{record.parent.relative_to(exp)}/{name}"] = hashlib.blake2b(content).hexdigest()
    return found


def measure(kills: int, backend: str, folder: Path) -> dict[str, int]:
    """Kill until there were ``kills``, resume after each, and compare."""
    generator = random.Random(1)
    began = time.monotonic()
    start(folder / "time", 1, backend).wait()
    length = time.monotonic() - began
    done = seed = 1
    killed = failed = inside = 0
    while killed < kills:
        process = start(folder / "exp", seed, backend)
        time.sleep(generator.uniform(0.1, 1.0) * length)
        if process.poll() is None:
            process.kill()
            killed += 1
            inside += bool(list((folder / "exp").glob("*/*.work")))
        else:
            failed += process.returncode != 0
            done, seed = done + 1, seed + 1
            length *= 0.8  # the first run was slow, as on a busy machine: aim into the run again
        process.communicate()
    for number in range(1, seed + 1):
        run_recipe(RECIPE, folder / "exp", [f"seed={number}"], quiet=True)
        run_recipe(RECIPE, folder / "clean", [f"seed={number}"], quiet=True)
    same = committed(folder / "exp") == committed(folder / "clean")
    left = len(list((folder / "exp").glob("*/*.work")))
    return {"kills": killed, "inside": inside, "recipes": done, "failed": failed, "left": left, "same": int(same)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--backend", default="inline")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.kills, options.backend, Path(folder))
    print("| backend | kill -9 | inside a stage | recipes finished | resumes that failed | work left | same bytes |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {options.backend} | {found['kills']} | {found['inside']} | {found['recipes']} | {found['failed']} "
        f"| {found['left']} | {'yes' if found['same'] else 'NO'} |"
    )
    sys.exit(0 if found["same"] and not found["failed"] else 1)


if __name__ == "__main__":
    main()
