"""Splits of a manifest that share no speaker, document or recording."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from speechkit.data.manifest import read_manifest, rebase, write_manifest
from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.io.paths import safe_id

KEYS: dict[str, Callable[[Utterance], str | None]] = {
    "speaker": lambda row: row.speaker,
    "document": lambda row: None if row.source is None else row.source.document,
    "recording": lambda row: row.audio_filepath,
}


class Target(msgspec.Struct, frozen=True):
    """How much of the audio a split gets: a ``share`` of all, ``hours``, or (both None) what is left."""

    share: float | None = None
    hours: float | None = None


class SplitReport(msgspec.Struct):
    """Rows and hours of each split, and how many groups (speakers, documents or recordings that hang together)."""

    rows: dict[str, int]
    hours: dict[str, float]
    groups: dict[str, int]
    files: list[str]


def parse_targets(text: str) -> dict[str, Target]:
    """``train=0.9,dev=0.05,test=0.05`` or ``train=rest,dev=1h,test=30m`` as targets.

    Raises:
        UserError: if a part is malformed, shares exceed 1, or more than one split takes the rest.
    """
    targets: dict[str, Target] = {}
    for part in text.split(","):
        name, _, amount = (piece.strip() for piece in part.partition("="))
        number = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*(h|m|%)?", amount)
        if not name or safe_id(name) != name or (number is None and amount != "rest"):
            raise UserError(f"{part!r}: write NAME=0.9, NAME=90%, NAME=1.5h, NAME=30m or NAME=rest, parted by commas")
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
    """Raise UserError if the targets contradict each other."""
    if len(targets) < 2:
        raise UserError("a split needs at least two parts, such as train=rest,test=1h")
    shares = sum(target.share or 0.0 for target in targets.values())
    rest = [name for name, target in targets.items() if target.share is None and target.hours is None]
    if shares > 1 + 1e-9:
        raise UserError(f"the shares add up to {shares:g}; give at most 1 together")
    if len(rest) > 1:
        raise UserError(f"{' and '.join(rest)} cannot both take the rest; give one of them a share or hours")
    if not rest and abs(shares - 1) > 1e-6:
        raise UserError(f"the shares add up to {shares:g} and no split takes the rest; write NAME=rest for one")
    if any(target.share == 0 or target.hours == 0 for target in targets.values()):
        raise UserError("a split of size 0 would be empty; leave it out")


def split_manifest(
    path: Path | str,
    out: Path | str,
    targets: Mapping[str, Target],
    *,
    by: Sequence[str] = ("speaker",),
    seed: int = 0,
) -> SplitReport:
    """Write ``out/NAME.jsonl`` for each target; no value of a key in ``by`` is in two of them.

    Groups are what hangs together through the keys: with ``by=("speaker", "document")``, two speakers who read from
    one document are one group. Groups are placed whole, in an order given by ``seed`` and their names alone, so that
    the same rows in another order give the same splits. Rows keep their order.

    Raises:
        UserError: if a row lacks the key, or there are fewer groups than splits.
    """
    check_targets(targets)
    unknown = [key for key in by if key not in KEYS]
    if unknown or not by:
        raise UserError(f"cannot split by {', '.join(unknown) or 'nothing'}; choose from {', '.join(KEYS)}")
    groups = _Groups(by)
    for number, row in enumerate(read_manifest(path), 1):
        groups.add(f"{path}:{number}", row)
    chosen = _place(groups.seconds_by_group(), targets, seed, by)
    out, source = Path(out), Path(path).parent
    report = SplitReport({}, {}, {}, [])
    placed = Counter(chosen.values())
    for name in targets:
        hours = [0.0]
        file = out / f"{name}.jsonl"

        def rows(name: str = name, hours: list[float] = hours) -> Iterable[Utterance]:
            for row in read_manifest(path):
                if chosen[groups.group_of(row)] == name:
                    hours[0] += row.duration / 3600
                    yield row

        report.rows[name] = write_manifest(file, rebase(rows(), source, out))
        report.hours[name] = hours[0]
        report.groups[name] = placed[name]
        report.files.append(str(file))
    return report


class _Groups:
    """Union of key values that meet in a row; each group is named by its smallest member."""

    def __init__(self, by: Sequence[str]) -> None:
        self.by = by
        self.parent: dict[str, str] = {}
        self.seconds: dict[str, float] = {}

    def keys(self, row: Utterance) -> list[str]:
        return [f"{name}:{value}" for name in self.by if (value := KEYS[name](row)) is not None]

    def add(self, place: str, row: Utterance) -> None:
        keys = self.keys(row)
        if len(keys) < len(self.by):
            missing = [name for name in self.by if KEYS[name](row) is None]
            raise UserError(f"{place}: {row.id!r} has no {missing[0]}; fill it in, or split by another key (--by)")
        first = self.root(keys[0])
        for key in keys[1:]:
            other = self.root(key)
            if other != first:
                first, joined = min(first, other), max(first, other)
                self.parent[joined] = first
        self.seconds[keys[0]] = self.seconds.get(keys[0], 0.0) + row.duration

    def root(self, key: str) -> str:
        parent = self.parent
        root = key
        while (above := parent.setdefault(root, root)) != root:
            root = above
        while parent[key] != root:
            parent[key], key = root, parent[key]
        return root

    def group_of(self, row: Utterance) -> str:
        return self.root(self.keys(row)[0])

    def seconds_by_group(self) -> dict[str, float]:
        totals: dict[str, float] = {}
        for key, amount in self.seconds.items():
            root = self.root(key)
            totals[root] = totals.get(root, 0.0) + amount
        return totals


def _place(seconds: Mapping[str, float], targets: Mapping[str, Target], seed: int, by: Sequence[str]) -> dict[str, str]:
    """Small splits are filled first, each up to its target within half a group; the largest takes what is left."""
    if len(seconds) < len(targets):
        raise UserError(
            f"{len(targets)} splits need at least as many groups by {' and '.join(by)}, and there are {len(seconds)}; "
            "split by another key (--by) or into fewer parts"
        )
    total = sum(seconds.values())
    wanted = {
        name: total * target.share if target.share is not None else 3600 * target.hours if target.hours else None
        for name, target in targets.items()
    }
    known = sum(amount for amount in wanted.values() if amount is not None)
    sizes = {name: max(total - known, 0.0) if amount is None else amount for name, amount in wanted.items()}
    # The split that takes the rest comes last; without one, the largest.
    order = sorted(sizes, key=lambda name: (wanted[name] is None, sizes[name], name))
    left = sorted(seconds, key=lambda group: hashlib.blake2b(f"{seed}|{group}".encode(), digest_size=8).digest())
    chosen: dict[str, str] = {}
    for position, name in enumerate(order[:-1]):
        filled, taken = 0.0, set[str]()
        spare = len(left) - (len(order) - 1 - position)  # every later split needs a group of its own
        for group in left:
            if len(taken) < spare and filled + seconds[group] / 2 <= sizes[name]:
                filled += seconds[group]
                taken.add(group)
        if not taken:
            taken.add(min(left, key=lambda group: (seconds[group], left.index(group))))
        chosen.update(dict.fromkeys(taken, name))
        left = [group for group in left if group not in taken]
    chosen.update(dict.fromkeys(left, order[-1]))
    return chosen
