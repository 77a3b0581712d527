"""The command itself: lazy, quiet about tracebacks, honest in its exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import speechkit
from speechkit.cli import main as cli
from speechkit.errors import SpeechkitError, UserError

HEAVY = ("torch", "transformers", "numpy", "scipy", "librosa", "numba", "ray", "rich", "soundfile", "onnxruntime")


def python(code: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, **options)


def test_help_loads_no_heavy_library_and_no_command():
    code = (
        "import sys; from speechkit.cli.main import call; call(['--help']);"
        f"print(sorted(set({HEAVY}) & set(sys.modules)), [m for m in sys.modules if m.startswith('speechkit.')])"
    )
    last = python(code).stdout.splitlines()[-1]
    assert last.startswith("[] ")
    assert "speechkit.pipeline" not in last


def test_importing_speechkit_loads_neither_torch_nor_transformers():
    code = f"import sys, speechkit; print(sorted(set({HEAVY}) & set(sys.modules)))"
    assert python(code).stdout.strip() == "[]"


def test_help_lists_every_command_with_its_line(capsys):
    assert cli.call(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, (_, line) in cli.COMMANDS.items():
        assert name in shown
        assert " ".join(line.split()[:3]) in shown


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_has_examples_in_its_help(name, capsys):
    assert cli.call([name, "--help"]) == 0
    shown = capsys.readouterr().out
    subcommands = getattr(cli.load_command(name), "commands", {})
    for subcommand in subcommands:
        cli.call([name, subcommand, "--help"])
    shown += capsys.readouterr().out
    assert f"speechkit {name}" in shown
    assert "xample" in shown


def test_the_version_is_the_packages(capsys):
    assert cli.call(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"speechkit {speechkit.__version__}"


def test_a_mistyped_command_is_answered_with_the_nearest(capsys):
    assert cli.call(["statsu"]) == 2
    assert capsys.readouterr().err == "speechkit: no command 'statsu'; did you mean status?\n"


def test_a_wrong_option_is_one_line(capsys):
    assert cli.call(["run", "words", "--stagee", "2"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("x.wav: empty; record it again"), 2, "speechkit: x.wav: empty; record it again"),
        (SpeechkitError("the cluster is gone"), 1, "speechkit: the cluster is gone"),
        (KeyboardInterrupt(), 130, ""),
        (typer.Exit(3), 3, ""),
    ],
)
def test_every_end_has_its_exit_code_and_at_most_one_line(monkeypatch, capsys, error, code, line):
    def fail() -> None:
        raise error

    monkeypatch.setitem(cli.COMMANDS, "fail", ("x:y", "Fails."))
    monkeypatch.setattr(cli, "load_command", lambda name: typer.main.get_command(_app(fail)))
    assert cli.call(["fail"]) == code
    assert capsys.readouterr().err.strip() == line


def test_an_unforeseen_failure_is_one_line_with_a_log_and_debug_shows_the_traceback(monkeypatch, capsys):
    def fail() -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setitem(cli.COMMANDS, "fail", ("x:y", "Fails."))
    monkeypatch.setattr(cli, "load_command", lambda name: typer.main.get_command(_app(fail)))
    assert cli.call(["fail"]) == 1
    line = capsys.readouterr().err
    assert line.startswith("speechkit: RuntimeError: first line; traceback in ")
    log = Path(line.split("traceback in ")[1].strip())
    assert "RuntimeError: first line\nsecond line" in log.read_text()
    log.unlink()
    assert cli.call(["fail"], debug=True) == 1
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown
    Path(shown.split("traceback in ")[1].strip()).unlink()


def _app(function) -> typer.Typer:
    app = typer.Typer()
    app.command()(function)
    return app


def test_a_reader_that_leaves_early_is_no_error():
    code = "from speechkit.cli.main import main; main(['--help'])"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.stderr == ""
