"""The `speechkit` command, also as ``python -m speechkit``; an interruption while it still loads is no traceback."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line."""
    _speak_utf8()
    try:
        from speechkit.cli.main import main as command

        command()
    except KeyboardInterrupt:
        print("speechkit: interrupted", file=sys.stderr)
        sys.exit(130)


def _speak_utf8() -> None:
    """Begin anew with UTF-8 where the locale has another encoding: a manifest's paths and texts are Unicode.

    Python chooses once, at its start, how it encodes file names and what it prints. In the C locale without its UTF-8
    mode that is ASCII, and neither could be opened or printed.
    """
    if os.name != "posix" or sys.flags.utf8_mode or sys.getfilesystemencoding().lower().replace("-", "") == "utf8":
        return
    os.environ["PYTHONUTF8"] = "1"  # for the processes that it starts, too
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


if __name__ == "__main__":
    main()
