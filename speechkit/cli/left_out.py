"""How a command over many items continues after a bad one and reports it."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from speechkit.errors import ConfigError, MissingExtraError, SpeechkitError, UserError, shown

NOT_OF_ONE = (SpeechkitError, MemoryError, BrokenPipeError, typer.Exit, typer.Abort)
"""Errors that every other item would meet too."""


class LeftOut:
    """Items that a command could not process: each is reported on stderr at once, and the command exits with 2.

    Attributes:
        reasons: by the item's name.
    """

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def add(self, name: Path | str, reason: str) -> None:
        """Report an item and the reason."""
        item, why = shown(name), shown(reason)
        self.reasons[item] = why
        named = why.startswith(item) and why[len(item) : len(item) + 1] in (":", ".")  # not "short" in "shorter"
        about = "" if named else f"{item}: "
        print(f"speechkit: left out {about}{why}", file=sys.stderr)

    def one(self, name: Path | str, kind: str = "") -> _Item:
        """Process one item in a ``with`` block; an error becomes its reason, and the command continues after the block.

        An error that is not about the item ends the command, such as a wrong setting or a missing library.
        ``kind`` is a prefix of the reason, if reasons are counted by kind.
        """
        return _Item(self, name, kind)

    def end(self, done: int, what: str = "recordings", where: Path | None = None) -> None:
        """End the command after ``done`` items; ``where`` is the file with the reasons.

        Raises:
            UserError: if nothing was done.
            typer.Exit: with 2, if something was left out.
        """
        if not self.reasons:
            return
        if done:
            raise typer.Exit(UserError.exit_code)
        reasons = f"in {where}" if where else "above"
        raise UserError(f"none of {len(self.reasons)} {what} could be processed; the reasons are {reasons}")


def expand_folders(inputs: list[Path]) -> list[Path]:
    """The inputs, with the recordings below it in place of each folder; its other files are named on stderr.

    Raises:
        UserError: if a folder holds no recordings.
    """
    from speechkit.io.folders import find_audio

    paths: list[Path] = []
    for path in inputs:
        if not path.is_dir():
            paths.append(path)
            continue
        audio = find_audio(path)
        for entry in audio.skipped:
            print(
                f"speechkit: no recording: {shown(entry.path)} {shown(entry.problem or '')}".rstrip(), file=sys.stderr
            )
        if not audio.files:
            raise UserError(f"{shown(path)}: holds no recordings; give a folder with some, or a manifest")
        paths += audio.files
    return paths


class _Item:
    def __init__(self, left_out: LeftOut, name: Path | str, kind: str) -> None:
        self._left_out, self._name, self._kind = left_out, name, kind

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, UserError) and not isinstance(error, (ConfigError, MissingExtraError)):
            self._left_out.add(self._name, f"{self._kind}: {error}" if self._kind else str(error))
            return True
        if not isinstance(error, Exception) or isinstance(error, NOT_OF_ONE):
            return False
        lines = str(error).strip().splitlines()  # an unexpected error of this item; the others may be fine
        self._left_out.add(self._name, f"{type(error).__name__}: {lines[0] if lines else 'no message'}")
        return True
