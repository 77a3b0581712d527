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
    """Identity of a stacked quantizer: its kind, and the digests of its codebooks in order."""

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
        codebooks: of width D, or D / n for ``product``; without feature normalisation.
        encoder: of the features.

    Raises:
        UserError: if the codebooks are incompatible.

    Source: residual: Zeghidour et al. 2021 (SoundStream), algorithm 1; product: Jégou et al. 2011, section II-B.
    """

    def __init__(self, way: Kind, codebooks: list[Codebook], encoder: EncoderSpec | None) -> None:
        if not codebooks:
            raise UserError("a quantizer needs at least one codebook")
        widths = {codebook.centroids.shape[1] for codebook in codebooks}
        if len(widths) > 1 or any(codebook.spec.normalization != "none" for codebook in codebooks):
            raise UserError("the codebooks of a quantizer must have the same width and no normalization; fix them")
        self.way: Kind = way
        self.codebooks = codebooks
        self.encoder = encoder
        self.width = widths.pop() * (len(codebooks) if way == "product" else 1)
        if encoder is not None and encoder.dim != self.width:
            raise UserError(
                f"the codebooks have {self.width} dimensions, frames of {encoder.model} {encoder.dim}; use its features"
            )

    def assign(self, features: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
        """Units of each frame: (T, D) to (T, codebooks).

        Raises:
            UserError: if the features have another width, or contain NaN or infinity.
        """
        residual = self._checked(features)
        if self.way == "product":
            parts = np.split(residual, len(self.codebooks), axis=1)
            return np.stack([c.assign(part) for c, part in zip(self.codebooks, parts, strict=True)], axis=1)
        units = []
        for codebook in self.codebooks:
            units.append(codebook.assign(residual))
            residual = residual - codebook.centroids[units[-1]]
        return np.stack(units, axis=1)

    def reconstruct(self, units: NDArray[np.integer[Any]]) -> Float:
        """Reconstruct features (T, D) from units (T, n); ``residual`` allows fewer columns than codebooks.

        Raises:
            UserError: if there are more columns than codebooks, or fewer for ``product``.
        """
        columns = units.shape[1]
        if columns > len(self.codebooks) or (self.way == "product" and columns < len(self.codebooks)) or not columns:
            raise UserError(f"units have {columns} columns, the quantizer has {len(self.codebooks)} codebooks")
        parts = [codebook.centroids[units[:, column]] for column, codebook in enumerate(self.codebooks[:columns])]
        return np.concatenate(parts, axis=1) if self.way == "product" else np.sum(parts, axis=0, dtype=np.float32)

    def check(self, encoder: EncoderSpec, what: str = "the quantizer") -> None:
        """Reject features of another encoder or layer.

        Raises:
            UserError: naming both and the first field that differs.
        """
        if self.encoder is None:
            raise UserError(f"{what} does not record its encoder; train it on a store of features")
        self.encoder.require(encoder, what)

    def save(self, folder: Path | str) -> None:
        """Write every codebook to its own folder, then ``quantizer.json``."""
        for index, codebook in enumerate(self.codebooks):
            codebook.save(Path(folder) / f"codebook-{index}")
        digests = [codebook.spec.digest for codebook in self.codebooks]
        write_json(Path(folder) / SPEC_FILE, StackedSpec(self.way, self.encoder, self.width, digests))

    @classmethod
    def load(cls, folder: Path | str) -> StackedQuantizer:
        """Read what `save` wrote.

        Raises:
            UserError: if a file is missing or damaged, or a codebook does not match its digest.
        """
        spec: StackedSpec = read_spec(Path(folder) / SPEC_FILE, StackedSpec)
        codebooks = [Codebook.load(Path(folder) / f"codebook-{index}") for index in range(len(spec.digests))]
        for index, (codebook, digest) in enumerate(zip(codebooks, spec.digests, strict=True)):
            if codebook.spec.digest != digest:
                raise UserError(f"{folder}/codebook-{index}: does not match {SPEC_FILE}; copy it again")
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
    """Train the codebooks one after another by k-means.

    Args:
        batches: as for `train_kmeans`.
        way: ``residual`` or ``product``.
        codebooks: number of codebooks.
        config: of every k-means; its normalisation must be ``none``.
        encoder: encoder of the features.
        log: receives a line per pass.

    Raises:
        UserError: if the features cannot be split, or k-means fails.
    """
    if codebooks < 1:
        raise UserError(f"the number of codebooks is {codebooks}; give at least 1")
    if config.normalization != "none":
        raise UserError(f"{way} codebooks do not support normalization; set normalization to none")
    first = next(iter(batches()), None)
    if first is None:
        raise UserError("there are no frames to cluster; give recordings longer than a frame")
    width = first.shape[1]
    if way == "product" and width % codebooks:
        raise UserError(f"{width} dimensions cannot be split into {codebooks} equal parts; choose a divisor")
    trained: list[Codebook] = []
    for index in range(codebooks):
        log(f"codebook {index + 1} of {codebooks}")
        settings = msgspec.structs.replace(config, seed=config.seed + index)
        inputs = _codebook_inputs(batches, way, index, codebooks, list(trained))
        trained.append(train_kmeans(inputs, settings, None, log).codebook)
    return StackedQuantizer(way, trained, encoder)


def _codebook_inputs(batches: Batches, way: Kind, index: int, codebooks: int, earlier: list[Codebook]) -> Batches:
    """The batches of codebook ``index``: its dimensions, or the residual of the earlier codebooks."""

    def inputs() -> Iterator[Float]:
        rows: Iterable[Any] = batches()
        for batch in rows:
            residual = np.asarray(batch, np.float32)
            if way == "product":
                yield np.ascontiguousarray(np.split(residual, codebooks, axis=1)[index])
                continue
            for codebook in earlier:
                residual = residual - codebook.centroids[codebook.assign(residual)]
            yield residual

    return inputs
