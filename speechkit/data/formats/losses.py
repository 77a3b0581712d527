"""Count what a format cannot represent, so that nothing is lost silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from speechkit.data.records import Utterance

# Fields that every format stores in its own way or derives from the audio file.
ALWAYS_HELD = frozenset({"id", "audio_filepath", "duration", "sample_rate"})
OPTIONAL = {
    field.encode_name: field.default for field in msgspec.structs.fields(Utterance) if field.name not in ALWAYS_HELD
}


class Written(msgspec.Struct):
    """Result of a conversion.

    ``rows`` is the number of rows written; ``lost`` counts, per field, the rows whose value the target cannot
    represent; ``changed`` counts changes by description; ``files`` are the written paths.
    """

    rows: int = 0
    lost: dict[str, int] = {}
    changed: dict[str, int] = {}
    files: list[str] = []


class Losses:
    """Counts non-empty fields that are not in ``held`` while records are iterated over."""

    def __init__(self, held: Iterable[str]) -> None:
        self.unheld = [(name, default) for name, default in OPTIONAL.items() if name not in frozenset(held)]
        self.rows = 0
        self.lost: Counter[str] = Counter()
        self.changed: Counter[str] = Counter()

    def passing(self, records: Iterable[Utterance]) -> Iterator[Utterance]:
        """Yield the records unchanged, counting their losses."""
        for record in records:
            self.rows += 1
            for name, default in self.unheld:
                if getattr(record, name) != default:
                    self.lost[name] += 1
            yield record

    def written(self, *files: Path | str) -> Written:
        """The result so far."""
        return Written(self.rows, dict(self.lost), dict(self.changed), [str(file) for file in files])
