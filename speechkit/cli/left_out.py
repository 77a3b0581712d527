"""The one way in which a command that does many items goes on after a bad one, and accounts for it."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from speechkit.errors import ConfigError, MissingExtraError, SpeechkitError, UserError, shown

NOT_OF_ONE = (SpeechkitError, MemoryError, BrokenPipeError, typer.Exit, typer.Abort)
"""Errors that the next item would meet, too."""


class LeftOut:
    """What a command could not do: each item is named on the error stream at once, and the command ends with 2.

    Attributes:
        reasons: by the item's name.
    """

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def add(self, name: Path | str, reason: str) -> None:
        """Name an item and why it is left out."""
        item, said = shown(name), shown(reason)
        self.reasons[item] = said
        about = "" if said.startswith(item) else f"{item}: "
        print(f"speechkit: left out {about}{said}", file=sys.stderr)

    def one(self, name: Path | str, kind: str = "") -> _Item:
        """Do one item in a ``with`` block; what goes wrong with it is its reason, and the command goes on behind it.

        An error that is not about the item alone ends the command: of settings, or of a library that is not there.
        ``kind`` is put before the reason, where reasons are counted by kind.
        """
        return _Item(self, name, kind)

    def end(self, done: int, what: str = "recordings", where: Path | None = None) -> None:
        """End the command after ``done`` items; ``where`` is the file that holds the reasons.

        Raises:
            UserError: if nothing was done.
            typer.Exit: with 2, if something was left out.
        """
        if not self.reasons:
            return
        if done:
            raise typer.Exit(UserError.exit_code)
        why = f"{where} says" if where else "the lines above say"
        raise UserError(f"none of {len(self.reasons)} {what} could be done; {why} why")


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
        lines = str(error).strip().splitlines()  # nobody foresaw it; the other items may be well
        self._left_out.add(self._name, f"{type(error).__name__}: {lines[0] if lines else 'no message'}")
        return True
