"""Side-by-side measurements; `python -m benchmarks.run` writes RESULTS.md."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Sequence


def peak_megabytes() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare_steps(module: str, setting: Sequence[object], ways: Sequence[str], same: str, tolerance: float) -> None:
    """Print a row for each way of a training step, each measured in a process of its own, the peer first.

    The module, called with the setting and a way, prints ``seconds``, ``megabytes`` and what both must have the same
    as JSON in its last line; they may differ by a share of ``tolerance``.
    """
    words = [str(word) for word in setting]
    found = {}
    for way in ways:
        command = [sys.executable, "-m", module, *words, way]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[way] = json.loads(done.stdout.splitlines()[-1])
    first, *others = (found[way][same] for way in ways)
    if any(abs(first - other) > tolerance * first for other in others):
        raise SystemExit(f"{' '.join(words)}: {same} differs, {', '.join(str(found[way][same]) for way in ways)}")
    for way in ways:
        seconds, peak = found[way]["seconds"], found[way]["megabytes"]
        ratio = found[ways[0]]["seconds"] / seconds
        print(f"| {' | '.join([*words, way])} | {seconds:.2f} | {ratio:.2f} | {peak:.0f} |")
