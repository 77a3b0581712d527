"""Table of pairs: accuracy of each system, beside baselines without lexical knowledge."""

from __future__ import annotations

from collections.abc import Sequence

from speechkit.lm.pair_scores import PAIR_PROTOCOL, PairScore
from speechkit.report.results import Column, Table, percent


def pairs_table(scores: Sequence[PairScore]) -> Table:
    """A row per system and set."""
    rows = [
        [
            score.test,
            score.system,
            score.pairs,
            score.voices,
            percent(score.by_sum, score.sum_interval),
            percent(score.by_mean, score.mean_interval),
        ]
        for score in scores
    ]
    names = ("pairs", "voices", "right by sum, %", "right by mean, %")
    return Table(["set", "system", *(Column(name, numeric=True) for name in names)], rows, "Pairs")


def pairs_markdown(scores: Sequence[PairScore]) -> str:
    """The protocol and the table."""
    if not scores:
        return "No pairs: the test has no chapters of five utterances in a row, and no voices or sets were given.\n"
    return f"{PAIR_PROTOCOL} Chance is 50 %.\n\n{pairs_table(scores).markdown()}"
