"""`speechkit doctor`: what is installed, what fits together, and the line that mends what does not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from speechkit.errors import EXTRA_OF

CORE = ("torch", "torchaudio", "transformers", "safetensors", "numpy", "numba", "soundfile", "soxr", "msgspec", "ray")
PROGRAMS = {
    "tesseract": ("reads scanned documents", "apt-get install tesseract-ocr"),
    "ffmpeg": ("reads m4a and video", "apt-get install ffmpeg"),
}
TORCH = 'pip install --force-reinstall "torch==2.11.*" "torchaudio==2.11.0"'
LOW_DISK_BYTES = 5 * 2**30


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``mend`` is the line that mends it."""

    name: str
    state: Literal["ok", "missing", "wrong"]
    detail: str
    mend: str = ""


def doctor(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check Python, the libraries, torch and torchaudio as a pair, devices, extras, programs and disk.

    Ends with 1 if something is wrong; an absent extra is not wrong.

    Examples:
      speechkit doctor

      speechkit doctor --json
    """
    findings = examine()
    if json:
        import msgspec

        typer.echo(msgspec.json.encode([asdict(finding) for finding in findings]).decode())
    else:
        sign = {"ok": "ok", "missing": "--", "wrong": "!!"}
        for finding in findings:
            mend = f"\n{'':24s}-> {finding.mend}" if finding.mend else ""
            typer.echo(f"{sign[finding.state]:3s} {finding.name:18s} {finding.detail}{mend}")
    raise typer.Exit(1 if any(finding.state == "wrong" for finding in findings) else 0)


def examine() -> list[Finding]:
    """Everything that the doctor looks at."""
    return [_python(), *_libraries(), pair(_version("torch"), _version("torchaudio")), *_devices(), *_extras(),
            *_programs(), _disk(Path.cwd())]  # fmt: skip


def pair(torch: str | None, torchaudio: str | None) -> Finding:
    """Whether torch and torchaudio are of one release, without which torchaudio does not load."""
    if torch is None or torchaudio is None:
        return Finding("torch/torchaudio", "wrong", "one of the two is missing", TORCH)
    releases = [".".join(text.split("+")[0].split(".")[:2]) for text in (torch, torchaudio)]
    detail = f"torch {torch} with torchaudio {torchaudio}"
    if releases[0] != releases[1]:
        return Finding("torch/torchaudio", "wrong", f"{detail} do not fit together", TORCH)
    return Finding("torch/torchaudio", "ok", detail)


def _python() -> Finding:
    text = sys.version.split()[0]
    if (3, 10) <= sys.version_info[:2] <= (3, 12):
        return Finding("python", "ok", f"{text} at {sys.executable}")
    return Finding("python", "wrong", f"{text} is outside 3.10 to 3.12", "make a new environment with Python 3.11")


def _libraries() -> list[Finding]:
    findings = []
    for name in CORE:
        found = _version(name)
        if found is not None:
            findings.append(Finding(name, "ok", found))
        elif name != "ray":
            findings.append(Finding(name, "wrong", "not installed", "pip install --upgrade speechkit"))
    return findings


def _devices() -> list[Finding]:
    # In a process of its own: a broken torch may take its process down instead of raising an error.
    # torchaudio comes along: releases that fit by name may still be built for another torch.
    code = "import torchaudio; from speechkit.runtime import describe_devices; print(*describe_devices(), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return [Finding("devices", "wrong", f"torch and torchaudio do not load: {lines[-1]}", TORCH)]
    return [Finding("device", "ok", line) for line in done.stdout.splitlines()]


def _extras() -> list[Finding]:
    findings = []
    for extra in dict.fromkeys(EXTRA_OF.values()):
        modules = [module for module, its in EXTRA_OF.items() if its == extra]
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            detail = f"not installed: {', '.join(missing)}"
            findings.append(Finding(f"extra {extra}", "missing", detail, f'pip install "speechkit[{extra}]"'))
        else:
            findings.append(Finding(f"extra {extra}", "ok", ", ".join(modules)))
    return findings


def _programs() -> list[Finding]:
    findings = []
    for program, (purpose, mend) in PROGRAMS.items():
        path = shutil.which(program)
        if path is None:
            findings.append(Finding(program, "missing", f"not found; {purpose}", mend))
        else:
            findings.append(Finding(program, "ok", f"{path}; {purpose}"))
    return findings


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    detail = f"{free / 2**30:.1f} GiB free at {folder}"
    if free < LOW_DISK_BYTES:
        return Finding("disk", "missing", f"{detail}, which long recordings may fill", "free some space, or use --exp")
    return Finding("disk", "ok", detail)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
