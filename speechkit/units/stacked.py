"""Residual and product quantizers: several codebooks that encode a frame jointly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError
from speechkit.io.arrays import Float
from speechkit.io.atomic import write_json
from speechkit.units.codebook import Codebook, normalized_features, read_spec
from speechkit.units.kmeans import Batches, KMeansConfig, train_kmeans

SPEC_FILE = "quantizer.json"
Kind = Literal["residual", "product"]


class StackedSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="stacked", tag_field="kind"):
    """What lies in the folder of a stacked quantizer: how its codebooks work together, and their digests in order."""

    way: Kind
    encoder: EncoderSpec | None
    width: int
    digests: list[str]


class StackedQuantizer:
    """Codebooks that encode a frame jointly.

    ``residual``: each codebook quantizes the residual of the previous ones. ``product``: each quantizes its own part of
    the dimensions, which are split evenly.

    Args:
        way: ``residual`` or ``product``.
        codebooks: of width D, or D / n for ``product``; without normalisation of their own.
        encoder: of the features.

    Raises:
        UserError: if the codebooks do not fit together.

    Source: residual: Zeghidour et al. 2021 (SoundStream), algorithm 1; product: Jégou et al. 2011, section II-B.
    """

    def __init__(self, way: Kind, codebooks: list[Codebook], encoder: EncoderSpec | None) -> None:
        if not codebooks:
            raise UserError("a quantizer needs at least one codebook")
        widths = {codebook.centroids.shape[1] for codebook in codebooks}
        if len(widths) > 1 or any(codebook.spec.normalization != "none" for codebook in codebooks):
            raise UserError("the codebooks of a quantizer must be of one width, and of features as they are")
        self.way: Kind = way
        self.codebooks = codebooks
        self.encoder = encoder
        self.width = widths.pop() * (len(codebooks) if way == "product" else 1)
        if encoder is not None and encoder.dim != self.width:
            raise UserError(f"the codebooks take {self.width} dimensions, {encoder.model} gives {encoder.dim}")

    def assign(self, features: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
        """The units of each frame: (T, D) to (T, codebooks).

        Raises:
            UserError: if the features are of another width, or hold NaN or infinity.
        """
        rest = self._checked(features)
        if self.way == "product":
            parts = np.split(rest, len(self.codebooks), axis=1)
            return np.stack([c.assign(part) for c, part in zip(self.codebooks, parts, strict=True)], axis=1)
        units = []
        for codebook in self.codebooks:
            units.append(codebook.assign(rest))
            rest = rest - codebook.centroids[units[-1]]
        return np.stack(units, axis=1)

    def reconstruct(self, units: NDArray[np.integer[Any]]) -> Float:
        """Features (T, D) that units (T, n) stand for; fewer columns than codebooks give a coarser residual one.

        Raises:
            UserError: if there are more columns than codebooks, or fewer for ``product``.
        """
        columns = units.shape[1]
        if columns > len(self.codebooks) or (self.way == "product" and columns < len(self.codebooks)) or not columns:
            raise UserError(f"units have {columns} columns, the quantizer has {len(self.codebooks)} codebooks")
        named = [codebook.centroids[units[:, place]] for place, codebook in enumerate(self.codebooks[:columns])]
        return np.concatenate(named, axis=1) if self.way == "product" else np.sum(named, axis=0, dtype=np.float32)

    def check(self, encoder: EncoderSpec, what: str = "the quantizer") -> None:
        """Refuse features of another encoder or layer.

        Raises:
            UserError: naming both and the first field that differs.
        """
        if self.encoder is None:
            raise UserError(f"{what} does not say which encoder it was made with; train it on a store of features")
        self.encoder.require(encoder, what)

    def save(self, folder: Path | str) -> None:
        """Write every codebook into a folder of its own, then ``quantizer.json``."""
        for place, codebook in enumerate(self.codebooks):
            codebook.save(Path(folder) / f"codebook-{place}")
        digests = [codebook.spec.digest for codebook in self.codebooks]
        write_json(Path(folder) / SPEC_FILE, StackedSpec(self.way, self.encoder, self.width, digests))

    @classmethod
    def load(cls, folder: Path | str) -> StackedQuantizer:
        """Read what `save` wrote.

        Raises:
            UserError: if a file is missing or damaged, or a codebook is not the one that was saved.
        """
        spec: StackedSpec = read_spec(Path(folder) / SPEC_FILE, StackedSpec)
        codebooks = [Codebook.load(Path(folder) / f"codebook-{place}") for place in range(len(spec.digests))]
        for place, (codebook, digest) in enumerate(zip(codebooks, spec.digests, strict=True)):
            if codebook.spec.digest != digest:
                raise UserError(f"{folder}/codebook-{place}: is not the codebook that {SPEC_FILE} names; copy it again")
        return cls(spec.way, codebooks, spec.encoder)

    def _checked(self, features: NDArray[np.floating[Any]]) -> Float:
        rows = np.asarray(features, np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise UserError(f"features have shape {rows.shape}, the quantizer takes (frames, {self.width})")
        none = np.zeros(0, np.float32)
        return normalized_features(rows, "none", none, none)


def train_stacked(
    batches: Batches,
    way: Kind,
    codebooks: int,
    config: KMeansConfig,
    encoder: EncoderSpec | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> StackedQuantizer:
    """Train codebook after codebook by k-means.

    Args:
        batches: as for `train_kmeans`: called once a pass.
        way: how the codebooks work together.
        codebooks: how many.
        config: of every k-means; its normalisation must be ``none``.
        encoder: that the features came from.
        log: told of every pass.

    Raises:
        UserError: if the features cannot be split, or one of the trainings says so.
    """
    if codebooks < 1:
        raise UserError(f"{codebooks} codebooks were asked for; give at least 1")
    if config.normalization != "none":
        raise UserError(f"{way} codebooks take features as they are; set normalization to none")
    first = next(iter(batches()), None)
    if first is None:
        raise UserError("there are no frames to cluster; all recordings are shorter than a frame, or none was given")
    width = first.shape[1]
    if way == "product" and width % codebooks:
        raise UserError(f"{width} dimensions cannot be split into {codebooks} equal parts; choose a divisor")
    trained: list[Codebook] = []
    for place in range(codebooks):
        log(f"codebook {place + 1} of {codebooks}")
        mine = msgspec.structs.replace(config, seed=config.seed + place)
        trained.append(train_kmeans(_view(batches, way, place, codebooks, list(trained)), mine, None, log).codebook)
    return StackedQuantizer(way, trained, encoder)


def _view(batches: Batches, way: Kind, place: int, codebooks: int, before: list[Codebook]) -> Batches:
    """The batches as codebook ``place`` receives them."""

    def view() -> Iterator[Float]:
        rows: Iterable[Any] = batches()
        for batch in rows:
            rest = np.asarray(batch, np.float32)
            if way == "product":
                yield np.ascontiguousarray(np.split(rest, codebooks, axis=1)[place])
                continue
            for codebook in before:
                rest = rest - codebook.centroids[codebook.assign(rest)]
            yield rest

    return view
