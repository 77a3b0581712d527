"""``python -m speechkit``: the same as the `speechkit` command."""

from speechkit.cli.main import main

main()
