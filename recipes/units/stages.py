"""The work of stages 1 to 5; heavy libraries load when it runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from speechkit.data.records import Utterance
from speechkit.errors import AudioError, ConfigError, UserError
from speechkit.pipeline import Context, Drop, Interrupted, Value, Worker
from speechkit.pipeline.manifests import manifest_of
from speechkit.units.records import BpeCurve, CurvePoint, Fit, System

from .choice import choose
from .frames import LayerFrames, LayerStore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from speechkit.units.acoustic_bpe import AcousticBpe
    from speechkit.units.sequences import UnitSequence

PARTS = ("train", "test")
BATCH_FRAMES = 10_000
STACKED = ("residual", "product")


def systems(config: Any) -> list[System]:
    """Every layer, kind and K that is asked for."""
    return [
        System(layer, kind, clusters)
        for layer in dict.fromkeys(config.layers)
        for kind in dict.fromkeys(config.kinds)
        for clusters in dict.fromkeys(config.clusters)
    ]


def streams(system: System, codebooks: int) -> list[System]:
    """The sequences of units that a quantizer gives: one, or one a codebook."""
    if system.kind not in STACKED:
        return [system]
    return [msgspec.structs.replace(system, codebook=place) for place in range(codebooks)]


def prepare(context: Context) -> None:
    """Choose the recordings; a speaker who judges teaches nothing."""
    train, test = choose(context)
    if not train or not test:
        raise UserError(
            f"{len(train)} training and {len(test)} test recordings are left; give at least one of each: other audio "
            "for each, and test_speakers if both manifests have the same speakers"
        )
    context.write("test.jsonl", test)
    context.write("recordings.jsonl", [*_marked(train, "train"), *_marked(test, "test")])


def _marked(rows: Sequence[Utterance], part: str) -> Iterator[Utterance]:
    for row in rows:
        custom = {"part": part, "id": row.id}
        yield msgspec.structs.replace(row, id=f"{part}/{row.id}", custom=custom, alignment=None, text=None)


class Encode(Worker):
    """Frames of every layer that is asked for, one record a layer."""

    def setup(self, device: str) -> None:
        """Load the encoder.

        Raises:
            ConfigError: if a layer is named that is not there, or a manifest was not given to this stage.
        """
        from speechkit.encoders import load_encoder

        for part in PARTS:
            manifest_of(self.inputs, f"{part}_manifest")
        self.layers = sorted(set(self.config.layers))
        self.encoder = load_encoder(
            self.config.encoder, layer=self.layers[-1], device=device, dtype=self.config.compute
        )

    def process(self, batch: list[Utterance]) -> list[list[Value | Drop] | Drop]:
        """A record with its frames for each layer, or why there is none."""
        return [self._encode(row) for row in batch]

    def _encode(self, row: Utterance) -> list[Value | Drop] | Drop:
        import numpy as np

        from speechkit.data.audio import read_waveform

        part, name = (row.custom or {})["part"], (row.custom or {})["id"]
        try:
            waveform = read_waveform(row, self.inputs[f"{part}_manifest"])
        except AudioError as error:
            return Drop("unreadable_audio", str(error))
        states = self.encoder.encode_layers(waveform)
        if not states.shape[1]:
            return Drop("shorter_than_a_frame", f"{row.duration:.4f} s")
        with np.errstate(over="ignore"):
            stored = {layer: states[layer].astype(self.config.dtype) for layer in self.layers}
        if not all(np.isfinite(frames).all() for frames in stored.values()):
            return Drop("not_finite", f"in {self.config.dtype}")
        specs = {layer: msgspec.structs.replace(self.encoder.spec, layer=str(layer)) for layer in stored}
        return [
            Value(LayerFrames(name, part, layer, specs[layer], len(frames)), {"frames": frames}, field="features")
            for layer, frames in stored.items()
        ]


def cluster(context: Context) -> None:
    """A quantizer for each layer, kind and K, of the training speech; those that are done survive an interruption."""
    from speechkit.units.finite import naming_recordings
    from speechkit.units.kmeans import train_kmeans
    from speechkit.units.stacked import train_stacked

    config = context.config
    every = systems(config)
    for number, system in enumerate(every):
        store = LayerStore(context.inputs["features"], "train", system.layer)
        settings = msgspec.structs.replace(
            config.kmeans,
            clusters=system.clusters,
            sample_frames=max(config.kmeans.sample_frames, system.clusters),
            seed=context.seed % 2**31,
            **({"normalization": "unit-length"} if system.kind == "spherical" else {}),
        )

        def batches(store: LayerStore = store) -> Iterator[NDArray[np.float32]]:
            for batch in store.batches(BATCH_FRAMES):
                if context.interrupted:
                    raise Interrupted
                yield batch

        done = context.scratch / system.folder
        try:
            if (done / "done").is_file():
                context.log(f"{system.name}: was done")
            elif system.kind in STACKED:
                way: Any = system.kind
                with naming_recordings(store):
                    train_stacked(batches, way, config.codebooks, settings, store.spec, context.log).save(done)
            else:
                with naming_recordings(store):
                    train_kmeans(batches, settings, store.spec, context.log).codebook.save(done)
        except UserError as error:
            raise UserError(f"{system.name}: {error}") from error
        (done / "done").touch()
        target = context.output("codebooks") / system.folder
        shutil.copytree(done, target, ignore=shutil.ignore_patterns("done"))
        context.progress.update(number + 1, len(every))


def assign(context: Context) -> None:
    """Name every frame: units with durations for each quantizer, codebook and part."""
    from speechkit.io.atomic import write_json
    from speechkit.units.quantizers import open_quantizer, unit_sets
    from speechkit.units.sequences import name_frames, write_sequences

    fits = []
    every = systems(context.config)
    for number, system in enumerate(every):
        quantizer = open_quantizer(context.inputs["codebooks"] / system.folder)
        for part in PARTS:
            store = LayerStore(context.inputs["features"], part, system.layer)
            quantizer.check(store.spec, system.name)
            parts = streams(system, len(unit_sets(quantizer)))
            paths = [context.output("units") / stream.folder / f"{part}.jsonl" for stream in parts]
            for path in paths:
                path.parent.mkdir(parents=True, exist_ok=True)
            write_sequences(paths, (name_frames(name, store[name], quantizer) for name in store.ids()))
            if part == "test":
                fits.append(Fit(system, round(_explained(quantizer, store), 6)))
        context.progress.update(number + 1, len(every))
        if context.interrupted:
            raise Interrupted
    write_json(context.output("fits.json"), fits)


class Variance:
    """Sums over frames: how far they lie from their mean, and from what stands for them."""

    def __init__(self) -> None:
        self.frames = 0
        self.sum: Any = 0.0
        self.squares = self.missed = 0.0

    def add(self, rows: NDArray[np.float32], reconstructed: NDArray[np.float32]) -> None:
        """Count frames (T, D) and what stands for them (T, D)."""
        import numpy as np

        self.frames += len(rows)
        self.sum = self.sum + rows.sum(axis=0, dtype=np.float64)
        self.squares += float(np.square(rows, dtype=np.float64).sum())
        self.missed += float(np.square(rows - reconstructed, dtype=np.float64).sum())

    def explained(self) -> float:
        """1 less the missed share of the variance; 0 where there is none to explain."""
        whole = self.squares - float((self.sum**2).sum()) / max(self.frames, 1)
        return 1.0 - self.missed / whole if whole > 0 else 0.0


def _explained(quantizer: Any, store: LayerStore) -> float:
    """The share of the variance of all frames, in the space where the quantizer compares them."""
    import numpy as np

    variance = Variance()
    for frames in store.batches(BATCH_FRAMES):
        units = quantizer.assign(frames)
        if hasattr(quantizer, "reconstruct"):
            variance.add(np.asarray(frames, np.float32), quantizer.reconstruct(units))
        else:
            variance.add(quantizer.normalized(frames), quantizer.centroids[units])
    return variance.explained()


def shorten(context: Context) -> None:
    """Acoustic BPE, learnt on the training units and measured on the test units."""
    from speechkit.units.acoustic_bpe import learn_bpe
    from speechkit.units.sequences import read_sequences

    config = context.config
    chosen = [
        stream
        for system in systems(config)
        if not config.bpe_clusters or system.clusters in config.bpe_clusters
        for stream in streams(system, config.codebooks)
    ]
    if not chosen or not config.sizes:
        raise ConfigError("bpe: nothing to learn; bpe.bpe_clusters must be among clusters, and bpe.sizes not empty")
    curves = []
    for number, stream in enumerate(chosen):
        folder = context.inputs["units"] / stream.folder
        train, test = (read_sequences([folder / f"{part}.jsonl"]) for part in PARTS)
        most = max(*config.sizes, stream.clusters)
        learnt = learn_bpe((row.units for row in train), stream.clusters, most, train[0].codebook)
        path = context.output("merges") / f"{stream.folder}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        learnt.save(path)
        sizes = sorted({min(size, learnt.num_tokens) for size in config.sizes if size > stream.clusters})
        every = (stream.clusters, *sizes)
        points = [_point(learnt, size, train, test, config.ngram_order) for size in every]
        curves.append(BpeCurve(stream, points))
        context.progress.update(number + 1, len(chosen))
        if context.interrupted:
            raise Interrupted
    context.write("curves.jsonl", curves)


def _point(
    learnt: AcousticBpe, size: int, train: Sequence[UnitSequence], test: Sequence[UnitSequence], order: int
) -> CurvePoint:
    import numpy as np

    from speechkit.units.health import entropy_bits
    from speechkit.units.token_sequences import encode_sequence

    cut = msgspec.structs.replace(learnt, merges=learnt.merges[: size - learnt.base])
    tokens = [encode_sequence(row, cut) for row in test]
    every = np.concatenate([np.asarray(row.units, np.int64) for row in tokens])
    rate = len(every) / (sum(sum(row.durations) for row in test) / 50)
    units = sum(len(row.units) for row in test)
    return CurvePoint(
        tokens=size,
        train=round(learnt.lengths[0] / learnt.lengths[size - learnt.base], 4),
        test=round(units / len(every), 4),
        per_second=round(rate, 3),
        bits_per_second=round(rate * entropy_bits(np.bincount(every)), 2),
        ngram_bits=_ngram_bits([encode_sequence(row, cut) for row in train], tokens, size, units, order)
        if order
        else (),
    )


def _ngram_bits(
    train: Sequence[UnitSequence], test: Sequence[UnitSequence], numbers: int, units: int, order: int
) -> tuple[float, ...]:
    """Bits of test tokens by n-grams of order 1 and on, over the ``units`` that they stand for."""
    from speechkit.lm.ngram_training import estimate
    from speechkit.lm.sequence_bits import sequence_bits, unit_words

    found = []
    for longest in range(1, order + 1):
        model, _ = estimate(map(unit_words, train), longest)
        cost = sequence_bits(model, test, numbers)
        found.append(round(cost.bits_per_unit * cost.units / units, 4))
    return tuple(found)
