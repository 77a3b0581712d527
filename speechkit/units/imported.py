"""Import of codebooks of fairseq and textlesslib, from a pickled scikit-learn k-means or a ``.npy`` file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError
from speechkit.io.pickle_machine import Made
from speechkit.io.pickled_arrays import array_of, read_pickled
from speechkit.units.codebook import Codebook, FeatureNormalization

CENTROIDS = "cluster_centers_"
MAX_UNITS, MAX_WIDTH = 1 << 20, 1 << 16


def import_codebook(
    path: Path | str, encoder: EncoderSpec | None, normalization: FeatureNormalization = "none"
) -> Codebook:
    """Import the codebook of another toolkit's k-means file, without executing any of its content.

    Args:
        path: joblib or pickle file of scikit-learn's ``KMeans`` or ``MiniBatchKMeans`` (fairseq's and textlesslib's
            ``km.bin``), or centroids (K, D) as ``.npy``.
        encoder: encoder of the features, which the file does not record.
        normalization: ``unit-length`` if features were divided by their norms before clustering.

    Raises:
        UserError: if the file cannot be read, is not a k-means, or its centroids do not fit the encoder.
    """
    if normalization == "standardized":
        raise UserError("imported codebooks have no mean and scale for standardized features; use none or unit-length")
    path = Path(path)
    centroids = _npy(path) if path.suffix == ".npy" else _centroids(read_pickled(path), path)
    if centroids.ndim != 2 or centroids.dtype.kind != "f":
        raise UserError(
            f"{path}: centroids are {centroids.dtype} of shape {centroids.shape}; give floating-point (units, width)"
        )
    units, width = centroids.shape
    if not 1 <= units <= MAX_UNITS or not 1 <= width <= MAX_WIDTH:
        raise UserError(
            f"{path}: {units} centroids of width {width} are out of range; the limits are {MAX_UNITS} and {MAX_WIDTH}"
        )
    if not np.isfinite(centroids).all():
        raise UserError(f"{path}: a centroid contains NaN or infinity; use the original file")
    with np.errstate(over="ignore"):  # values too large for float32 become infinite, which Codebook rejects
        single = centroids.astype(np.float32)
    try:
        return Codebook(single, encoder, normalization)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _centroids(content: Any, path: Path) -> NDArray[Any]:
    state = content.state if isinstance(content, Made) else content
    try:
        centroids = array_of(state[CENTROIDS] if isinstance(state, dict) and CENTROIDS in state else content)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise UserError(f"{path}: the centroids are damaged ({error}); use the original file") from error
    if centroids is None:
        raise UserError(
            f"{path}: contains {_describe(content)} without {CENTROIDS}; give a trained k-means of scikit-learn, or "
            "its centroids saved with numpy.save"
        )
    return centroids


def _describe(content: Any) -> str:
    if not isinstance(content, Made):
        return f"a {type(content).__name__}"
    return str(content.kind or "an object")[:80]


def _npy(path: Path) -> NDArray[Any]:
    try:
        # Memory-mapped, so that a header with a wrong shape allocates nothing.
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give centroids saved with numpy.save") from None
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise UserError(f"{path}: not a valid .npy file of numbers ({error}); save it again") from error
