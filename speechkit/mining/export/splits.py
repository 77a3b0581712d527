"""Train, dev and test with no document, recording or speaker in two of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from speechkit.data import Utterance
from speechkit.errors import UserError
from speechkit.mining.export.recordings import Manifest, recording_of, utterances_of

DEFAULT_SHARES = {"train": 0.8, "dev": 0.1, "test": 0.1}


@dataclass(frozen=True)
class Split:
    """Which split every component went to.

    A component is everything that hangs together through a shared document, recording or speaker.
    ``seconds`` is the audio in each split; ``notes`` says what the user should know about the result.
    """

    of_key: Mapping[str, str]
    seconds: Mapping[str, float]
    components: int
    notes: list[str] = field(default_factory=list)

    def of(self, utterance: Utterance) -> str:
        """The split of an utterance of the manifest."""
        return self.of_key[_keys(utterance)[0]]


def split_without_leak(manifest: Manifest, shares: Mapping[str, float] | None = None, seed: int = 0) -> Split:
    """Assign whole components to splits so that their audio comes near ``shares``.

    The largest components are placed first, each into the split that lacks most; ``seed`` decides among components
    of similar size. The result does not depend on the order of the manifest.

    Raises:
        UserError: if there are fewer components than splits, so that no split without a leak exists.
    """
    shares = dict(DEFAULT_SHARES if shares is None else shares)
    if len(shares) < 2 or any(not share > 0 for share in shares.values()):
        raise UserError(f"split shares {shares}: give at least two, each above 0, for example train=0.8 test=0.2")
    parent: dict[str, str] = {}
    seconds: dict[str, float] = {}
    count, unknown = 0, 0
    for utterance in utterances_of(manifest):
        keys = _keys(utterance)
        count += 1
        unknown += utterance.speaker is None
        for key in keys:
            parent.setdefault(key, key)
            _join(parent, keys[0], key)
        seconds[keys[0]] = seconds.get(keys[0], 0.0) + utterance.duration
    members: dict[str, list[str]] = {}
    for key in parent:
        members.setdefault(_root(parent, key), []).append(key)
    if len(members) < len(shares):
        raise UserError(_impossible(members, count, shares))
    chosen, filled = _placed(members, seconds, shares, seed)
    notes = _notes(filled, shares)
    if unknown:
        notes.append(
            f"{unknown} of {count} utterances name no speaker: a speaker who is heard in several recordings "
            "may be in several splits"
        )
    return Split(chosen, filled, len(members), notes)


def _keys(utterance: Utterance) -> list[str]:
    keys = [f"recording {recording_of(utterance)}"]
    if utterance.source is not None:
        keys.append(f"document {utterance.source.document}")
    if utterance.speaker is not None:
        keys.append(f"speaker {utterance.speaker}")
    return keys


def _root(parent: dict[str, str], key: str) -> str:
    root = key
    while parent[root] != root:
        root = parent[root]
    while parent[key] != root:
        parent[key], key = root, parent[key]
    return root


def _join(parent: dict[str, str], one: str, other: str) -> None:
    first, second = sorted((_root(parent, one), _root(parent, other)))
    parent[second] = first


def _placed(
    members: Mapping[str, list[str]], seconds: Mapping[str, float], shares: Mapping[str, float], seed: int
) -> tuple[dict[str, str], dict[str, float]]:
    audio = {root: sum(seconds.get(key, 0.0) for key in sorted(keys)) for root, keys in members.items()}
    total, weight = sum(audio.values()), sum(shares.values())
    filled = dict.fromkeys(shares, 0.0)
    chosen: dict[str, str] = {}

    def order(root: str) -> tuple[int, bytes]:
        # Sizes within a factor of two count as equal: among them the seed decides.
        size = int(math.log2(max(audio[root], 1e-3)))
        return -size, hashlib.blake2b(f"{seed}\0{root}".encode(), digest_size=8).digest()

    empty = set(shares)
    for left, root in zip(range(len(members), 0, -1), sorted(members, key=order), strict=True):
        names = list(shares)
        if left <= len(empty):
            names = [name for name in names if name in empty]  # the last ones must fill what is still empty
        split = max(names, key=lambda name: shares[name] / weight * total - filled[name])
        filled[split] += audio[root]
        empty.discard(split)
        chosen.update(dict.fromkeys(members[root], split))
    return chosen, filled


def _impossible(members: Mapping[str, list[str]], count: int, shares: Mapping[str, float]) -> str:
    if not members:
        return "the manifest has no utterances; there is nothing to split"
    largest = max(members.values(), key=len)
    kinds = {kind: sum(key.startswith(kind + " ") for key in largest) for kind in ("document", "recording", "speaker")}
    held = ", ".join(f"{number} {kind}{'s' * (number != 1)}" for kind, number in kinds.items() if number)
    parts = f"{len(members)} separate part{'s' * (len(members) != 1)}"
    return (
        f"no split into {', '.join(shares)} without a leak: {count} utterances fall into {parts} (the largest "
        f"hangs together through {held}); ask for fewer splits or mine more recordings"
    )


def _notes(filled: Mapping[str, float], shares: Mapping[str, float]) -> list[str]:
    total, weight = sum(filled.values()), sum(shares.values())
    notes = []
    for name, share in shares.items():
        got, wanted = filled[name] / total if total else 0.0, share / weight
        if abs(got - wanted) > max(0.05, 0.25 * wanted):
            notes.append(f"{name} holds {got:.0%} of the audio instead of {wanted:.0%}: the parts cannot be cut finer")
    return notes
