"""Which recordings teach and which judge, as both recipes of units choose them."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

from speechkit.data.manifest import audio_path, unique_ids
from speechkit.data.records import Utterance
from speechkit.errors import ConfigError
from speechkit.pipeline import Context
from speechkit.runtime import item_seed


def choose(context: Context, *, draw_by_part: bool = False) -> tuple[list[Utterance], list[Utterance]]:
    """Training and test recordings of the manifests, with a reason for each that is left out.

    A speaker who judges teaches nothing, nor does a piece of the same audio, which tells apart what names no speaker.
    Training recordings are drawn up to ``max_train_seconds``.

    Args:
        context: of a stage that reads ``train_manifest`` and ``test_manifest`` and has the settings of both recipes.
        draw_by_part: the draw depends on ``train/ID`` rather than on the id alone.

    Raises:
        ConfigError: if a manifest is not named, or a speaker to judge by says nothing.
        UserError: if an id comes twice in a manifest.
    """
    config = context.config
    for field in ("train_manifest", "test_manifest"):
        if getattr(config, field) is None:
            raise ConfigError(f"{field} is not set; give it to all stages that read it: {field}=FILE")
    asked = {name.strip() for name in config.test_speakers.split(",") if name.strip()}
    test = []
    for row in _fitting(context, "test"):
        if asked and row.speaker not in asked:
            context.drop(f"test/{row.id}", "not_asked_for", f"speaker {row.speaker}")
        else:
            test.append(row)
    if missing := asked - {row.speaker for row in test}:
        raise ConfigError(f"prepare.test_speakers: {sorted(missing)[0]!r} says nothing in {config.test_manifest}")
    heard = {row.speaker for row in test} - {None}
    played = _Played(context.inputs["test_manifest"], test)
    prefix = "train/" if draw_by_part else ""
    train, total = [], 0.0
    for row in sorted(_fitting(context, "train"), key=lambda row: item_seed(context.seed, f"{prefix}{row.id}")):
        if row.speaker in heard:
            context.drop(f"train/{row.id}", "test_speaker", str(row.speaker))
        elif same := played.overlapping(context.inputs["train_manifest"], row):
            context.drop(f"train/{row.id}", "test_audio", f"the same audio as test/{same}")
        elif total + row.duration > config.max_train_seconds:
            context.drop(f"train/{row.id}", "beyond_limit", f"max_train_seconds is {config.max_train_seconds:g}")
        else:
            total += row.duration
            train.append(row)
    unnamed, silent = (sum(not row.speaker for row in rows) for rows in (train, test))
    if unnamed or silent:
        context.say(
            f"{unnamed} of {len(train)} training and {silent} of {len(test)} test recordings name no speaker; of "
            "these only pieces of the same audio are kept apart"
        )
    return train, test


class _Played:
    """Which pieces of which files judge."""

    def __init__(self, manifest: Path, rows: Sequence[Utterance]) -> None:
        pieces: dict[tuple[str, int], list[tuple[float, float, str]]] = {}
        for row in rows:
            pieces.setdefault(_file(manifest, row), []).append((*_span(row), row.id))
        self._pieces = {file: sorted(found) for file, found in pieces.items()}
        # Of the pieces up to each one, that which ends last.
        self._last: dict[tuple[str, int], list[tuple[float, str]]] = {}
        for file, found in self._pieces.items():
            last = self._last[file] = []
            for _, end, name in found:
                last.append(max(last[-1], (end, name)) if last else (end, name))

    def overlapping(self, manifest: Path, row: Utterance) -> str | None:
        """The id of a recording that holds some of the row's samples."""
        file = _file(manifest, row)
        if file not in self._pieces:
            return None
        begin, end = _span(row)
        before = bisect_left(self._pieces[file], (end,))
        if not before:
            return None
        last, name = self._last[file][before - 1]
        return name if last > begin else None


def _file(manifest: Path, row: Utterance) -> tuple[str, int]:
    return os.path.realpath(audio_path(manifest, row)), row.channel


def _span(row: Utterance) -> tuple[float, float]:
    """In seconds, of whole samples, so that pieces that only meet do not overlap."""
    begin, rate = row.offset_samples, max(row.sample_rate, 1)
    return begin / rate, (begin + row.num_samples) / rate


def _fitting(context: Context, part: str) -> Iterator[Utterance]:
    name = f"{part}_manifest"
    for row in unique_ids(context.read(name), getattr(context.config, name)):
        if row.duration < context.config.min_seconds:
            context.drop(f"{part}/{row.id}", "too_short", f"{row.duration:.2f} s")
        elif row.duration > context.config.max_seconds:
            context.drop(f"{part}/{row.id}", "too_long", f"{row.duration:.1f} s")
        else:
            yield row
