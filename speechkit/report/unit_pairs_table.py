"""Table of pairs: accuracy of each system, beside baselines without lexical knowledge."""

from __future__ import annotations

from collections.abc import Sequence

from speechkit.lm.pair_scores import PAIR_PROTOCOL, PairScore
from speechkit.report.results import Column, Table, percent


def pairs_table(scores: Sequence[PairScore]) -> Table:
    """A row for each system on each set."""
    rows = [
        [
            each.test,
            each.system,
            each.pairs,
            each.voices,
            percent(each.by_sum, each.sum_interval),
            percent(each.by_mean, each.mean_interval),
        ]
        for each in scores
    ]
    names = ("pairs", "voices", "right by sum, %", "right by mean, %")
    return Table(["set", "system", *(Column(name, numeric=True) for name in names)], rows, "Pairs")


def pairs_markdown(scores: Sequence[PairScore]) -> str:
    """The protocol and the table."""
    if not scores:
        return "No pairs: the test has no chapters of five utterances in a row, and no voices or sets were given.\n"
    return f"{PAIR_PROTOCOL} Chance is 50 %.\n\n{pairs_table(scores).markdown()}"
