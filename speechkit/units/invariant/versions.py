"""Clean and perturbed versions of recordings: their names, and a stage that encodes them.

The version of a recording ``ID`` is stored as ``ID#clean``, or as ``ID#KIND-N`` for the N-th draw of a perturbation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from speechkit.augment.perturbations import CLEAN, Perturbation, perturb
from speechkit.data.records import Utterance
from speechkit.encoders.load import load_encoder
from speechkit.encoders.stages import Encode, manifest_name
from speechkit.errors import AudioError
from speechkit.pipeline import Drop, Value
from speechkit.units.ued_measurement import read_noises

NOISES = {"train": "noises", "test": "test_noises"}
"""Input with the noises of each part."""
ROOMS = {"train": "rooms", "test": "test_rooms"}
"""Input with the recorded rooms of each part."""


def version(item: str, kind: str, number: int = 0) -> str:
    """The name under which a version's features are stored."""
    return f"{item}#{kind}" if kind == CLEAN else f"{item}#{kind}-{number}"


def versions_of(names: Sequence[str]) -> dict[str, list[str]]:
    """The stored versions of each recording."""
    versions: dict[str, list[str]] = {}
    for name in names:
        versions.setdefault(name.rpartition("#")[0], []).append(name)
    return versions


def numbered(kinds: Sequence[Perturbation]) -> list[tuple[Perturbation, int]]:
    """Perturbations with the number of the draw: one that is named twice is drawn twice."""
    draws: Counter[Perturbation] = Counter()
    numbers = []
    for kind in kinds:
        numbers.append((kind, draws[kind]))
        draws[kind] += 1
    return numbers


class EncodeVersions(Encode):
    """Every version of a recording in the layers that are needed.

    The stage's config has ``encoder``, ``layer``, ``begin_layer``, ``train_kinds`` and ``test_kinds``; ``custom.part``
    of a row is ``train`` or ``test``.
    """

    def setup(self, device: str) -> None:
        """Load the encoder, noises and rooms.

        Raises:
            ConfigError: if a layer does not exist.
            UserError: if a folder of noises holds none.
        """
        config = self.config
        self.kept = sorted({config.layer, config.begin_layer})
        self.encoder = self.below = load_encoder(config.encoder, layer=self.kept[-1], device=device)
        self.encoder.spec.require_rates("perturbations")
        # The codebooks need no perturbed training speech: the network's layer is enough.
        if config.begin_layer < self.kept[-1]:
            self.below = load_encoder(config.encoder, layer=config.begin_layer, device=device)
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
        named = version(row.id, CLEAN)
        records = self._frames(row, named, self.encoder.encode_layers(waveform), self.kept)
        encoder, layers = (self.below, [config.begin_layer]) if train else (self.encoder, self.kept)
        for kind, number in numbered(config.train_kinds if train else config.test_kinds):
            if isinstance(records, Drop):
                break
            perturbed = perturb(
                waveform,
                kind,
                f"{number} {row.id}",
                noises=self.noises[part],
                rooms=self.rooms[part],
                seed=self.seed,
            )
            further = self._frames(row, version(row.id, kind, number), encoder.encode_layers(perturbed), layers)
            records = further if isinstance(further, Drop) else records + further
        return records

    def _frames(self, row: Utterance, name: str, states: Any, layers: Sequence[int]) -> list[Value | Drop] | Drop:
        return self._layers(msgspec.structs.replace(row, custom={**(row.custom or {}), "id": name}), states, layers)
