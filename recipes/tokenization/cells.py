"""Stages 1 and 5: cells of the Markov sources, and tables."""

from __future__ import annotations

from collections.abc import Sequence

from speechkit.io.atomic import write_text
from speechkit.lm.analysis.tokenization import TokenizationCell
from speechkit.lm.synthetic.markov import MarkovCell, entropy
from speechkit.lm.tokenization_stages import markov as source_cells
from speechkit.pipeline import Context
from speechkit.report.tokenization_table import markov_table, tokenization_table


def markov(context: Context) -> None:
    """Cells of all lags and vocabularies of the Markov sources, and their table."""
    cells = source_cells(context)
    context.write("markov.jsonl", cells)
    write_text(context.output("markov.md"), markov_table(cells, entropy(context.config.switch)).markdown())


def tabulate(context: Context) -> None:
    """Write both tables."""
    sources: Sequence[MarkovCell] = list(context.read("markov"))
    cells: Sequence[TokenizationCell] = list(context.read("cells"))
    tables = (markov_table(sources, entropy(sources[0].switch)), tokenization_table(cells))
    write_text(context.output("table.md"), "\n".join(table.markdown() for table in tables))
    best = min((cell for cell in cells if cell.steps), key=lambda cell: cell.costs.bits_per_second)
    context.main_figure = f"{best.vocabulary} tokens: {best.costs.bits_per_second:.1f} bits/s of unseen speakers' units"
