"""A codebook: centroids, the feature normalisation applied before comparison, and the encoder of the features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError
from speechkit.io.arrays import Float, read_arrays, write_arrays
from speechkit.io.atomic import write_json
from speechkit.io.hashing import digest_bytes
from speechkit.units.assignment import nearest, nearest_distances
from speechkit.units.deduplication import deduplicate

SPEC_FILE, ARRAYS_FILE = "codebook.json", "codebook.safetensors"
MOST_CLUSTERS = 1 << 24
"""Far above the size of any codebook; bounds the memory a file can request."""
FeatureNormalization = Literal["none", "standardized", "unit-length"]


class CodebookSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="codebook", tag_field="kind"):
    """Identity of a codebook, for compatibility checks.

    Attributes:
        encoder: encoder, layer and waveform normalisation of the features; None only for imported codebooks of unknown
            origin.
        clusters: number of units K.
        normalization: of features before comparison: ``standardized`` subtracts a mean and divides by a scale per
            dimension, ``unit-length`` (spherical k-means) divides by the norm.
        digest: of the centroids; units with the same digest are comparable.
    """

    encoder: EncoderSpec | None
    clusters: Annotated[int, msgspec.Meta(ge=1, le=MOST_CLUSTERS)]
    normalization: FeatureNormalization
    digest: str

    def require(self, other: CodebookSpec, what: str) -> None:
        """Reject units of another codebook.

        Raises:
            UserError: naming what differs.
        """
        if self.digest != other.digest:
            raise UserError(
                f"{what} belongs to a codebook of {self.clusters} units ({self.digest[:12]}), the units to one of "
                f"{other.clusters} ({other.digest[:12]}); assign the units again with the first"
            )


class Codebook:
    """A k-means codebook of K centroids (K, D).

    Args:
        centroids: float32 (K, D), in the space of normalised features.
        encoder: of the features.
        normalization: see `CodebookSpec`.
        mean: (D,) of ``standardized`` features.
        scale: (D,) divisor of ``standardized`` features.

    Raises:
        UserError: if the arrays are inconsistent or not finite.
    """

    def __init__(
        self,
        centroids: NDArray[np.floating[Any]],
        encoder: EncoderSpec | None,
        normalization: FeatureNormalization = "none",
        mean: NDArray[np.floating[Any]] | None = None,
        scale: NDArray[np.floating[Any]] | None = None,
    ) -> None:
        self.centroids: Float = np.ascontiguousarray(centroids, np.float32)
        if self.centroids.ndim != 2 or not len(self.centroids):
            raise UserError(f"centroids have shape {self.centroids.shape}; a codebook needs (units, width)")
        width = self.centroids.shape[1]
        if encoder is not None and encoder.dim != width:
            raise UserError(
                f"centroids have width {width}, frames of {encoder.model} {encoder.dim}; use a codebook of this encoder"
            )
        if (normalization == "standardized") != (mean is not None and scale is not None):
            raise UserError(
                "mean and scale are required for standardized features, and only for them; fix the codebook"
            )
        self.mean = np.zeros(width, np.float32) if mean is None else np.asarray(mean, np.float32)
        self.scale = np.ones(width, np.float32) if scale is None else np.asarray(scale, np.float32)
        for name, array in (("centroids", self.centroids), ("mean", self.mean), ("scale", self.scale)):
            if not np.isfinite(array).all():
                raise UserError(f"{name} of the codebook contains NaN or infinity; train it again")
        if self.mean.shape != (width,) or self.scale.shape != (width,) or not (self.scale > 0).all():
            raise UserError(f"mean and scale must have width {width} and the scale must be above 0; train it again")
        content = b"".join(array.tobytes() for array in (self.centroids, self.mean, self.scale))
        self.spec = CodebookSpec(encoder, len(self.centroids), normalization, digest_bytes(content))

    @property
    def num_units(self) -> int:
        """Number of units K."""
        return len(self.centroids)

    def normalized(self, features: NDArray[np.floating[Any]]) -> Float:
        """Features (T, D) normalised for comparison with the centroids.

        Raises:
            UserError: if their shape does not fit, or they contain NaN or infinity.
        """
        rows = np.asarray(features, np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.centroids.shape[1]:
            raise UserError(
                f"features have shape {rows.shape}, the codebook takes (frames, {self.centroids.shape[1]}); "
                "use features of its encoder and layer"
            )
        return normalized_features(rows, self.spec.normalization, self.mean, self.scale)

    def assign(self, features: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
        """Unit of each frame: (T, D) to (T,)."""
        return nearest(self.normalized(features), self.centroids)

    def distances(self, features: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Unit of each frame (T,) and the squared distance to its centroid (T,)."""
        return nearest_distances(self.normalized(features), self.centroids)

    def units(self, features: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
        """Deduplicated units of an item."""
        return deduplicate(self.assign(features))[0]

    def check(self, encoder: EncoderSpec, what: str = "the codebook") -> None:
        """Reject features of another encoder or layer.

        Raises:
            UserError: naming both and the first field that differs; or if the codebook's encoder is unknown.
        """
        if self.spec.encoder is None:
            raise UserError(f"{what} does not record its encoder; give encoder and layer when you import it")
        self.spec.encoder.require(encoder, what)

    def save(self, folder: Path | str) -> None:
        """Write ``codebook.safetensors``, then ``codebook.json``."""
        arrays = {"centroids": self.centroids, "mean": self.mean, "scale": self.scale}
        write_arrays(Path(folder) / ARRAYS_FILE, arrays)
        write_json(Path(folder) / SPEC_FILE, self.spec)

    @classmethod
    def load(cls, folder: Path | str) -> Codebook:
        """Read what `save` wrote.

        Raises:
            UserError: if a file is missing or damaged, or the arrays do not match the spec.
        """
        spec = read_spec(Path(folder) / SPEC_FILE, CodebookSpec)
        arrays = read_arrays(Path(folder) / ARRAYS_FILE, ("centroids", "mean", "scale"))
        standardized = spec.normalization == "standardized"
        codebook = cls(
            arrays["centroids"],  # type: ignore[arg-type]
            spec.encoder,
            spec.normalization,
            arrays["mean"] if standardized else None,  # type: ignore[arg-type]
            arrays["scale"] if standardized else None,  # type: ignore[arg-type]
        )
        if codebook.spec != spec:
            raise UserError(f"{folder}: {SPEC_FILE} does not match {ARRAYS_FILE}; copy both files again")
        return codebook


def read_spec(path: Path, type: Any, advice: str = "give the folder of a codebook or quantizer") -> Any:  # noqa: A002
    """Read a JSON record of a folder; ``advice`` completes the error if the file is missing.

    Raises:
        UserError: if it is missing or invalid.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=type)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {advice}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: {error}; create it again") from error


def normalized_features(rows: Float, normalization: FeatureNormalization, mean: Float, scale: Float) -> Float:
    """Frames (T, D) normalised as the codebook requires.

    Raises:
        UserError: if a frame contains NaN or infinity.
    """
    if not np.isfinite(rows).all():
        frame = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise UserError(f"frame {frame} of the features contains NaN or infinity; encode the recording again")
    if normalization == "standardized":
        return np.asarray((rows - mean) / scale, np.float32)
    if normalization == "unit-length":
        return unit_length(rows)
    return rows


def unit_length(rows: Float) -> Float:
    """Rows (T, D) divided by their norms; zero rows stay zero."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, 1e-12), np.float32)
