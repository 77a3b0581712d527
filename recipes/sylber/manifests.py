"""What stages ask of the manifests that they are given."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from speechkit.data.manifest import unique_ids
from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.pipeline import Context

REMEDIES = {
    "too_short": "lower prepare.min_seconds or give longer ones",
    "too_long": "raise prepare.max_seconds or give shorter ones",
    "no_text": "give them texts",
    "beyond_limit": "raise prepare.max_train_seconds",
    "unreadable_audio": "mend the files or their paths",
    "test_speaker": "give recordings of other speakers",
    "no_alignment": "mend the texts, or give longer utterances",
    "disagreement": "mend the texts, or raise silver.max_deviation",
}
"""What to do about the drops of stages 1 to 3."""


def unique_rows(context: Context, name: str) -> list[Utterance]:
    """The rows of a manifest, which later stages look up by their ids.

    Raises:
        UserError: if there is none, or two have the same id.
    """
    rows = list(unique_ids(context.read(name), context.inputs[name]))
    if not rows:
        raise UserError(f"{context.inputs[name]}: holds no recording; give some")
    return rows


def most_dropped(reasons: Counter[str]) -> str:
    """The commonest reason of some drops, and what to do about it."""
    if not reasons:
        return "none was dropped"
    reason, count = reasons.most_common(1)[0]
    return f"{count} dropped as {reason}: {REMEDIES[reason]}"


class Part:
    """The recordings of a part that are kept, and why the others are not.

    Args:
        context: told of every drop.
        what: the recordings are, for the error, as "recordings to learn from".
        manifest: they come from.
    """

    def __init__(self, context: Context, what: str, manifest: Path) -> None:
        self.kept: list[Utterance] = []
        self._context, self._what, self._manifest = context, what, manifest
        self._reasons: Counter[str] = Counter()

    def drop(self, row: Utterance, reason: str, detail: str = "") -> None:
        """List a row as left out."""
        self._reasons[reason] += 1
        self._context.drop(row.id, reason, detail)

    def require(self) -> list[Utterance]:
        """The rows that are kept.

        Raises:
            UserError: if there is none.
        """
        if not self.kept:
            raise UserError(
                f"{self._manifest}: none of {self._reasons.total()} {self._what} is left, {most_dropped(self._reasons)}"
            )
        return self.kept
