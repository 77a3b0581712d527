"""Clean and changed versions of recordings: their names, which of them are learned from, and a stage that encodes them.

The version of a recording ``ID`` is stored as ``ID#clean``, or as ``ID#KIND-N`` for the N-th drawing of a change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from speechkit.augment.perturbations import CLEAN, Perturbation, perturb
from speechkit.data.records import Utterance
from speechkit.encoders.load import load_encoder
from speechkit.encoders.stages import Encode, manifest_name
from speechkit.errors import AudioError
from speechkit.pipeline import Drop, Value
from speechkit.units.stages import Count
from speechkit.units.ued_measurement import read_noises

NOISES = {"train": "noises", "test": "test_noises"}
"""The input that holds the noises of each part."""
ROOMS = {"train": "rooms", "test": "test_rooms"}
"""The same of recorded rooms."""


class Versions(msgspec.Struct, frozen=True):
    """A number for each change of training recordings; those by further implementations are asked for."""

    time: Count = 1
    pitch: Count = 1
    room: Count = 1
    noise: Count = 1
    speaker: Count = 1
    telephone: Count = 1
    time_librosa: Count = 0
    time_ffmpeg: Count = 0
    pitch_librosa: Count = 0
    pitch_ffmpeg: Count = 0
    noise_made: Count = 0
    room_recorded: Count = 0


class Repeats(Versions, frozen=True):
    """How often each drawing is learned from."""

    time_librosa: Count = 1
    time_ffmpeg: Count = 1
    pitch_librosa: Count = 1
    pitch_ffmpeg: Count = 1
    noise_made: Count = 1
    room_recorded: Count = 1


def version(item: str, kind: str, number: int = 0) -> str:
    """The name under which a version's features are stored."""
    return f"{item}#{kind}" if kind == CLEAN else f"{item}#{kind}-{number}"


def versions_of(names: Sequence[str], repeats: Versions) -> dict[str, list[str]]:
    """Of each recording the stored features that are learned from: clean ones once, a change as often as asked for."""
    often = {CLEAN: 1} | msgspec.structs.asdict(repeats)
    versions: dict[str, list[str]] = {}
    for name in names:
        item, _, drawn = name.rpartition("#")
        versions.setdefault(item, []).extend([name] * often[drawn.partition("-")[0]])
    return versions


def learned_layers(layers: Sequence[int], begin_layer: int | None) -> tuple[int, ...]:
    """Those whose features heads take: that which they begin with, or those that are compared."""
    return tuple(sorted(set(layers))) if begin_layer is None else (begin_layer,)


class EncodeVersions(Encode):
    """Every version of a recording in every layer that is needed, each encoded once.

    The stage's config has ``encoder``, ``layers``, ``begin_layer``, ``versions``, ``test_kinds``, ``strength`` and
    ``dtype``; ``custom.part`` of a row is ``train`` or ``test``.
    """

    def setup(self, device: str) -> None:
        """Load the encoder and the noises.

        Raises:
            ConfigError: if a layer is not there.
            UserError: if a folder of noises holds none.
        """
        config = self.config
        self.learned = learned_layers(config.layers, config.begin_layer)
        self.kept = sorted({*config.layers, *self.learned})
        self.encoder = self.below = load_encoder(config.encoder, layer=self.kept[-1], device=device)
        self.encoder.spec.require_rates("changes of the sound")
        # Nothing is compared under the changes of training speech: what is learned from is enough.
        if self.learned[-1] < self.kept[-1]:
            self.below = load_encoder(config.encoder, layer=self.learned[-1], device=device)
        self.noises = {part: read_noises(self.inputs.get(name)) for part, name in NOISES.items()}
        self.rooms = {part: read_noises(self.inputs.get(name)) for part, name in ROOMS.items()}

    def process(self, batch: list[Utterance]) -> list[Any]:
        """A record with its frames for each version and layer, or why there is none."""
        return [self._versions(row) for row in batch]

    def _versions(self, row: Utterance) -> list[Value | Drop] | Drop:
        from speechkit.data.audio import read_waveform

        config, part = self.config, (row.custom or {})["part"]
        try:
            waveform = read_waveform(row, self.inputs[manifest_name(row)])
        except AudioError as error:
            return Drop("unreadable_audio", str(error))
        train = part == "train"
        counts: dict[Any, int] = dict.fromkeys(config.test_kinds, 1)
        if train:
            counts = msgspec.structs.asdict(config.versions)
        drawings: list[tuple[Perturbation, int]] = [(kind, n) for kind, count in counts.items() for n in range(count)]
        named = version(row.id, CLEAN)
        records = self._frames(row, named, self.encoder.encode_layers(waveform), self.kept)
        encoder, layers = (self.below, list(self.learned)) if train else (self.encoder, self.kept)
        for kind, number in drawings:
            if isinstance(records, Drop):
                break
            changed = perturb(
                waveform,
                kind,
                f"{number} {row.id}",
                config=config.strength,
                noises=self.noises[part],
                rooms=self.rooms[part],
                seed=self.seed,
            )
            further = self._frames(row, version(row.id, kind, number), encoder.encode_layers(changed), layers)
            records = further if isinstance(further, Drop) else records + further
        return records

    def _frames(self, row: Utterance, name: str, states: Any, layers: Sequence[int]) -> list[Value | Drop] | Drop:
        return self._layers(msgspec.structs.replace(row, custom={**(row.custom or {}), "id": name}), states, layers)
