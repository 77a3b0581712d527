"""`speechkit report`: the report of a mining run, written again from its stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
Write the report of a mining run again: one HTML file with plots, players and every sentence, without network access.

RUN is the folder written by `speechkit mine` or `speechkit run mining`. The recordings are read for the clips; if they
have moved, give their new folder by --audio. Audio that does not fit into the page is written to a folder next to it
(report-audio), unless --no-beside is given.

Examples:

  speechkit report demo-out

  speechkit report exp/mining --out page.html --title "Evening bulletins" --max-megabytes 5

  speechkit report exp/mining --audio /mnt/archive/recordings
"""


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a mining run.")],
    out: Annotated[Path | None, typer.Option(help="Output file; RUN/report.html if not given.")] = None,
    audio: Annotated[Path | None, typer.Option(help="The folder of the recordings, if it has moved.")] = None,
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
    max_megabytes: Annotated[float, typer.Option(help="Maximum size of the page, including clips.")] = 8.0,
    beside: Annotated[bool, typer.Option(help="Write audio that does not fit to a folder next to the page.")] = True,
    max_views: Annotated[int, typer.Option(help="Number of alignments drawn in full.")] = 12,
) -> None:
    """Write the report of RUN."""
    from speechkit.report.mining_page import render_mining_report
    from speechkit.report.mining_run import load_run

    data = load_run(run, audio=audio, title=title, max_views=max_views)
    page = render_mining_report(out or run / "report.html", data, max_megabytes=max_megabytes, beside=beside)
    typer.echo(f"{page} ({page.stat().st_size / 1e6:.1f} MB)")


report.__doc__ = EXAMPLES
