"""The `speechkit` command, also as ``python -m speechkit``; an interruption while it still loads is no traceback."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    try:
        from speechkit.cli.main import main as command

        command()
    except KeyboardInterrupt:
        import sys

        print("speechkit: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
