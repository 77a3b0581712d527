"""Split a manifest without shared speakers, documents or recordings.

Rows that share such keys form connected components, which are assigned as a whole, so that nothing leaks.
"""

from __future__ import annotations

import hashlib
import math
import re
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from speechkit.data.manifest import read_manifest, rebase, write_manifest
from speechkit.data.records import Utterance, recording_of
from speechkit.errors import UserError
from speechkit.io.paths import refuse_inputs, safe_id

KEYS: dict[str, Callable[[Utterance], str | None]] = {
    "speaker": lambda row: row.speaker,
    "document": lambda row: None if row.source is None else row.source.document,
    "recording": recording_of,
}


class Target(msgspec.Struct, frozen=True):
    """Target size of a split: a ``share`` of the audio, ``hours``, or the remainder (both None)."""

    share: float | None = None
    hours: float | None = None


@dataclass(frozen=True)
class Split:
    """Assignment of components to splits.

    ``of_key`` maps each key value (``"speaker anna"``) to its split; ``seconds`` and ``groups`` are the audio and the
    number of components per split, ``components`` is their total, and ``notes`` are remarks for the user.
    """

    of_key: Mapping[str, str]
    seconds: Mapping[str, float]
    groups: Mapping[str, int]
    notes: list[str]
    by: tuple[str, ...]

    @property
    def components(self) -> int:
        """Number of components."""
        return sum(self.groups.values())

    def of(self, row: Utterance) -> str:
        """The split of a manifest row."""
        return self.of_key[_keys(row, self.by)[0]]


class SplitReport(msgspec.Struct):
    """Rows, hours and groups (connected speakers, documents or recordings) per split, and remarks."""

    rows: dict[str, int]
    hours: dict[str, float]
    groups: dict[str, int]
    files: list[str]
    notes: list[str]


def parse_targets(text: str) -> dict[str, Target]:
    """Parse targets such as ``train=0.9,dev=0.05,test=0.05`` or ``train=rest,dev=1h,test=30m``.

    Raises:
        UserError: if a part is malformed, shares exceed 1, or more than one split takes the rest.
    """
    targets: dict[str, Target] = {}
    for part in text.split(","):
        name, _, amount = (piece.strip() for piece in part.partition("="))
        number = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*(h|m|%)?", amount)
        named = bool(name) and safe_id(name) == name
        if not named or (number is None and amount != "rest"):
            fault = "" if named else f"{name!r} is not a valid name of a split, use letters and digits; "
            raise UserError(
                f"{part!r}: {fault}write NAME=0.9, NAME=90%, NAME=1.5h, NAME=30m or NAME=rest, separated by commas, "
                "for example train=0.8,dev=0.1,test=0.1"
            )
        if name in targets:
            raise UserError(f"split {name!r} is given twice; name each split once")
        if number is None:
            targets[name] = Target()
        elif number[2] in ("h", "m"):
            targets[name] = Target(hours=float(number[1]) / (60 if number[2] == "m" else 1))
        else:
            targets[name] = Target(share=float(number[1]) / (100 if number[2] == "%" else 1))
    check_targets(targets)
    return targets


def check_targets(targets: Mapping[str, Target]) -> None:
    """Raise UserError if the targets are inconsistent."""
    if len(targets) < 2:
        raise UserError("a split needs at least two parts, such as train=rest,test=1h")
    shares = math.fsum(target.share or 0.0 for target in targets.values())
    without_size = [name for name, target in targets.items() if target.share is None and target.hours is None]
    if any(
        not amount > 0 for target in targets.values() for amount in (target.share, target.hours) if amount is not None
    ):
        raise UserError("a split of size 0 would be empty; leave it out")
    if shares > 1 + 1e-6:
        raise UserError(f"the shares add up to {shares:g}; give at most 1 in total")
    if len(without_size) > 1:
        raise UserError(f"{' and '.join(without_size)} cannot both take the rest; give one of them a share or hours")
    if not without_size and shares < 1 - 1e-6:
        raise UserError(f"the shares add up to {shares:g} and no split takes the rest; write NAME=rest for one")


def split_manifest(
    path: Path | str,
    out: Path | str,
    targets: Mapping[str, Target],
    *,
    by: Sequence[str] = ("speaker",),
    seed: int = 0,
) -> SplitReport:
    """Write ``out/NAME.jsonl`` for each target; no value of a key in ``by`` occurs in two of them.

    Groups are connected components: with ``by=("speaker", "document")``, two speakers of one document are one group.
    Splits do not depend on the order of rows; rows keep their order.

    Raises:
        UserError: if a row lacks the key, there are fewer groups than splits, or a split would replace the manifest.
    """
    files = {name: Path(out) / f"{name}.jsonl" for name in targets}
    for file in files.values():
        refuse_inputs(file, [path])
    split = split_rows(read_manifest(path), targets, by=by, seed=seed, origin=str(path))
    rows = write_splits(path, split, files)
    hours = {name: seconds / 3600 for name, seconds in split.seconds.items()}
    return SplitReport(rows, hours, dict(split.groups), [str(file) for file in files.values()], split.notes)


def split_rows(
    rows: Iterable[Utterance],
    targets: Mapping[str, Target],
    *,
    by: Sequence[str],
    optional: Collection[str] = (),
    seed: int = 0,
    origin: str = "row",
) -> Split:
    """Split ``rows`` by `assign`; errors name ``origin`` and the row's number.

    Raises:
        UserError: if a row lacks a key in ``by`` that is not ``optional``, or there are fewer components than splits.
    """
    check_targets(targets)
    components = Components(by, optional)
    for number, row in enumerate(rows, 1):
        components.add(row, f"{origin}:{number}")
    return assign(components, targets, seed)


def write_splits(manifest: Path | str, split: Split, files: Mapping[str, Path]) -> dict[str, int]:
    """Write the rows of each split to its file, in manifest order; returns the row counts."""
    source = Path(manifest).parent
    return {
        name: write_manifest(
            file, rebase((row for row in read_manifest(manifest) if split.of(row) == name), source, file.parent)
        )
        for name, file in files.items()
    }


class Components:
    """Connected components of key values, linked by occurring in the same row.

    A component is named by its smallest key value, independently of row order. Rows may lack an ``optional`` key;
    ``missing`` counts them.

    Raises:
        UserError: if ``by`` is empty or names an unknown key.
    """

    def __init__(self, by: Sequence[str], optional: Collection[str] = ()) -> None:
        unknown = [key for key in by if key not in KEYS]
        if unknown or not by:
            raise UserError(f"cannot split by {', '.join(unknown) or 'nothing'}; choose from {', '.join(KEYS)}")
        self.by = tuple(by)
        self.optional = frozenset(optional)
        self.rows = 0
        self.missing: Counter[str] = Counter()
        self._parent: dict[str, str] = {}
        self._durations: dict[str, array[float]] = {}

    def add(self, row: Utterance, where: str) -> None:
        """Link the key values of ``row``.

        Raises:
            UserError: naming ``where`` if the row lacks a key that is not optional.
        """
        keys = _keys(row, self.by)
        if len(keys) < len(self.by):
            lacking = [name for name in self.by if KEYS[name](row) is None]
            needed = [name for name in lacking if name not in self.optional] or (lacking if not keys else [])
            if needed:
                raise UserError(f"{where}: {row.id!r} has no {needed[0]}; fill it in, or split by another key (--by)")
            self.missing.update(lacking)
        self.rows += 1
        for key in keys:
            self._parent.setdefault(key, key)
            first, second = sorted((self._root(keys[0]), self._root(key)))
            self._parent[second] = first
        self._durations.setdefault(keys[0], array("d")).append(row.duration)

    def members(self) -> dict[str, list[str]]:
        """Key values of each component, by component name."""
        members: dict[str, list[str]] = {}
        for key in self._parent:
            members.setdefault(self._root(key), []).append(key)
        return members

    def seconds(self) -> dict[str, float]:
        """Audio of each component in seconds, rounded once, so that it does not depend on row order."""
        return {
            name: math.fsum(seconds for key in keys for seconds in self._durations.get(key, ()))
            for name, keys in self.members().items()
        }

    def _root(self, key: str) -> str:
        parent = self._parent
        root = key
        while parent[root] != root:
            root = parent[root]
        while parent[key] != root:
            parent[key], key = root, parent[key]
        return root


def assign(components: Components, targets: Mapping[str, Target], seed: int = 0) -> Split:
    """Assign whole components to splits so that the audio of each split is near its target.

    The largest components are assigned first, each to the split with the largest deficit, and small ones balance the
    rest, so that small splits get many small components. ``seed`` orders components of similar size. The result does
    not depend on row order.

    Raises:
        UserError: if there are fewer components than splits, so that no leak-free split exists.
    """
    members, seconds = components.members(), components.seconds()
    if len(members) < len(targets):
        raise UserError(_impossible(components, members, targets))
    total = math.fsum(seconds.values())
    wanted = _wanted_seconds(targets, total)

    def order(name: str) -> tuple[int, bytes]:
        # Sizes within a factor of two are ties, broken by the seed.
        size = math.frexp(max(seconds[name], 1e-3))[1]
        return -size, hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest()

    of_key: dict[str, str] = {}
    filled = dict.fromkeys(targets, 0.0)
    groups = dict.fromkeys(targets, 0)
    for remaining, component in zip(range(len(members), 0, -1), sorted(members, key=order), strict=True):
        names = list(targets)
        empty = [name for name in names if not groups[name]]
        if remaining <= len(empty):
            names = empty  # the last components must go to empty splits
        split = max(names, key=lambda name: wanted[name] - filled[name])
        filled[split] += seconds[component]
        groups[split] += 1
        of_key.update(dict.fromkeys(members[component], split))
    notes = [*_notes_on_sizes(targets, wanted, filled), *_notes_on_missing_keys(components)]
    return Split(of_key, filled, groups, notes, components.by)


def _keys(row: Utterance, by: Sequence[str]) -> list[str]:
    return [f"{name} {value}" for name in by if (value := KEYS[name](row)) is not None]


def _wanted_seconds(targets: Mapping[str, Target], total: float) -> dict[str, float]:
    known = {name: total * target.share for name, target in targets.items() if target.share is not None}
    known |= {name: 3600 * target.hours for name, target in targets.items() if target.hours is not None}
    rest = max(total - math.fsum(known.values()), 0.0)
    return {name: known.get(name, rest) for name in targets}


def _impossible(components: Components, members: Mapping[str, list[str]], targets: Mapping[str, Target]) -> str:
    if not members:
        return "the manifest has no utterances; there is nothing to split"
    kinds = Counter(key.partition(" ")[0] for key in max(members.values(), key=len))
    members_text = ", ".join(f"{number} {kind}{'s' * (number != 1)}" for kind, number in sorted(kinds.items()))
    parts = f"{len(members)} separate part{'s' * (len(members) != 1)} by {', '.join(components.by)}"
    return (
        f"no split into {', '.join(targets)} without leakage: {components.rows} utterances form {parts} (the largest "
        f"is connected by {members_text}); ask for fewer splits, split by other keys or add recordings"
    )


def _notes_on_sizes(
    targets: Mapping[str, Target], wanted: Mapping[str, float], filled: Mapping[str, float]
) -> list[str]:
    total, requested = math.fsum(filled.values()), math.fsum(wanted.values())
    reason = "the parts cannot be split further"
    if requested > total * (1 + 1e-6):
        reason = f"the splits ask for {requested / 3600:.2f} h and there are {total / 3600:.2f} h"
    notes = []
    for name, target in targets.items():
        actual, share = (amount / total if total else 0.0 for amount in (filled[name], wanted[name]))
        if abs(actual - share) > max(0.05, 0.25 * share):
            actual_text, target_text = f"{actual:.0%} of the audio", f"{share:.0%}"
            if target.hours is not None:
                actual_text, target_text = f"{filled[name] / 3600:.2f} h", f"{target.hours:.2f} h"
            notes.append(f"{name} holds {actual_text} instead of {target_text}: {reason}")
    return notes


def _notes_on_missing_keys(components: Components) -> list[str]:
    return [
        f"{components.missing[key]} of {components.rows} utterances have no {key}: a {key} that is in several "
        f"{components.by[0]}s may be in several splits"
        for key in components.by
        if components.missing[key]
    ]
