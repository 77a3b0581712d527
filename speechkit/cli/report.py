"""`speechkit report`: the page of a mining run, made again from its stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
Make the page of a mining run again: one HTML file with plots, players and every sentence, that needs no network.

RUN is the folder that `speechkit mine` or `speechkit run mining` wrote. The recordings are read for the clips; where
they have moved, --audio says where they are now. What does not fit into the page lies beside it, in a folder called
after the page (report-audio), unless --no-beside is given.

Examples:

  speechkit report demo-out

  speechkit report exp/mining --out page.html --title "Evening bulletins" --max-megabytes 5

  speechkit report exp/mining --audio /mnt/archive/recordings
"""


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a mining run.")],
    out: Annotated[Path | None, typer.Option(help="The page to write; RUN/report.html if not given.")] = None,
    audio: Annotated[Path | None, typer.Option(help="The folder of the recordings, if it has moved.")] = None,
    title: Annotated[str | None, typer.Option(help="The heading of the page.")] = None,
    max_megabytes: Annotated[float, typer.Option(help="Largest page; clips fill what is left.")] = 8.0,
    beside: Annotated[bool, typer.Option(help="Put recordings that do not fit beside the page.")] = True,
    max_views: Annotated[int, typer.Option(help="How many alignments are drawn in full.")] = 12,
) -> None:
    """Make the page of RUN."""
    from speechkit.report.mining_page import render_mining_report
    from speechkit.report.mining_run import load_run

    data = load_run(run, audio=audio, title=title, max_views=max_views)
    page = render_mining_report(out or run / "report.html", data, max_megabytes=max_megabytes, beside=beside)
    typer.echo(f"{page} ({page.stat().st_size / 1e6:.1f} MB)")


report.__doc__ = EXAMPLES
