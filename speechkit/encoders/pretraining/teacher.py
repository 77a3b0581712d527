"""A Whisper encoder as a teacher: the states of its layers at exactly the frames of a wav2vec 2.0 student.

Source: Radford et al. 2022 (encoder).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.encoders.checkpoint import ENCODER, load_whole
from speechkit.encoders.families.whisper import convolved, run_layers
from speechkit.errors import UserError
from speechkit.io.ctranslate2 import read_ctranslate2
from speechkit.nn.checkpoints import load_pretrained, readable
from speechkit.nn.masks import length_mask
from speechkit.nn.mel import MEL_HOP_SAMPLES, LogMel

HOP_SAMPLES = 2 * MEL_HOP_SAMPLES
"""Of Whisper's encoder, whose second convolution has a stride of two mel frames."""

HEAD_WIDTH = 64
"""All Whisper models have attention heads of this width; the file does not store their number."""


def read_whisper_encoder(path: str | Path) -> Any:
    """A transformers ``WhisperEncoder`` from a hub id, a folder with safetensors, or a CTranslate2 ``model.bin``.

    Raises:
        UserError: if the file or folder contains no complete Whisper encoder.
    """
    from transformers import AutoConfig, WhisperModel

    if Path(path).is_file():
        return _from_ctranslate2(Path(path))
    with readable(path, ENCODER):
        family = load_pretrained(AutoConfig, path).model_type
    if family != "whisper":
        raise UserError(f"{path}: is a {family} model; give a Whisper model")
    model, _ = load_whole(WhisperModel, str(path), lambda key: not key.startswith("decoder."))
    return model.encoder.eval()


def _from_ctranslate2(path: Path) -> Any:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    stored = {name.removeprefix("encoder/"): value for name, value in read_ctranslate2(path, "encoder/").items()}
    if "conv1/weight" not in stored:
        raise UserError(f"{path}: contains no Whisper encoder; give the model.bin of a Whisper model")
    width, channels, _ = stored["conv1/weight"].shape
    layers = len({name.split("/")[0] for name in stored if name.startswith("layer_") and "/" in name} - {"layer_norm"})
    config = WhisperConfig(
        d_model=width,
        num_mel_bins=channels,
        encoder_layers=layers,
        encoder_attention_heads=width // HEAD_WIDTH,
        encoder_ffn_dim=4 * width,
        attn_implementation="eager",
    )
    encoder = WhisperEncoder(config)
    weights: dict[str, np.ndarray] = {}
    for part in ("conv1", "conv2"):
        weights |= {f"{part}.{kind}": stored[f"{part}/{kind}"] for kind in ("weight", "bias")}
    _norm(weights, "layer_norm", stored, "layer_norm")
    for index in range(layers):
        ours, theirs = f"layers.{index}", f"layer_{index}"
        _norm(weights, f"{ours}.self_attn_layer_norm", stored, f"{theirs}/self_attention/layer_norm")
        _norm(weights, f"{ours}.final_layer_norm", stored, f"{theirs}/ffn/layer_norm")
        for kind in ("weight", "bias"):
            joined = stored[f"{theirs}/self_attention/linear_0/{kind}"]
            for name, piece in zip("qkv", np.split(joined, 3), strict=True):
                if (name, kind) != ("k", "bias"):  # Whisper's keys have none; the file stores zeros
                    weights[f"{ours}.self_attn.{name}_proj.{kind}"] = piece
            weights[f"{ours}.self_attn.out_proj.{kind}"] = stored[f"{theirs}/self_attention/linear_1/{kind}"]
            weights[f"{ours}.fc1.{kind}"] = stored[f"{theirs}/ffn/linear_0/{kind}"]
            weights[f"{ours}.fc2.{kind}"] = stored[f"{theirs}/ffn/linear_1/{kind}"]
    tensors = {name: torch.from_numpy(value.astype(np.float32)) for name, value in weights.items()}
    missing, unexpected = encoder.load_state_dict(tensors, strict=False)
    if unexpected or set(missing) - {"embed_positions.weight"}:  # positions are fixed sinusoids, made by the class
        raise UserError(f"{path}: is not a supported Whisper encoder ({(missing + unexpected)[0]}); give another model")
    return encoder.eval()


def _norm(weights: dict[str, np.ndarray], ours: str, stored: dict[str, np.ndarray], theirs: str) -> None:
    weights[f"{ours}.weight"], weights[f"{ours}.bias"] = stored[f"{theirs}/gamma"], stored[f"{theirs}/beta"]


class WhisperTeacher(nn.Module):
    """States of every layer of a Whisper encoder for waveforms of any length up to its positions.

    A student's frame t is centred at sample 320 t + 160, Whisper's at 320 t, so the waveform is advanced by half a
    frame.
    """

    def __init__(self, encoder: Any):
        super().__init__()
        self.encoder = encoder
        self.max_samples = int(encoder.config.max_source_positions) * HOP_SAMPLES
        self.mel = LogMel(int(encoder.config.num_mel_bins))
        for value in self.parameters():
            value.requires_grad_(False)

    def log_mel(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Whisper's features: (B, S) and samples (B,) to (B, C, S // 160), zero after the end of each item."""
        advanced = F.pad(waveforms, (0, HOP_SAMPLES // 2))[:, HOP_SAMPLES // 2 :]
        mel: Tensor = self.mel(advanced.float()).transpose(1, 2)
        return mel * length_mask(lengths // MEL_HOP_SAMPLES, mel.shape[-1])[:, None]

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor) -> list[Tensor]:
        """The input of the first layer without positions, then the output of every layer; the last is normalised.

        Args:
            waveforms: (B, S) at 16 kHz in [-1, 1], zero after the end of each item.
            lengths: samples of each item (B,).

        Returns:
            layers + 1 tensors (B, S // 320, D); values after an item's frames are undefined.
        """
        with torch.autocast(waveforms.device.type, enabled=False):
            mel = self.log_mel(waveforms, lengths)
        frames = lengths // HOP_SAMPLES
        x = convolved(self.encoder, mel, frames)[:, : waveforms.shape[1] // HOP_SAMPLES]
        return [x, *run_layers(self.encoder, x, frames)]
