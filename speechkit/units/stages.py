"""Stages of recipes of units: training and test recordings, and their units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from speechkit.data.held_out import hold_out
from speechkit.data.manifest import unique_ids
from speechkit.data.records import Utterance
from speechkit.errors import AudioError, ConfigError, UserError
from speechkit.pipeline import NEUTRAL, SHARED, Context, Drop, Worker
from speechkit.runtime import item_seed
from speechkit.units.sequences import UnitSequence

Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Layers = Annotated[tuple[Count, ...], SHARED, msgspec.Meta(min_length=1)]
Clusters = Annotated[tuple[Positive, ...], SHARED, msgspec.Meta(min_length=1)]
DROP_REASONS = ("too_short", "too_long", "test_speaker", "test_audio", "not_asked_for", "beyond_limit")


class HeldOutConfig(msgspec.Struct, frozen=True):
    """Which recordings teach and which judge.

    Attributes:
        train_manifest: recordings; nothing is needed but the sound.
        test_manifest: recordings of other speakers; it may be the same file when ``test_speakers`` are named.
        test_speakers: with commas between them, to judge by only these of ``test_manifest``; all when empty.
        max_train_seconds: most speech to learn from, drawn.
        min_seconds: shorter recordings are dropped.
        max_seconds: longer ones too.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    test_manifest: Annotated[str | None, SHARED] = None
    test_speakers: str = ""
    max_train_seconds: float = 36_000.0
    min_seconds: float = 0.5
    max_seconds: float = 35.0


def held_out(context: Context, *, draw_by_part: bool = False) -> tuple[list[Utterance], list[Utterance]]:
    """Training and test recordings of the manifests of a `HeldOutConfig`, with a drop for each that is left out.

    Args:
        context: of the stage.
        draw_by_part: the draw depends on ``train/ID`` rather than on the id alone.

    Raises:
        ConfigError: if a manifest is not named, or a speaker to judge by says nothing.
        UserError: if an id comes twice in a manifest, or a part has no recording.
    """
    config = context.config
    for field in ("train_manifest", "test_manifest"):
        if getattr(config, field) is None:
            raise ConfigError(f"{field} is not set; run with {field}=FILE.jsonl")
    speakers = frozenset(name.strip() for name in config.test_speakers.split(",") if name.strip())
    prefix = "train/" if draw_by_part else ""
    train, test, left_out = hold_out(
        unique_ids(context.read("train_manifest"), config.train_manifest),
        unique_ids(context.read("test_manifest"), config.test_manifest),
        context.inputs["train_manifest"],
        context.inputs["test_manifest"],
        lambda row: item_seed(context.seed, f"{prefix}{row.id}"),
        speakers=speakers,
        min_seconds=config.min_seconds,
        max_seconds=config.max_seconds,
        max_train_seconds=config.max_train_seconds,
    )
    for part, row, reason, detail in left_out:
        context.drop(f"{part}/{row.id}", reason, detail)
    if missing := speakers - {row.speaker for row in test}:
        raise ConfigError(f"prepare.test_speakers: {sorted(missing)[0]!r} says nothing in {config.test_manifest}")
    unnamed, silent = (sum(not row.speaker for row in rows) for rows in (train, test))
    if unnamed or silent:
        context.say(
            f"{unnamed} of {len(train)} training and {silent} of {len(test)} test recordings name no speaker; of "
            "these only pieces of the same audio are kept apart"
        )
    if not train or not test:
        raise UserError(
            f"{len(train)} training and {len(test)} test recordings are left; give at least one of each: other audio "
            "for each, and test_speakers if both manifests have the same speakers"
        )
    return train, test


class AssignConfig(msgspec.Struct, frozen=True):
    """Whose units.

    Attributes:
        codebook: that names the frames: a folder, or ``embedded-100`` and the like.
        encoder: that it takes frames of.
        layer: of the encoder; None for the last.
    """

    codebook: Annotated[str, SHARED] = "embedded-100"
    encoder: Annotated[str, SHARED] = "embedded"
    layer: Annotated[int | None, SHARED] = 0
    batch_size: Annotated[int, NEUTRAL] = 8


ASSIGN_DROPS = ("unreadable_audio", "no_units")


class AssignUnits(Worker):
    """The units of each recording, under the id of its row.

    Where the audio lies, the inputs ``train_manifest`` and ``test_manifest`` say.
    """

    def setup(self, device: str) -> None:
        """Load encoder and quantizer.

        Raises:
            UserError: if the one does not take what the other gives.
        """
        from speechkit.encoders import load_encoder
        from speechkit.units.quantizers import load_quantizer

        self.quantizer = load_quantizer(self.config.codebook)
        self.encoder: Any = load_encoder(self.config.encoder, layer=self.config.layer, device=device)
        self.quantizer.check(self.encoder.spec)

    def process(self, batch: Sequence[Utterance]) -> list[UnitSequence | Drop]:
        """Units of each row, or why it has none."""
        return [self._units(row) for row in batch]

    def _units(self, row: Utterance) -> UnitSequence | Drop:
        from speechkit.data.audio import read_waveform
        from speechkit.encoders.stages import encode_frames, manifest_name
        from speechkit.units.sequences import name_frames

        try:
            waveform = read_waveform(row, self.inputs[manifest_name(row)], sample_rate=self.encoder.spec.sample_rate)
        except AudioError as error:
            return Drop("unreadable_audio", str(error))
        frames = encode_frames(self.encoder, waveform)
        found = name_frames(row.id, frames, self.quantizer)[0]
        return found if found.units else Drop("no_units", "shorter than a frame")
