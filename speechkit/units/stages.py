"""Shared stages of unit recipes: training and test recordings, and unit assignment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from speechkit.data.held_out import hold_out
from speechkit.data.manifest import unique_ids
from speechkit.data.records import Utterance
from speechkit.encoders.load import encoder_digest
from speechkit.errors import AudioError, ConfigError, UserError
from speechkit.pipeline import NEUTRAL, SHARED, Context, Drop, Output, Resources, Stage, Worker, model
from speechkit.pipeline.stage import External, StageInput
from speechkit.runtime import item_seed
from speechkit.units.quantizers import quantizer_digest
from speechkit.units.sequences import UnitSequence

Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Layers = Annotated[tuple[Count, ...], SHARED, msgspec.Meta(min_length=1)]
Clusters = Annotated[tuple[Positive, ...], SHARED, msgspec.Meta(min_length=1)]
DROP_REASONS = ("too_short", "too_long", "test_speaker", "test_audio", "not_asked_for", "beyond_limit")


class HeldOutConfig(msgspec.Struct, frozen=True):
    """Training and test recordings.

    Attributes:
        train_manifest: training recordings; only audio is needed.
        test_manifest: recordings of other speakers; may be the same file if ``test_speakers`` are given.
        test_speakers: comma-separated speakers of ``test_manifest`` to test on; all if empty.
        max_train_seconds: maximum amount of training speech, sampled.
        min_seconds: shorter recordings are dropped.
        max_seconds: longer recordings are dropped.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    test_manifest: Annotated[str | None, SHARED] = None
    test_speakers: str = ""
    max_train_seconds: float = 36_000.0
    min_seconds: float = 0.5
    max_seconds: float = 35.0


def held_out(context: Context, *, draw_by_part: bool = False) -> tuple[list[Utterance], list[Utterance]]:
    """Training and test recordings of the manifests of a `HeldOutConfig`, with a drop for each excluded recording.

    Args:
        context: of the stage.
        draw_by_part: seed the sampling with ``train/ID`` instead of the id.

    Raises:
        ConfigError: if a manifest is not set, or a test speaker has no recordings.
        UserError: if a manifest has a duplicate id, or a part is empty.
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
        raise ConfigError(
            f"prepare.test_speakers: {sorted(missing)[0]!r} has no recordings in {config.test_manifest}; fix the name"
        )
    unnamed, unnamed_test = (sum(not row.speaker for row in rows) for rows in (train, test))
    if unnamed or unnamed_test:
        context.say(
            f"{unnamed} of {len(train)} training and {unnamed_test} of {len(test)} test recordings have no speaker; "
            "for these, training and test are disjoint in audio files only"
        )
    if not train or not test:
        raise UserError(
            f"{len(train)} training and {len(test)} test recordings are left; give at least one of each: other audio "
            "for each, and test_speakers if both manifests have the same speakers"
        )
    return train, test


class AssignConfig(msgspec.Struct, frozen=True):
    """Quantizer and encoder.

    Attributes:
        codebook: folder of the quantizer, or ``embedded-100`` and the like.
        encoder: encoder of its features.
        layer: of the encoder; None for the last.
    """

    codebook: Annotated[str, SHARED] = "embedded-100"
    encoder: Annotated[str, SHARED] = "embedded"
    layer: Annotated[int | None, SHARED] = 0
    batch_size: Annotated[int, NEUTRAL] = 8


ASSIGN_DROPS = ("unreadable_audio", "no_units")


class AssignUnits(Worker):
    """Units of each recording, by the id of its row.

    Audio paths are relative to the inputs ``train_manifest`` and ``test_manifest``.
    """

    def setup(self, device: str) -> None:
        """Load encoder and quantizer.

        Raises:
            UserError: if they are incompatible.
        """
        from speechkit.encoders import load_encoder
        from speechkit.units.quantizers import load_quantizer

        self.quantizer = load_quantizer(self.config.codebook)
        self.encoder: Any = load_encoder(self.config.encoder, layer=self.config.layer, device=device)
        self.quantizer.check(self.encoder.spec)

    def process(self, batch: Sequence[Utterance]) -> list[UnitSequence | Drop]:
        """Units of each row, or the reason to drop it."""
        return [self._units(row) for row in batch]

    def _units(self, row: Utterance) -> UnitSequence | Drop:
        from speechkit.data.audio import read_waveform
        from speechkit.encoders.stages import encode_frames, manifest_name
        from speechkit.units.sequences import quantize_recording

        try:
            waveform = read_waveform(row, self.inputs[manifest_name(row)], sample_rate=self.encoder.spec.sample_rate)
        except AudioError as error:
            return Drop("unreadable_audio", str(error))
        frames = encode_frames(self.encoder, waveform)
        sequence = quantize_recording(row.id, frames, self.quantizer)[0]
        return sequence if sequence.units else Drop("no_units", "shorter than a frame")


def assign_stage(number: int, name: str, inputs: Sequence[StageInput | External], output: Output) -> Stage:
    """A stage that writes the units of recordings.

    Args:
        number: of the stage.
        name: of the stage.
        inputs: the recordings, then the manifests that their audio paths are relative to.
        output: of `UnitSequence`.
    """
    return Stage(
        number=number,
        name=name,
        run=AssignUnits,
        inputs=(*inputs, model("codebook", digest=quantizer_digest), model("encoder", digest=encoder_digest)),
        outputs=(output,),
        config=AssignConfig,
        drop_reasons=ASSIGN_DROPS,
        resources=Resources(cpus=1, gpus=1),
    )
