"""`speechkit doctor`: what is installed, what is compatible, and the command that fixes what is not."""

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

from speechkit.errors import EXTRA_OF, install_line

CORE = ("transformers", "safetensors", "numpy", "numba", "soundfile", "soxr", "msgspec")
PYTHONS = ((3, 10), (3, 14))
TORCH_RELEASE = (2, 11)
PROGRAMS = {
    "tesseract": ("reads scanned documents", "apt-get install tesseract-ocr"),
    "ffmpeg": ("reads m4a and video", "apt-get install ffmpeg"),
}
LOW_DISK_BYTES = 5 * 2**30


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``fix`` is the command that fixes it."""

    name: str
    state: Literal["ok", "missing", "wrong"]
    detail: str
    fix: str = ""


def doctor(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check Python, torch, the libraries, devices, extras, programs and disk.

    Exits with 1 if something is wrong; a missing extra is not wrong.

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
            fix = f"\n{'':24s}-> {finding.fix}" if finding.fix else ""
            typer.echo(f"{sign[finding.state]:3s} {finding.name:18s} {finding.detail}{fix}")
    raise typer.Exit(1 if any(finding.state == "wrong" for finding in findings) else 0)


def examine() -> list[Finding]:
    """All checks."""
    return [_python(), _torch(), *_libraries(), *_devices(), _torchaudio(), *_extras(), *_programs(), _disk(Path.cwd())]


def _python() -> Finding:
    text = sys.version.split()[0]
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return Finding("python", "ok", f"{text} at {sys.executable}")
    return Finding("python", "wrong", f"{text} is outside 3.10 to 3.14", "make a new environment with Python 3.11")


def _torch() -> Finding:
    version = _version("torch")
    if version is None:
        return Finding("torch", "wrong", "not installed", install_line())
    release = tuple(int(part) for part in version.split("+")[0].split(".")[:2])
    if release < TORCH_RELEASE:
        return Finding("torch", "wrong", f"{version} is older than 2.11", 'pip install --upgrade "torch>=2.11"')
    return Finding("torch", "ok", version)


def _torchaudio() -> Finding:
    """Not needed here, but if it is installed, transformers loads it, and fails if it is broken."""
    version = _version("torchaudio")
    if version is None:
        return Finding("torchaudio", "missing", "not installed; only tests need it")
    detail = f"{version} beside torch {_version('torch')}"
    message = _failure("import torchaudio.functional")
    if message is None:
        return Finding("torchaudio", "ok", detail)
    detail += f" does not load, so transformers' models do not either: {message}"
    return Finding("torchaudio", "wrong", detail, "pip uninstall torchaudio")


def _libraries() -> list[Finding]:
    findings = []
    for name in CORE:
        version = _version(name)
        if version is not None:
            findings.append(Finding(name, "ok", version))
        else:
            findings.append(Finding(name, "wrong", "not installed", install_line()))
    return findings


def _devices() -> list[Finding]:
    code = "from speechkit.runtime import describe_devices; print(*describe_devices(), sep='\\n')"
    done = _python_process(code)
    if done.returncode:
        message = f"torch does not load: {_last_line(done)}"
        return [Finding("devices", "wrong", message, 'pip install --force-reinstall "torch>=2.11"')]
    return [Finding("device", "ok", line) for line in done.stdout.splitlines()]


def _failure(code: str) -> str | None:
    """The last line of the error of some Python code; None if it runs."""
    done = _python_process(code)
    return _last_line(done) if done.returncode else None


def _python_process(code: str) -> subprocess.CompletedProcess[str]:
    # A broken library may take its process down instead of raising an error.
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def _extras() -> list[Finding]:
    findings = []
    for extra in dict.fromkeys(EXTRA_OF.values()):
        if extra == "torchaudio":
            continue  # it has its own line
        modules = [module for module, its in EXTRA_OF.items() if its == extra]
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            detail = f"not installed: {', '.join(missing)}"
            findings.append(Finding(f"extra {extra}", "missing", detail, install_line(extra)))
        else:
            findings.append(Finding(f"extra {extra}", "ok", ", ".join(modules)))
    return findings


def _programs() -> list[Finding]:
    findings = []
    for program, (purpose, fix) in PROGRAMS.items():
        path = shutil.which(program)
        if path is None:
            findings.append(Finding(program, "missing", f"not found; {purpose}", fix))
        else:
            findings.append(Finding(program, "ok", f"{path}; {purpose}"))
    return findings


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    detail = f"{free / 2**30:.1f} GiB free at {folder}"
    if free < LOW_DISK_BYTES:
        return Finding(
            "disk", "missing", f"{detail}, which long recordings may exceed", "free some space, or use --exp"
        )
    return Finding("disk", "ok", detail)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
