"""Codebooks of fairseq and textlesslib: the centroids of a pickled scikit-learn k-means, or of a ``.npy`` file."""

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
    """The codebook of a k-means file of another toolkit; nothing of the file is executed.

    Args:
        path: of a joblib or pickle file of scikit-learn's ``KMeans`` or ``MiniBatchKMeans`` (fairseq's ``km.bin``,
            textlesslib's ``km.bin``), or of centroids (K, D) as ``.npy``.
        encoder: that the features came from; the file does not say it.
        normalization: ``unit-length`` where features were divided by their norms before they were clustered.

    Raises:
        UserError: if the file cannot be read, holds no k-means, or its centroids are not of this encoder's width.
    """
    if normalization == "standardized":
        raise UserError("an imported codebook has no mean and scale of its features; choose none or unit-length")
    path = Path(path)
    centroids = _npy(path) if path.suffix == ".npy" else _centroids(read_pickled(path), path)
    if centroids.ndim != 2 or centroids.dtype.kind != "f":
        raise UserError(
            f"{path}: the centroids are {centroids.dtype} of shape {centroids.shape}, not real numbers (units, width)"
        )
    units, width = centroids.shape
    if not 1 <= units <= MAX_UNITS or not 1 <= width <= MAX_WIDTH:
        raise UserError(
            f"{path}: {units} centroids of width {width} are no codebook; there may be {MAX_UNITS} of {MAX_WIDTH}"
        )
    if not np.isfinite(centroids).all():
        raise UserError(f"{path}: a centroid holds NaN or infinity; take the original file")
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused by the codebook
        single = centroids.astype(np.float32)
    try:
        return Codebook(single, encoder, normalization)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _centroids(found: Any, path: Path) -> NDArray[Any]:
    state = found.state if isinstance(found, Made) else found
    try:
        centroids = array_of(state[CENTROIDS] if isinstance(state, dict) and CENTROIDS in state else found)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise UserError(f"{path}: the centroids are damaged ({error}); take the original file") from error
    if centroids is None:
        raise UserError(
            f"{path}: holds {_described(found)} and no {CENTROIDS}; give a trained k-means of scikit-learn, or its "
            "centroids saved with numpy.save"
        )
    return centroids


def _described(found: Any) -> str:
    if not isinstance(found, Made):
        return f"a {type(found).__name__}"
    return str(found.kind or "an object")[:80]


def _npy(path: Path) -> NDArray[Any]:
    try:
        # Mapped, so that a header that lies about the shape takes no memory.
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give centroids saved with numpy.save") from None
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise UserError(f"{path}: is no whole .npy file of numbers ({error}); save it again") from error
