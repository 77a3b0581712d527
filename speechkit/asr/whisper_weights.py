"""Copy the encoder of a Whisper checkpoint in CTranslate2's format into the embedded model's shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from speechkit.asr.ctc_model import CtcModel
from speechkit.errors import UserError
from speechkit.io.ctranslate2 import read_ctranslate2


def load_whisper_encoder(model: CtcModel, path: str | Path) -> None:
    """Copy the encoder of a CTranslate2 Whisper model into `model`, which must have the same shape.

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
        value = variables.get(theirs)
        if value is None or tuple(value.shape) != tuple(targets[ours].shape):
            shape = None if value is None else tuple(value.shape)
            raise UserError(f"{path}: {theirs} has shape {shape}, but the model needs {tuple(targets[ours].shape)}")
        with torch.no_grad():
            targets[ours].copy_(torch.from_numpy(value.astype(np.float32)))
