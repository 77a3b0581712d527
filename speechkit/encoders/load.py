"""Choose an encoder by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from speechkit.errors import ConfigError, UserError

SMALL = Path(__file__).parent / "models" / "small"

if TYPE_CHECKING:
    from speechkit.encoders.encoder import Encoder
    from speechkit.encoders.model import Normalization, SpeechEncoder


def load_encoder(
    name_or_path: str = "embedded",
    *,
    layer: int | None = None,
    layer_weights: Sequence[float] | None = None,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16"] = "auto",
    compat: bool = False,
    normalization: Normalization | None = None,
) -> Encoder:
    """An encoder by name.

    Args:
        name_or_path: ``embedded``: the small one in the package; ``embedded-syllables``: the same, trained for
            syllables; ``log-mel`` or ``mfcc``: without weights; else a hub id or folder of wav2vec 2.0, HuBERT, WavLM,
            data2vec-audio, Wav2Vec2-BERT or Whisper.
        layer: 0, the input of the first layer, to the number of layers; default: the last.
        layer_weights: one weight per layer, from layer 0, for a weighted sum.
        device: ``auto``, ``cpu``, ``cuda`` …
        dtype: ``auto`` is bfloat16 autocast where the device is faster with it.
        compat: frames equal to stock transformers and fairseq for single recordings, as used for published codebooks.
            The wav2vec 2.0 family and Wav2Vec2-BERT then have the stock grid, usually one frame fewer; Whisper pads
            with silence to 30 seconds.
        normalization: of the waveform, ``none`` or ``standardised``; default: the checkpoint's.

    Raises:
        UserError: if there is no such encoder or layer, or it cannot be loaded.
    """
    from speechkit.encoders.encoder import Encoder
    from speechkit.runtime import choose_device

    if dtype not in ("auto", "float32", "bfloat16"):
        raise ConfigError(f"dtype is {dtype!r}; choose auto, float32 or bfloat16")
    if layer is not None and layer_weights is not None:
        raise ConfigError(f"{name_or_path}: layer_weights take all layers; leave layer={layer} out")
    model = load_speech_encoder(name_or_path, layer=layer, compat=compat, normalization=normalization)
    return Encoder(model, layer_weights, choose_device(device), dtype)


def load_speech_encoder(
    name_or_path: str = "embedded",
    *,
    layer: int | None = None,
    compat: bool = False,
    normalization: Normalization | None = None,
    trainable: bool = False,
) -> SpeechEncoder:
    """The model of an encoder on the CPU, for training or custom computation.

    Args:
        name_or_path: see `load_encoder`.
        layer: the last layer to keep; default: all.
        compat: see `load_encoder`.
        normalization: see `load_encoder`.
        trainable: refuse encoders without gradients.

    Raises:
        UserError: if there is no such encoder or layer, it cannot be loaded, or cannot be trained.
    """
    from speechkit.encoders.derived import DERIVED, apply_difference
    from speechkit.encoders.families import family_of

    derived = DERIVED.get(name_or_path)
    name = checkpoint_name("embedded") if derived is not None or name_or_path == "embedded" else name_or_path
    family = family_of(name)
    if trainable and not family.has_weights:
        raise ConfigError(f"{name_or_path} has no weights; choose an encoder with weights")
    model = family.load(name, layer, compat)
    if derived is not None:
        apply_difference(model, name_or_path, derived)
    if normalization is not None:
        model.normalise(normalization)
    if layer is not None:
        if not model.num_layers and layer:
            raise ConfigError(f"{name_or_path} has no layers to choose from; leave layer out")
        if not 0 <= layer <= model.num_layers:
            raise ConfigError(f"{name_or_path}: has layers 0 to {model.num_layers}, not {layer}")
        model.truncate(layer)
    if trainable and not model.trainable:
        raise UserError(
            f"{name_or_path}: a {family.name} encoder can only be used frozen; choose one of the wav2vec 2.0 family"
        )
    return model


def checkpoint_name(name: str) -> str:
    """The folder of ``embedded``; any other hub id or folder unchanged.

    Raises:
        ConfigError: for an encoder without weights, such as ``mfcc``, or one that is stored as a difference.
        UserError: if the weights in the package are missing.
    """
    from speechkit.encoders.derived import DERIVED

    if name in DERIVED:
        raise ConfigError(
            f"{name} is stored as its difference from embedded and has no folder; write one with "
            f"load_speech_encoder({name!r}).save(FOLDER), and give that"
        )
    if name != "embedded":
        from speechkit.encoders.families import families

        if name in families() and not families()[name].has_weights:
            raise ConfigError(f"{name} has no weights; choose an encoder with weights")
        return name
    from speechkit.nn.checkpoints import packaged_folder

    return str(packaged_folder(SMALL, "encoder"))


def encoder_digest(name: str) -> str:
    """Digest for an encoder's name: of the files of its folder, or the name itself if it is not a folder.

    Cards (``*.md``) are excluded.
    """
    from speechkit.encoders.derived import DERIVED
    from speechkit.io.hashing import digest_file

    folders = [SMALL, DERIVED[name]] if name in DERIVED else [SMALL if name == "embedded" else Path(name)]
    if not folders[-1].is_dir():
        return name
    listing = [path for folder in folders for path in sorted(folder.rglob("*"))]
    files = (path for path in listing if path.is_file() and path.suffix != ".md")
    return " ".join(digest_file(path) for path in files)


def encoder_digests(names: str) -> str:
    """Digests for several encoders' names; see `encoder_digest`."""
    return "; ".join(f"{name} {encoder_digest(name)}" for name in listed(names))


def listed(names: str) -> list[str]:
    """Names in a comma-separated list."""
    return [name.strip() for name in names.split(",") if name.strip()]


def safe(name: str) -> str:
    """The name of an encoder or recogniser as a folder name; different names give different folders."""
    from speechkit.io.hashing import digest_obj

    plain = re.sub(r"[^\w.-]+", "_", name)[-40:].strip("._")
    return plain if plain == name else f"{plain}-{digest_obj(name)[:6]}"
