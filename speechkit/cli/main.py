"""The `speechkit` command: a static table of commands, each loaded when it runs, and the error handling.

Exit codes: 0 done; 2 user error (one line says how to fix it); 1 system error (one line and the log's path);
130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer
import typer.core

from speechkit.errors import SpeechkitError, UserError

COMMANDS: dict[str, tuple[str, str]] = {
    "mine": ("speechkit.cli.mine:mine", "Turn recordings and documents into an aligned data set."),
    "documents": ("speechkit.cli.documents:documents", "Turn documents into sentences with their positions."),
    "align": ("speechkit.cli.align:app", "Align two texts, or a recording with its text."),
    "export": ("speechkit.cli.export:export", "Write a mined manifest in other formats, cut clips, split it."),
    "report": ("speechkit.cli.report:report", "Write the report of a mining run again."),
    "run": ("speechkit.cli.run:run", "Run the numbered stages of a recipe."),
    "status": ("speechkit.cli.run:status", "Show which stages of a recipe are fresh, stale or partly done."),
    "settings": ("speechkit.cli.run:list_settings", "List a recipe's settings: value, type, meaning."),
    "explain": ("speechkit.cli.run:explain", "Explain why a stage is stale: changed keys, old and new values."),
    "list": ("speechkit.cli.run:list_recipes", "List the available recipes."),
    "new": ("speechkit.cli.run:new", "Create a recipe that runs as it is."),
    "transcribe": ("speechkit.cli.asr:transcribe", "Recognise recordings of any length."),
    "separate": ("speechkit.cli.separate:separate", "Separate recordings into one track per speaker."),
    "features": ("speechkit.cli.features:features", "Extract features from any layer of a speech encoder."),
    "say": ("speechkit.cli.say:say", "Synthesise a text or a list of texts."),
    "convert": ("speechkit.cli.say:convert", "Convert a recording to another voice."),
    "syllables": ("speechkit.cli.syllables:app", "Segment speech into syllables and score segmentations."),
    "prepare": ("speechkit.cli.prepare:prepare", "Turn a downloaded corpus into manifests."),
    "manifest": ("speechkit.cli.manifest:app", "Check, count, split and convert manifests."),
    "score": ("speechkit.cli.score:score", "Error rates of recognisers side by side, with intervals and tests."),
    "leaderboard": ("speechkit.cli.leaderboard:leaderboard", "Recognisers on several test sets, with their average."),
    "score-meetings": (
        "speechkit.cli.score_meetings:score_meetings",
        "Error rates of meetings: cpWER, ORC-WER, tcpWER.",
    ),
    "score-separation": (
        "speechkit.cli.score_separation:score_separation",
        "Scores of separated speakers, with intervals and tests.",
    ),
    "score-tts": ("speechkit.cli.score_tts:score_tts", "Score synthetic speech against recordings."),
    "lm": ("speechkit.cli.lm:app", "Language models of text and of speech units."),
    "continue": ("speechkit.cli.continuing:continue_", "Continue speech with a unit language model."),
    "probe": ("speechkit.cli.probe:probe", "Probe frozen encoders, in one table."),
    "units": ("speechkit.cli.units:app", "Discrete units: train codebooks, assign, evaluate, BPE."),
    "vocode": ("speechkit.cli.vocode:app", "Synthesise speech from frames or units with a vocoder."),
    "ued": ("speechkit.cli.ued:ued", "Unit edit distance under changes of the sound."),
    "slue": ("speechkit.cli.slue:app", "Spoken language understanding: the SLUE tasks."),
    "doctor": ("speechkit.cli.doctor:doctor", "Check the installation and how to fix it."),
}
"""Name to (``module:function`` or ``module:typer app``, one line for the help)."""

Command = Any  # click's; newer versions of typer bundle it under another name


class LazyGroup(typer.core.TyperGroup):
    """Lists the commands without loading them, and loads the one that runs."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every name, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Command:
        """A command with only its name and help line, for lists."""
        if cmd_name not in COMMANDS:
            return None
        return typer.core.TyperCommand(cmd_name, help=COMMANDS[cmd_name][1], short_help=COMMANDS[cmd_name][1])

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Command, list[str]]:
        """Load the command that runs."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            close = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {close[0]}?" if close else "speechkit --help lists them"
            raise UserError(f"no command {args[0]!r}; {hint}")
        name, command, remaining = super().resolve_command(ctx, args)
        return name, load_command(name) if name in COMMANDS else command, remaining


def load_command(name: str) -> Command:
    """Import a command from its module."""
    module_name, _, attribute = COMMANDS[name][0].partition(":")
    loaded = getattr(importlib.import_module(module_name), attribute)
    if not isinstance(loaded, typer.Typer):
        wrapped = typer.Typer(add_completion=False, rich_markup_mode=None)
        wrapped.command(name)(loaded)
        loaded = wrapped
    command = typer.main.get_command(loaded)
    command.name = name
    return command


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn raw speech into data, representations and systems, and measure them.\n\n"
    "Every command has examples in its help: speechkit COMMAND --help. With --debug an error shows its traceback.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from speechkit import __version__

        typer.echo(f"speechkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Print the version."),
) -> None:
    """Options of `speechkit` itself."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    code = call([argument for argument in given if argument != "--debug"], debug=debug)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has closed the pipe; without this Python would report it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def call(arguments: list[str], *, debug: bool = False) -> int:
    """Run the command line; every failure becomes one line on stderr and an exit code."""
    try:
        code = typer.main.get_command(app).main(arguments, prog_name="speechkit", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except SpeechkitError as error:
        if debug:
            traceback.print_exc()
        return _tell(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort) as error:
        if isinstance(error.__cause__, EOFError):  # click treats any EOFError as an interruption
            return _tell(f"EOFError: {_first_line(error.__cause__)}{_log(error.__cause__)}", 1)
        return _tell("interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if hasattr(error, "format_message"):  # usage errors of click, bundled or not
            return _tell(error.format_message(), 2)
        if debug:
            traceback.print_exc()
        return _tell(f"{type(error).__name__}: {_first_line(error)}{_log(error)}", 1)


def _tell(message: str, code: int) -> int:
    print(f"speechkit: {message}", file=sys.stderr)
    return code


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no message"


def _log(error: Exception) -> str:
    """Write the traceback of an unexpected failure to a file, and return where."""
    path = Path(tempfile.gettempdir()) / f"speechkit-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write("".join(traceback.format_exception(error)))
    except OSError:
        return "; --debug shows the traceback"
    return f"; traceback in {path}"


if __name__ == "__main__":
    main()
