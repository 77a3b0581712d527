"""One call that scores texts or files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechkit.errors import UserError
from speechkit.metrics.comparison import RateComparison, compare
from speechkit.metrics.sides import Missing, match_sides, read_sides
from speechkit.metrics.transcript_records import Transcript

Texts = Mapping[str, str]


def score(
    references: Texts | Path | str,
    hypotheses: Mapping[str, Texts | Path | str],
    *,
    missing: Missing = "error",
    **options: Any,
) -> RateComparison:
    """Error rates of recognisers side by side, with intervals and paired tests.

        scores = score({"a": "good morning"}, {"small": {"a": "good moaning"}}, normalizers=["english"])
        scores.tables[0].systems[0].wer.rate

    Args:
        references: text by id, or a file that `speechkit score` reads.
        hypotheses: likewise, for each system by name.
        missing: treatment of missing hypotheses, see `match_sides`.
        options: see `speechkit.metrics.compare`: normalizers, by, resamples, seed, ...

    Raises:
        UserError: if texts and files are mixed, ids do not match, or a file cannot be read.
    """
    given = [references, *hypotheses.values()]
    if all(isinstance(each, (str, Path)) for each in given):
        named = [f"{name}={path}" for name, path in hypotheses.items()]
        sides = read_sides(Path(str(references)), named, missing=missing)
    elif isinstance(references, Mapping):
        systems = {
            name: [Transcript(key, text) for key, text in _texts(name, texts)] for name, texts in hypotheses.items()
        }
        sides = match_sides([Transcript(key, text) for key, text in references.items()], systems, missing=missing)
    else:
        raise UserError("the references are a file and a system's hypotheses are texts; give files or texts of all")
    return compare(sides, **options).comparison


def _texts(name: str, texts: Texts | Path | str) -> Any:
    if not isinstance(texts, Mapping):
        raise UserError(f"{name}: its hypotheses are a file and the references are texts; give files or texts of all")
    return texts.items()
