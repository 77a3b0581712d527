"""Read the encoder of a Whisper checkpoint in CTranslate2's plain binary format.

The file is a version, the name of the specification, its revision, then per variable: name, shape, type, bytes.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from speechkit.asr.ctc_model import CtcModel
from speechkit.errors import UserError

_DTYPES = {0: "float32", 1: "int8", 2: "int16", 3: "int32", 4: "float16"}


def _read_exactly(file: BinaryIO, count: int, path: Path) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise UserError(f"{path}: ends in the middle of a variable; copy the model file again")
    return data


def read_ctranslate2(path: str | Path, prefix: str = "") -> dict[str, np.ndarray]:
    """Variables of a CTranslate2 `model.bin` whose names start with `prefix`.

    Raises:
        UserError: if the file is truncated or is not of format version 6 or earlier.
    """
    path = Path(path)
    variables: dict[str, np.ndarray] = {}
    size = path.stat().st_size
    with path.open("rb") as file:

        def number(code: str) -> int:
            return int(struct.unpack(f"<{code}", _read_exactly(file, struct.calcsize(code), path))[0])

        def string() -> str:
            return _read_exactly(file, number("H"), path).rstrip(b"\0").decode("utf-8")

        version = number("I")
        if not 3 <= version <= 6:
            raise UserError(f"{path}: is not a CTranslate2 model of a format from 3 to 6 (found {version})")
        string()
        number("I")
        for _ in range(number("I")):
            name = string()
            shape = [number("I") for _ in range(number("B"))]
            code, length = number("B"), number("I")
            if code not in _DTYPES or length > size:
                raise UserError(f"{path}: variable {name!r} has type {code} and {length} bytes; the file is damaged")
            data = _read_exactly(file, length, path)
            if name.startswith(prefix):
                variables[name] = np.frombuffer(data, _DTYPES[code]).reshape(shape)
    return variables


def load_whisper_encoder(model: CtcModel, path: str | Path) -> None:
    """Copy the encoder of a CTranslate2 Whisper model into `model`, whose shape must agree.

    Raises:
        UserError: naming the first variable that is missing or has another shape.
    """
    variables = read_ctranslate2(path, "encoder/")
    names = {"conv1": "encoder/conv1", "conv2": "encoder/conv2"}
    norms = {"encoder_norm": "encoder/layer_norm"}
    for index in range(model.config.encoder_layers):
        layer = f"encoder/layer_{index}"
        names[f"layers.{index}.attention.qkv"] = f"{layer}/self_attention/linear_0"
        names[f"layers.{index}.attention.out"] = f"{layer}/self_attention/linear_1"
        names[f"layers.{index}.feed_in"] = f"{layer}/ffn/linear_0"
        names[f"layers.{index}.feed_out"] = f"{layer}/ffn/linear_1"
        norms[f"layers.{index}.attention_norm"] = f"{layer}/self_attention/layer_norm"
        norms[f"layers.{index}.feed_norm"] = f"{layer}/ffn/layer_norm"
    sources = {f"{ours}.{part}": f"{theirs}/{part}" for ours, theirs in names.items() for part in ("weight", "bias")}
    for ours, theirs in norms.items():
        sources[f"{ours}.weight"], sources[f"{ours}.bias"] = f"{theirs}/gamma", f"{theirs}/beta"
    targets = dict(model.named_parameters())
    for ours, theirs in sources.items():
        found = variables.get(theirs)
        if found is None or tuple(found.shape) != tuple(targets[ours].shape):
            shape = None if found is None else tuple(found.shape)
            raise UserError(f"{path}: {theirs} has shape {shape}, the model needs {tuple(targets[ours].shape)}")
        with torch.no_grad():
            targets[ours].copy_(torch.from_numpy(found.astype(np.float32)))
