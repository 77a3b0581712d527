"""Text encoders: trainable embeddings of bytes, or the frozen text encoder of a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from speechkit.errors import UserError
from speechkit.nn.checkpoints import load_pretrained, readable
from speechkit.nn.masks import length_mask
from speechkit.nn.transformer import Transformer
from speechkit.tts.flow_config import BytesText, CheckpointText, TextConfig

BYTES = 256
CHECKPOINT = ("a text encoder", "config.json, model.safetensors and a tokenizer")


class TextLayers(nn.Module):
    """The trainable part of the text encoder.

    Shapes: bytes (B, L) int64 or states (B, L, dim), and lengths (B,) -> (B, L, width).
    """

    def __init__(self, config: TextConfig, width: int, heads: int, dropout: float = 0.0):
        super().__init__()
        self.transformer = None
        self.input_proj: nn.Module
        if isinstance(config, BytesText):
            self.input_proj = nn.Embedding(BYTES, width)
            self.transformer = Transformer(width, config.layers, heads, 4 * width, config.kernel, dropout=dropout)
        else:
            self.input_proj = nn.Linear(config.dim, width)

    def forward(self, text: Tensor, lengths: Tensor) -> Tensor:
        """See the class."""
        x: Tensor = self.input_proj(text)
        if self.transformer is not None:
            x = self.transformer(x, length_mask(lengths, text.shape[1]))
        return x


class FrozenText:
    """Input of `TextLayers`: a text's bytes, or its states from a frozen checkpoint.

    Args:
        config: a byte encoder, or the checkpoint.
        device: of the checkpoint's model.
        remembered: number of texts whose states are cached.
    """

    def __init__(self, config: TextConfig, device: str = "cpu", remembered: int = 0):
        self.config, self._remembered = config, remembered
        self._states: dict[str, Tensor] = {}
        self._tokenizer: Any = None
        if isinstance(config, CheckpointText):
            self._tokenizer, self._model = _load(config, device)

    def __call__(self, text: str) -> Tensor:
        """Bytes (L,) int64 or states (L, dim) of a text, on the CPU.

        Raises:
            UserError: if the text has no tokens.
        """
        if self._tokenizer is None:
            if not text:
                raise UserError("the text is empty; give at least one character")
            return torch.tensor(list(text.encode()))
        if text not in self._states:
            tokens = self._tokenizer(text, return_tensors="pt").to(self._model.device)
            if not tokens["input_ids"].numel():
                raise UserError(f"{text[:60]!r}: the text encoder makes nothing of it; give words")
            with torch.inference_mode():
                states: Tensor = self._model(**tokens).last_hidden_state[0].float().cpu()
            if len(self._states) >= self._remembered:
                return states
            self._states[text] = states
        return self._states[text]

    def padded(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """A padded batch of texts, and their lengths (B,)."""
        rows = [self(text) for text in texts]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])


def _load(config: CheckpointText, device: str) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding, AutoTokenizer
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES

    with readable(config.name, CHECKPOINT):
        settings = load_pretrained(AutoConfig, config.name)
        encoder = settings.model_type in MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES
        kind = AutoModelForTextEncoding if encoder else AutoModel
        tokenizer = load_pretrained(AutoTokenizer, config.name)
        model = load_pretrained(kind, config.name, use_safetensors=True, dtype=torch.float32).eval().to(device)
    if settings.hidden_size != config.dim:
        raise UserError(
            f"{config.name}: has states of width {settings.hidden_size}, but text.dim is {config.dim}; set "
            f"text.dim={settings.hidden_size}"
        )
    return tokenizer, model
