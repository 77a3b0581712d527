"""Write an encoder as a folder that transformers loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def save_encoder(model: Any, folder: Path, half: bool = False) -> None:
    """``config.json``, ``model.safetensors`` and ``preprocessor_config.json`` of a transformers model of waveforms.

    Args:
        model: a ``Wav2Vec2Model``, ``HubertModel`` or the like.
        folder: made if absent.
        half: store float16: half the size, and the outputs differ by about one part in a thousand.
    """
    import torch
    from transformers import Wav2Vec2FeatureExtractor

    folder.mkdir(parents=True, exist_ok=True)
    model = model.cpu().eval()
    if half:
        model = model.to(torch.float16)
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)
