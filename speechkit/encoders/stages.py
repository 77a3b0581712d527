"""Encoding of manifest rows to stored features: a worker, a whole-set stage, and shared functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.data import Utterance
from speechkit.encoders.feature_writer import FeatureWriter, why_unfit
from speechkit.encoders.spec import EncoderSpec, layers_spec
from speechkit.encoders.store import LayerFrames
from speechkit.errors import AudioError, UserError
from speechkit.io.arrays import Float
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
    from speechkit.encoders.encoder import Encoder

DROP_REASONS = ("unreadable_audio", "shorter_than_a_frame", "not_finite")


class FeaturesConfig(msgspec.Struct, frozen=True):
    """Encoder and manifest; ``compute`` is the precision of computation, ``dtype`` that of the store.

    ``compat`` is the grid of stock transformers, for codebooks made on it.
    """

    manifest: Annotated[str | None, SHARED] = None
    encoder: Annotated[str, SHARED] = "embedded"
    layer: Annotated[int | None, SHARED] = None
    dtype: Literal["float16", "float32"] = "float16"
    compute: Literal["auto", "float32", "bfloat16"] = "auto"
    compat: Annotated[bool, SHARED] = False
    batch_size: Annotated[int, NEUTRAL] = 8


class StoreConfig(msgspec.Struct, frozen=True):
    """Size of the store's files."""

    shard_megabytes: Annotated[int, NEUTRAL] = 256


class Encode(Worker):
    """Frames of every row of a manifest; long rows go through windows with context, except of ``layers``.

    The stage's config has ``encoder``, ``dtype``, ``compute`` and either ``layer``, one or the last, or ``layers``.
    With one layer, a row becomes a manifest row with its frames; with ``layers``, one `LayerFrames` each. Audio
    paths are relative to the input that ``custom.manifest`` of a row names, or ``custom.part`` as ``PART_manifest``, or
    else to the input ``manifest``; where ``custom.id`` is given, the row is stored under it.
    """

    def setup(self, device: str) -> None:
        """Load the encoder.

        Raises:
            ConfigError: if a layer does not exist.
            UserError: if ids of the manifest are duplicate.
        """
        from speechkit.data.manifest import read_manifest, unique_ids
        from speechkit.encoders.load import load_encoder

        config = self.config
        if getattr(config, "manifest", None):
            for _ in unique_ids(read_manifest(config.manifest), config.manifest):
                pass
        layers = getattr(config, "layers", None)
        self.layers = None if layers is None else sorted(set(layers))
        layer = config.layer if self.layers is None else self.layers[-1]
        self.encoder = load_encoder(
            config.encoder,
            layer=layer,
            device=device,
            dtype=config.compute,
            compat=getattr(config, "compat", False),
        )
        self.batch_size = 1 if device == "cpu" else config.batch_size

    def process(self, batch: list[Utterance]) -> list[Value | Drop | list[Value | Drop]]:
        """A record with its frames and the encoder's spec for each layer, or the reason for dropping it."""
        from speechkit.data.audio import read_waveform

        results: list[Value | Drop | list[Value | Drop] | None] = [None] * len(batch)
        waveforms: dict[int, Float] = {}
        rate = self.encoder.spec.sample_rate
        for index, row in enumerate(batch):
            try:
                waveforms[index] = read_waveform(row, self.inputs[manifest_name(row)], sample_rate=rate)
            except AudioError as error:
                results[index] = Drop("unreadable_audio", str(error))
        if self.layers is not None:
            for index, waveform in waveforms.items():
                results[index] = self._layers(batch[index], self.encoder.encode_layers(waveform), self.layers)
            return [result for result in results if result is not None]
        # Batches of similar length need little padding; results do not depend on the batch.
        order = sorted(waveforms, key=lambda index: len(waveforms[index]))
        for begin in range(0, len(order), self.batch_size):
            indices = order[begin : begin + self.batch_size]
            for index, frames in zip(indices, self._encode([waveforms[i] for i in indices]), strict=True):
                results[index] = self._row(batch[index], frames)
        return [result for result in results if result is not None]

    def _encode(self, waveforms: list[Float]) -> list[Float]:
        if max(map(len, waveforms)) > self.encoder.most_at_once():
            return [encode_frames(self.encoder, waveform) for waveform in waveforms]
        return self.encoder.encode_batch(waveforms)

    def _row(self, row: Utterance, frames: Float) -> Value | Drop:
        unfit = why_unfit(frames, self.config.dtype)
        if unfit is not None:
            return Drop(*unfit)
        notes = {**(row.custom or {}), "encoder": msgspec.to_builtins(self.encoder.spec), "frames": len(frames)}
        return Value(msgspec.structs.replace(row, custom=notes), {"frames": frames.astype(self.config.dtype)})

    def _layers(self, row: Utterance, states: Float, layers: Sequence[int]) -> list[Value | Drop] | Drop:
        unfit = next((why for layer in layers if (why := why_unfit(states[layer], self.config.dtype))), None)
        if unfit is not None:
            return Drop(*unfit)
        custom = row.custom or {}
        return [
            Value(
                LayerFrames(
                    custom.get("id", row.id),
                    custom.get("part", ""),
                    layer,
                    msgspec.structs.replace(self.encoder.spec, layer=str(layer)),
                    states.shape[1],
                ),
                {"frames": states[layer].astype(self.config.dtype)},
            )
            for layer in layers
        ]


def manifest_name(row: Utterance) -> str:
    """The input that holds the manifest of a row, to which its audio path is relative; see `Encode`."""
    custom = row.custom or {}
    if "manifest" in custom:
        return str(custom["manifest"])
    return f"{custom['part']}_manifest" if "part" in custom else "manifest"


class LayersConfig(msgspec.Struct, frozen=True):
    """The encoder, and the precision of its stored layers."""

    encoder: Annotated[str, SHARED] = "embedded"
    dtype: Literal["float16", "float32"] = "float16"


def encode_layers(context: Context) -> None:
    """Encode all layers of the rows of the input ``audio``, in one pass, into the store ``features``.

    The stage's config has ``encoder`` and ``dtype``; the rows' audio paths are those of `Encode`.

    Raises:
        UserError: if nothing can be encoded.
    """
    from speechkit.encoders.load import load_encoder

    encoder = load_encoder(context.config.encoder, device=context.device)
    rows = list(context.read("audio"))
    reasons: list[str] = []

    def leave_out(name: str, reason: str, detail: str) -> None:
        context.drop(name, reason, detail)
        context.log(f"left out {name}: {reason}: {detail}")
        reasons.append(f"{name}: {reason}: {detail}")

    def waveforms() -> Iterator[tuple[str, Float]]:
        from speechkit.data.audio import read_waveform

        for number, row in enumerate(rows, 1):
            try:
                manifest = context.inputs[manifest_name(row)]
                yield row.id, read_waveform(row, manifest, sample_rate=encoder.spec.sample_rate)
            except AudioError as error:
                leave_out(row.id, "unreadable_audio", str(error))
            context.progress.update(number, len(rows))

    written = write_layers(
        context.output("features"), encoder, waveforms(), context.config.dtype, leave_out, windows=False
    )
    if not written:
        raise UserError(f"none of {len(rows)} recordings could be encoded ({reasons[0]}); replace the recordings")
    if reasons:
        context.say(f"left out {len(reasons)} of {len(rows)} recordings; drops.jsonl says why")


def write_layers(
    folder: str | Path,
    encoder: Encoder,
    items: Iterable[tuple[str, Float]],
    dtype: str = "float16",
    leave_out: Callable[[str, str, str], None] | None = None,
    *,
    layers: Sequence[int] | None = None,
    windows: bool = True,
) -> int:
    """Encode items (id, waveform) one by one and store layers of them; returns how many items were stored.

    Items shorter than a frame are stored without frames.

    Args:
        folder: of the store.
        encoder: whose layers.
        items: ids and waveforms.
        dtype: of the store.
        leave_out: called with id, reason and detail of items that are not finite in this dtype.
        layers: to store; default: all.
        windows: whether long waveforms go through windows with context.

    Raises:
        UserError: for such an item without ``leave_out``.
    """
    stored = list(range(encoder.num_layers + 1) if layers is None else layers)
    count = 0
    with FeatureWriter(folder, layers_spec(encoder.spec, stored), dtype) as writer:
        for name, waveform in items:
            frames = encode_frames(encoder, waveform, stored, windows=windows)
            unfit = why_unfit(frames, dtype) if leave_out is not None and len(frames) else None
            if unfit is not None and leave_out is not None:
                leave_out(name, *unfit)
                continue
            writer.add(name, frames)
            count += 1
    return count


def encode_frames(
    encoder: Encoder, waveform: Float, layers: Sequence[int] | None = None, *, windows: bool = True
) -> Float:
    """Frames (T, D) of a waveform (S,), or of several ``layers`` side by side (T, L * D); see `encode_states`."""
    if layers is None:
        return np.concatenate(list(encoder.stream([waveform]))) if windows else encoder.encode(waveform)
    states = encode_states(encoder, waveform, windows=windows)
    if list(layers) != list(range(len(states))):
        states = states[list(layers)]
    return np.ascontiguousarray(states.transpose(1, 0, 2)).reshape(states.shape[1], len(states) * states.shape[2])


def encode_states(encoder: Encoder, waveform: Float, *, windows: bool = True) -> Float:
    """All layers (L + 1, T, D) of a waveform (S,).

    With ``windows`` long waveforms use those of `Encoder.stream`, so that memory grows only with the result.
    """
    if not windows:
        return encoder.encode_layers(waveform)
    return np.concatenate(list(encoder.stream_layers([waveform])), axis=1)


def gather(context: Context) -> None:
    """Gather the frames of all parts in one store.

    Raises:
        UserError: if there are no frames.
    """
    rows = context.read("features")
    first: Any = next(rows, None)
    path = context.inputs["features"]
    if first is None:
        raise UserError(
            f"{path}: no cut could be encoded; drops.jsonl has the reasons, unless the manifest is empty; fix the "
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
    """Two stages, numbered from ``first``: encode a manifest in parts, on any backend; gather them in one store."""
    return (
        Stage(
            number=first,
            name="features",
            run=Encode,
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
