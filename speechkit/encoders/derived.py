"""Encoders in the package that were trained from the embedded one: stored as the arrays that differ, in int8."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechkit.errors import UserError
from speechkit.nn.checkpoints import WEIGHTS, packaged_folder, stored_weights, write_tensors

if TYPE_CHECKING:
    from speechkit.encoders.model import SpeechEncoder

DERIVED = {"embedded-syllables": Path(__file__).parent / "models" / "syllables"}
"""Folders by name."""


def pack_difference(folder: Path, out: Path) -> int:
    """Write the arrays of an encoder in which it differs from the embedded one, large ones as int8 with scales.

    Args:
        folder: an encoder that was trained from ``embedded``.
        out: folder of ``model.safetensors``, created if missing.

    Returns:
        Number of arrays.

    Raises:
        UserError: if its arrays have other names or shapes, or none differs.
    """
    import torch

    from speechkit.encoders.load import load_speech_encoder
    from speechkit.nn.int8_weights import quantize_weights

    base, own = (_arrays(load_speech_encoder(name)) for name in ("embedded", str(folder)))
    shapes = [{key: tuple(value.shape) for key, value in arrays.items()} for arrays in (base, own)]
    if other := sorted(key for key in {*base, *own} if shapes[0].get(key) != shapes[1].get(key)):
        raise UserError(f"{folder}: {other[0]} is not as in the embedded encoder; give an encoder trained from it")
    differing = {key: value for key, value in own.items() if not torch.equal(value, base[key])}
    if not differing:
        raise UserError(f"{folder}: does not differ from the embedded encoder; give a trained one")
    write_tensors(out / WEIGHTS, quantize_weights(differing), {"format": "pt"})
    return len(differing)


def apply_difference(encoder: SpeechEncoder, name: str, folder: Path) -> None:
    """Turn the embedded encoder into one that was derived from it.

    Args:
        encoder: the embedded encoder with all its layers; changed in place.
        name: name of the result in its spec.
        folder: written by `pack_difference`.

    Raises:
        UserError: if the weights are missing, damaged, or not those of the embedded encoder.
    """
    import msgspec
    from safetensors.torch import load_file

    from speechkit.encoders.transformers_encoder import weights_digest
    from speechkit.nn.int8_weights import dequantize_weights, stored_shapes

    path = packaged_folder(folder, f"encoder {name}") / WEIGHTS
    network: Any = encoder.network
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    try:
        stored = stored_shapes(stored_weights(path))
    except ValueError as error:
        raise UserError(f"{path}: {error}; install the package again") from error
    if other := sorted(key for key in stored if expected.get(key) != stored[key]):
        raise UserError(f"{path}: {other[0]} does not fit the embedded encoder; install the package again")
    network.load_state_dict(dequantize_weights(load_file(path)), strict=False)
    encoder.spec = msgspec.structs.replace(
        encoder.spec, model=f"{encoder.spec.model.split()[0]} {name}", weights=weights_digest(network)
    )


def _arrays(encoder: Any) -> dict[str, Any]:
    return {key: value.float() for key, value in encoder.network.state_dict().items()}
