"""The stage that encodes a manifest, for any recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np

from speechkit.data import Utterance
from speechkit.errors import AudioError, UserError
from speechkit.pipeline import (
    NEUTRAL,
    SHARED,
    Context,
    Drop,
    Output,
    Resources,
    Stage,
    Value,
    Worker,
    external,
    model,
    stage,
)
from speechkit.pipeline.arrays import read_record_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW_SECONDS = 30.0
DROP_REASONS = ("unreadable_audio", "shorter_than_a_frame", "not_finite")


class FeaturesConfig(msgspec.Struct, frozen=True):
    """Which encoder over which manifest; ``compute`` is the format of the arithmetic, ``dtype`` that of the store."""

    manifest: Annotated[str | None, SHARED] = None
    encoder: Annotated[str, SHARED] = "embedded"
    layer: Annotated[int | None, SHARED] = None
    dtype: Literal["float16", "float32"] = "float16"
    compute: Literal["auto", "float32", "bfloat16"] = "auto"
    batch_size: Annotated[int, NEUTRAL] = 8


class StoreConfig(msgspec.Struct, frozen=True):
    """How large a file of the store may grow."""

    shard_megabytes: Annotated[int, NEUTRAL] = 256


class Extract(Worker):
    """Frames of every cut; those longer than half a minute go through windows with context."""

    config: FeaturesConfig

    def setup(self, device: str) -> None:
        """Load the encoder.

        Raises:
            UserError: if two rows of the manifest have one id, by which the store would tell them apart hours later.
        """
        from speechkit.data.manifest import read_manifest, unique_ids
        from speechkit.encoders.load import load_encoder

        config = self.config
        if config.manifest:
            for _ in unique_ids(read_manifest(config.manifest), config.manifest):
                pass
        self.encoder = load_encoder(config.encoder, layer=config.layer, device=device, dtype=config.compute)
        self.together = 1 if device == "cpu" else config.batch_size

    def process(self, batch: list[Utterance]) -> list[Value | Drop]:
        """A record with its frames and the encoder's spec, or why there is none."""
        from speechkit.data.audio import read_waveform

        answers: list[Value | Drop | None] = [None] * len(batch)
        waveforms: dict[int, NDArray[np.float32]] = {}
        for place, row in enumerate(batch):
            try:
                waveforms[place] = read_waveform(row, self.config.manifest or "")
            except AudioError as error:
                answers[place] = Drop("unreadable_audio", str(error))
        # Batches of like length waste little; results do not depend on who stands beside whom.
        order = sorted(waveforms, key=lambda place: len(waveforms[place]))
        for begin in range(0, len(order), self.together):
            places = order[begin : begin + self.together]
            for place, frames in zip(places, self._encode([waveforms[p] for p in places]), strict=True):
                answers[place] = self._answer(batch[place], frames)
        return [answer for answer in answers if answer is not None]

    def _encode(self, waveforms: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        if max(map(len, waveforms)) > WINDOW_SECONDS * 16_000:
            return [np.concatenate([self.encoder.encode(w[:0]), *self.encoder.stream([w])]) for w in waveforms]
        return self.encoder.encode_batch(waveforms)

    def _answer(self, row: Utterance, frames: NDArray[np.float32]) -> Value | Drop:
        from speechkit.encoders.store import why_unfit

        unfit = why_unfit(frames, self.config.dtype)
        if unfit is not None:
            return Drop(*unfit)
        notes = {**(row.custom or {}), "encoder": msgspec.to_builtins(self.encoder.spec), "frames": len(frames)}
        return Value(msgspec.structs.replace(row, custom=notes), {"frames": frames.astype(self.config.dtype)})


def gather(context: Context) -> None:
    """Lay the frames of all parts into one store.

    Raises:
        UserError: if there are no frames at all.
    """
    from speechkit.encoders.spec import EncoderSpec
    from speechkit.encoders.store import FeatureWriter

    rows = context.read("features")
    first: Any = next(rows, None)
    path = context.inputs["features"]
    if first is None:
        raise UserError(
            f"{path}: no cut could be encoded; drops.jsonl beside it says why, unless the manifest is empty; mend the "
            "cuts and run again with --force"
        )
    spec = msgspec.convert(first.custom["encoder"], EncoderSpec)
    shard_bytes = context.config.shard_megabytes << 20

    def frames(row: Any) -> NDArray[Any]:
        if row.features is None:
            raise UserError(f"{path}: {row.id} has no features; run the features stage again")
        return read_record_arrays(path, row.features)["frames"]

    head = frames(first)
    with FeatureWriter(context.output("store"), spec, head.dtype.name, shard_bytes) as writer:
        writer.add(first.id, head)
        for row in rows:
            writer.add(row.id, frames(row))


def feature_stages(first: int) -> tuple[Stage, Stage]:
    """Two stages, numbered from ``first``: encode a manifest in parts, on any backend; lay them into one store."""
    return (
        Stage(
            number=first,
            name="features",
            run=Extract,
            inputs=(external("manifest", schema=Utterance), model("encoder")),
            outputs=(Output("features.jsonl", schema=Utterance, min_records=0),),
            config=FeaturesConfig,
            drop_reasons=DROP_REASONS,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=first + 1,
            name="store",
            run=gather,
            inputs=(stage("features", "features.jsonl"), stage("features", name="parts")),
            outputs=(Output("store"),),
            config=StoreConfig,
        ),
    )
