"""Any Hugging Face CTC checkpoint (Wav2Vec2, HuBERT, WavLM, Wav2Vec2-BERT …) as an emitter."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError

CHECKPOINT = (
    "a Hugging Face CTC checkpoint",
    "config.json, model.safetensors, preprocessor_config.json and a tokenizer",
)


class HuggingFaceEmitter:
    """A checkpoint by hub id or folder: `AutoModelForCTC` with its feature extractor and tokenizer.

    Raises:
        UserError: if the checkpoint cannot be loaded, is stored as pickle only, lacks weights (as one without an output
            does) or has no CTC vocabulary.
    """

    def __init__(self, name: str, device: str = "cpu", batch_size: int | None = None):
        import torch
        from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer

        from speechkit.encoders.checkpoint import load_whole
        from speechkit.nn.checkpoints import load_pretrained, readable
        from speechkit.runtime.device import autocast_dtype

        self._torch = torch
        self._device = device
        model, _ = load_whole(AutoModelForCTC, name, described=CHECKPOINT)
        self._model: Any = model.eval().to(device)
        with readable(name, CHECKPOINT):
            self._features: Any = load_pretrained(AutoFeatureExtractor, name)
            tokenizer: Any = load_pretrained(AutoTokenizer, name)
        rate = int(getattr(self._features, "sampling_rate", 16_000))
        if rate != 16_000:
            raise UserError(f"{name}: expects {rate} Hz audio; only 16 kHz checkpoints are supported")
        self.vocabulary, self.blank, self.silent = ctc_vocabulary(tokenizer, int(self._model.config.vocab_size), name)
        self.frame_samples = frame_samples(self._model.config, self._features)
        self.batch_size = batch_size or (1 if device == "cpu" else 8)
        self._half = autocast_dtype(device)

    def weights_hash(self) -> str:
        """Digest of all weights by name, shape and value."""
        digest = hashlib.blake2b(digest_size=16)
        for key, tensor in sorted(self._model.state_dict().items()):
            digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(self._torch.uint8).numpy().data)
        return digest.hexdigest()

    def emit(self, waveforms: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Log-probabilities (frames, V) float32 of each waveform (samples,) at 16 kHz."""
        torch = self._torch
        frames = [-(-len(waveform) // self.frame_samples) for waveform in waveforms]
        least = 4 * self.frame_samples  # shorter input has no frame at all after the convolutions
        padded = [np.pad(waveform, (0, max(0, least - len(waveform)))) for waveform in waveforms]
        inputs = self._features(
            padded, sampling_rate=16_000, return_tensors="pt", padding=True, return_attention_mask=len(padded) > 1
        )
        inputs = {key: value.to(self._device) for key, value in inputs.items()}
        with (
            torch.inference_mode(),
            torch.autocast(self._device.split(":")[0], self._half, enabled=self._half is not None),
        ):
            logits = self._model(**inputs).logits
        log_probs = logits.float().log_softmax(-1).cpu().numpy()
        return [_with_frames(item, count) for item, count in zip(log_probs, frames, strict=True)]


def _with_frames(log_probs: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Exactly ``count`` frames: convolutions without padding give one or two fewer, whose place the last one takes."""
    if len(log_probs) >= count:
        return log_probs[:count]
    return np.concatenate([log_probs, np.repeat(log_probs[-1:], count - len(log_probs), axis=0)])


def frame_samples(config: Any, features: Any) -> int:
    """Samples from one output frame to the next: the product of all strides."""
    strides = getattr(config, "conv_stride", None)
    if strides is not None:
        hop = int(np.prod(strides))
    else:  # mel input: 10 ms frames, stacked
        hop = 160 * int(getattr(features, "stride", 1))
    if getattr(config, "add_adapter", False):
        hop *= int(config.adapter_stride) ** int(config.num_adapter_layers)
    return hop


def ctc_vocabulary(tokenizer: Any, size: int, name: str) -> tuple[tuple[str, ...], int, frozenset[int]]:
    """Symbols by id, the blank, and the symbols that write nothing.

    Upper case becomes lower case where no two symbols would fall together; the word delimiter becomes a space.

    Raises:
        UserError: if the tokenizer has no padding symbol, which is the blank of CTC.
    """
    blank = tokenizer.pad_token_id
    if blank is None:
        raise UserError(f"{name}: its tokenizer has no padding symbol, so the CTC blank is unknown; set pad_token")
    symbols = [""] * size
    for symbol, index in tokenizer.get_vocab().items():
        if index < size:
            symbols[index] = symbol
    delimiter = getattr(tokenizer, "word_delimiter_token", None)
    special = set(tokenizer.all_special_ids) - {tokenizer.convert_tokens_to_ids(delimiter) if delimiter else None}
    silent = frozenset(index for index in range(size) if index in special or not symbols[index])
    written = [" " if symbol == delimiter else symbol for symbol in symbols]
    lowered = [text if index in silent else text.lower() for index, text in enumerate(written)]
    plain = [text for index, text in enumerate(lowered) if index not in silent]
    return tuple(lowered if len(set(plain)) == len(plain) else written), int(blank), silent - {int(blank)}
