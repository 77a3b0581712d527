"""Run benchmarks and write what they print to benchmarks/RESULTS.md.

    python -m benchmarks.run                  # all
    python -m benchmarks.run text_alignment   # these; the other sections stay as they were

Each benchmark is a module of this package that prints one Markdown section to standard output and exits with 0.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
HEADER = """# Measured results

Each section was printed by the command above it, on the machine named beside it. Machines are shared and noisy: read
the ratios, not the seconds.
"""


def benchmarks() -> list[str]:
    """The names of all benchmarks, in order."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in {"__init__", "run", "simulated_chapters"})


def machine() -> str:
    """Processor, cores and library versions in a line."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    name = model.group(1) if model else platform.processor() or platform.machine()
    return (
        f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {version('numpy')}, "
        f"numba {version('numba')}, torch {version('torch')}"
    )


def sections() -> dict[str, str]:
    """The sections that RESULTS.md holds already, by benchmark."""
    if not RESULTS.exists():
        return {}
    parts = re.split(r"^<!-- (\w+) -->$", RESULTS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def measure(name: str) -> str:
    """Run one benchmark; its section, with command, machine and day."""
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=HERE.parent)
    if done.returncode:
        raise SystemExit(f"benchmark {name} ended with {done.returncode}; run: python -m benchmarks.{name}")
    day = datetime.now(timezone.utc).date().isoformat()
    printed = done.stdout.strip()
    if not printed.startswith("#"):
        printed = f"## {name.replace('_', ' ').capitalize()}\n\n{printed}"
    return f"{printed}\n\n`python -m benchmarks.{name}` · {machine()} · {day}"


def main() -> None:
    """Measure what was asked for and rewrite RESULTS.md after each, so that a stopped run keeps what it has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="benchmarks to run (default: all)")
    names = parser.parse_args().names or benchmarks()
    if unknown := sorted(set(names) - set(benchmarks())):
        raise SystemExit(f"no benchmark named {', '.join(unknown)}; there are: {', '.join(benchmarks())}")
    results = sections()
    for name in names:
        print(f"{name} …", file=sys.stderr)
        results[name] = measure(name)
        body = "\n\n".join(f"<!-- {key} -->\n\n{results[key]}" for key in sorted(results) if key in benchmarks())
        RESULTS.write_text(f"{HEADER}\n{body}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
