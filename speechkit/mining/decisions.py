"""What a curator decided about single sentences on the page of a run, and the mined set with it applied."""

from __future__ import annotations

import difflib
import heapq
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from speechkit.data.records import AlignmentItem, Utterance
from speechkit.errors import UserError
from speechkit.mining.records import Outcome

MAX_BYTES = 200_000_000
MAX_CHARACTERS = 10_000
SHOWN_DIGITS = 12


class Decision(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """About one place of a sentence; ``id`` is the one it has, or would have, in the manifest. ``text`` is an edit."""

    id: str
    decision: Literal["accept", "reject"]
    text: Annotated[str, Meta(max_length=MAX_CHARACTERS)] | None = None


class DecisionFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file that the page exports; ``run`` is `SelectionSummary.run`."""

    format: Literal["speechkit-decisions"]
    version: Literal[1]
    run: str
    decisions: list[Decision]


def read_decisions(path: Path | str) -> DecisionFile:
    """A file of decisions as the page exports it, checked in itself: one decision an id, texts that can be spoken.

    Raises:
        UserError: naming the file and, where one is at fault, the decision.
    """
    again = "export it again from the page of the mined set"
    try:
        size = Path(path).stat().st_size
        if size > MAX_BYTES:
            raise UserError(
                f"{path}: {size:,} bytes are more than {MAX_BYTES:,}, which no file of decisions has; {again}"
            )
        file = msgspec.json.decode(Path(path).read_bytes(), type=DecisionFile)
    except OSError as error:
        raise UserError(
            f"{path}: the decisions cannot be read ({error.strerror}); give the file that the page exported"
        ) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: is not a file of decisions ({_plain(str(error), 200)}); {again}") from error
    seen: set[str] = set()
    for number, each in enumerate(file.decisions, 1):
        where = f"{path}: decision {number}"
        if each.id in seen:
            raise UserError(f"{where}: {_quoted(each.id)} was decided before; keep one of the two")
        seen.add(each.id)
        if each.text is None:
            continue
        if each.decision == "reject":
            raise UserError(f"{where}: a rejected sentence has no text; accept it or take the text out")
        if not any(map(str.isalnum, each.text)):
            raise UserError(f"{where}: the text has no letter or digit; reject the sentence instead")
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in each.text if not letter.isspace()):
            raise UserError(f"{where}: the text has a control character; take it out")
    return file


def by_id(file: DecisionFile, path: Path | str, run: str, ids: Collection[str]) -> dict[str, Decision]:
    """The decisions of a file on this run, whose candidates have the given ids.

    Raises:
        UserError: if the file is of another run, or decides about what this run does not have.
    """
    if file.run != run:
        theirs = _quoted(file.run[:SHOWN_DIGITS])
        raise UserError(
            f"{path}: was exported from another run ({theirs}, this one is {run[:SHOWN_DIGITS]!r}); "
            "export the decisions from the report.html of this one"
        )
    for number, each in enumerate(file.decisions, 1):
        if each.id not in ids:
            raise UserError(
                f"{path}: decision {number}: this run has no sentence {_quoted(each.id)}; take the decision out"
            )
    return {each.id: each for each in file.decisions}


def _quoted(text: str) -> str:
    return f"'{_plain(text, 80)}'"


def _plain(text: str, most: int) -> str:
    # Text of an unknown file goes to a terminal: nothing that it would obey, and not a page of it.
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[:most])
    return shown if len(text) <= most else f"{shown}…"


def curated(
    kept: Iterable[Utterance], candidates: Iterable[Utterance], decisions: Mapping[str, Decision]
) -> Iterator[Utterance]:
    """The kept sentences and the accepted candidates, less the rejected, in order of recording and time.

    Accepted ones have ``custom["curator"]`` "accepted", or "edited" with the mined text as ``custom["mined_text"]``.
    """
    for row in in_order(kept, candidates):
        decision = decisions.get(row.id)
        custom = dict(row.custom or {})
        if decision is None:
            if "reason" not in custom:
                yield row
            continue
        if decision.decision == "reject":
            continue
        custom.pop("reason", None)
        text = row.text if decision.text is None else " ".join(decision.text.split())
        if text == row.text:
            yield msgspec.structs.replace(row, custom={**custom, "curator": "accepted"})
            continue
        custom.pop("character_errors", None)  # an estimate for the mined text
        custom |= {"curator": "edited", "mined_text": row.text or ""}
        yield msgspec.structs.replace(row, text=text, alignment=_fitted(row, text or ""), custom=custom)


def in_order(*sources: Iterable[Utterance]) -> Iterable[Utterance]:
    """Merge rows that are in order of recording, time and sentence."""
    return heapq.merge(*sources, key=_recording_and_time)


def _recording_and_time(row: Utterance) -> tuple[str, float, str]:
    custom = row.custom or {}
    return str(custom.get("recording", "")), row.offset, str(custom.get("sentence", ""))


def _fitted(row: Utterance, text: str) -> dict[str, list[AlignmentItem]] | None:
    """The word times of an edited sentence; none where the edit changed more than words one for one."""
    items = (row.alignment or {}).get("word", [])
    old, new = [item.symbol for item in items], text.split()
    # Words that were put in or taken out would need times that nobody measured.
    steps = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    if not items or any(end - begin != end_new - begin_new for _, begin, end, begin_new, end_new in steps):
        return None
    return {"word": [msgspec.structs.replace(item, symbol=word) for item, word in zip(items, new, strict=True)]}


def curated_outcome(outcome: Outcome, kept: Collection[str]) -> Outcome:
    """What became of a sentence after the decisions; ``kept`` are the sentences that are now in the set."""
    if outcome.kept == (outcome.sentence in kept):
        return outcome
    return msgspec.structs.replace(outcome, kept=not outcome.kept, reason="curator" if outcome.kept else None)


def counted(decisions: Iterable[Decision], candidates: Collection[str]) -> dict[str, int]:
    """How many decisions of each kind, for the data card; ``candidates`` are the ids that the miner had not kept."""
    counts: Counter[str] = Counter()
    for each in decisions:
        counts["accepted" if each.decision == "accept" else "rejected"] += 1
        counts["accepted against the miner"] += each.decision == "accept" and each.id in candidates
        counts["rejected against the miner"] += each.decision == "reject" and each.id not in candidates
        counts["accepted with an edited text"] += each.text is not None
    return {name: count for name, count in counts.items() if count}
