"""Conditions that make a score fail, for continuous integration: ``wer>12.5``, ``cer>=4``, ``worse``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

import msgspec

from speechkit.errors import ConfigError, UserError
from speechkit.metrics.comparison import SIGNIFICANT, RateComparison, SystemRates

_CONDITION = re.compile(r"\s*(?P<what>[a-z]+)\s*(?P<how>>=|<=|>|<)\s*(?P<bound>[0-9]+(?:\.[0-9]+)?)\s*%?\s*\Z")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_VALUES: dict[str, Callable[[SystemRates], float | None]] = {
    "wer": lambda s: s.wer.rate,
    "cer": lambda s: None if s.cer is None else s.cer.rate,
    "ser": lambda s: s.sentence_error_rate,
    "sub": lambda s: s.wer.substitutions / max(1, s.wer.tokens),
    "del": lambda s: s.wer.deletions / max(1, s.wer.tokens),
    "ins": lambda s: s.wer.insertions / max(1, s.wer.tokens),
}


class GateError(UserError):
    """A score crossed its bound: the command prints one line and exits with 2."""


class Gate(msgspec.Struct, frozen=True):
    """A condition as written; ``bound`` is in percent. ``worse`` has no bound."""

    text: str
    what: str
    how: str = ""
    bound: float = 0.0


def parse_gate(text: str) -> Gate:
    """A condition from its text.

    Raises:
        ConfigError: if it is invalid; valid conditions are listed.
    """
    if text.strip() == "worse":
        return Gate("worse", "worse")
    match = _CONDITION.match(text)
    if not match or match["what"] not in _VALUES:
        raise ConfigError(
            f"{text!r} is not a condition; write one of {', '.join(_VALUES)}, a sign of > >= < <= and percent, for "
            'example "wer>12.5", or "worse"'
        )
    return Gate(text.strip(), match["what"], match["how"], float(match["bound"]))


def failures(gate: Gate, comparison: RateComparison) -> list[str]:
    """A sentence for each system that meets the condition under the first normaliser.

    ``worse``: a later system's word error rate is above that of the first, with an adjusted p-value under 0.05.

    Raises:
        UserError: if the condition needs a rate that was not computed.
    """
    table = comparison.tables[0]
    under = f"under the normaliser {table.normalizer.name} version {table.normalizer.version}"
    if gate.what == "worse":
        if len(table.systems) < 2:
            raise UserError("worse: compares later systems with the first; give two hypotheses or more")
        return [
            f"{pair.second} is worse than {pair.first} by {-100 * pair.bootstrap.difference:.2f} points "
            f"(adjusted p = {pair.holm_p:.3g}) {under}"
            for pair in table.pairs
            if pair.first == table.systems[0].name
            and pair.bootstrap is not None
            and pair.holm_p is not None
            and pair.bootstrap.difference < 0
            and pair.holm_p < SIGNIFICANT
        ]
    failed = []
    for system in table.systems:
        value = _VALUES[gate.what](system)
        if value is None:
            raise UserError(f"{gate.text}: no character error rate was computed; add --cer")
        if _COMPARE[gate.how](100 * value, gate.bound):
            failed.append(f"{gate.what} of {system.name} is {100 * value:.2f} % ({gate.text}) {under}")
    return failed
