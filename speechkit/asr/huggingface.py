"""Hugging Face CTC checkpoints as emitters: models of waveforms (Wav2Vec2, HuBERT, WavLM …), Wav2Vec2-BERT, Parakeet.

Feature extractors, strides and vocabularies are read from the checkpoint's own files; its code is never executed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError

CHECKPOINT = (
    "a Hugging Face CTC checkpoint",
    "config.json, model.safetensors, preprocessor_config.json and a tokenizer",
)
BYTE_PIECE = re.compile("<0x[0-9A-F]{2}>")
PIECE_SPACE = "\u2581"  # how sentencepiece writes the space before a word


@dataclass(frozen=True)
class Grid:
    """Frame grid of a model.

    Attributes:
        frame_samples: hop of the output frames at 16 kHz.
        input_name: input of the model, ``input_values`` (samples) or ``input_features`` (mel frames).
        frames_of: maps a number of valid samples or mel frames to output frames.
        lead_samples: shift of the frames: mel frames that are centred on multiples of the hop begin half a hop early.
        alone: whether padding would change the output, so that every waveform is a batch of its own.
    """

    frame_samples: int
    input_name: str
    frames_of: Callable[[int], int]
    lead_samples: int = 0
    alone: bool = False


class HuggingFaceEmitter:
    """A checkpoint by hub id or folder: `AutoModelForCTC` with its feature extractor and tokenizer.

    Raises:
        UserError: if the checkpoint cannot be loaded, is stored only as pickle, lacks weights (such as the output
            layer), belongs to an unknown family, has the feature extractor of another one, or has no CTC vocabulary.
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
        self._grid = grid_of(self._model.config, self._features, name)
        if self._grid.input_name not in self._features.model_input_names:
            raise UserError(
                f"{name}: its preprocessor_config.json is of a {type(self._features).__name__}, which does not give "
                f"{self._grid.input_name}; get the file of the same checkpoint"
            )
        self.vocabulary, self.blank, self.silent = ctc_vocabulary(tokenizer, int(self._model.config.vocab_size), name)
        self.frame_samples = self._grid.frame_samples
        self.batch_size = 1 if self._grid.alone else batch_size or (1 if device == "cpu" else 8)
        self._half = autocast_dtype(device)

    def weights_hash(self) -> str:
        """Digest of all weights by name, shape and value."""
        digest = hashlib.blake2b(digest_size=16)
        for key, tensor in sorted(self._model.state_dict().items()):
            digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(self._torch.uint8).numpy().data)
        return digest.hexdigest()

    def emit(self, waveforms: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Log-probabilities (frames, V) float32 of each waveform (samples,) at 16 kHz."""
        torch, grid = self._torch, self._grid
        frames = [-(-len(waveform) // grid.frame_samples) for waveform in waveforms]
        shortest = 4 * grid.frame_samples  # shorter input gives no output frame
        padded = [np.pad(waveform, (0, max(0, shortest - len(waveform)))) for waveform in waveforms]
        # Reflected rather than zero-padded, since some models normalise over the whole input.
        padded = [np.pad(waveform, (grid.lead_samples, 0), mode="reflect") for waveform in padded]
        masked = len(padded) > 1 or grid.input_name == "input_features"
        inputs = self._features(
            padded, sampling_rate=16_000, return_tensors="pt", padding=True, return_attention_mask=masked
        )
        valid = inputs["attention_mask"].sum(-1).tolist() if masked else [len(waveform) for waveform in padded]
        inputs = {key: value.to(self._device) for key, value in inputs.items()}
        with (
            torch.inference_mode(),
            torch.autocast(self._device.split(":")[0], self._half, enabled=self._half is not None),
        ):
            logits = self._model(**inputs).logits
        log_probs = logits.float().log_softmax(-1).cpu().numpy()
        first = 1 if grid.lead_samples else 0
        return [
            _with_frames(item[: max(grid.frames_of(int(length)), first + 1)][first:], count)
            for item, length, count in zip(log_probs, valid, frames, strict=True)
        ]


def _with_frames(log_probs: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Exactly ``count`` frames: unpadded convolutions give one or two fewer; the last frame is repeated."""
    if len(log_probs) >= count:
        return log_probs[:count]
    return np.concatenate([log_probs, np.repeat(log_probs[-1:], count - len(log_probs), axis=0)])


def grid_of(config: Any, features: Any, name: str) -> Grid:
    """The frame grid of a model.

    Raises:
        UserError: if the model belongs to an unknown family.
    """
    if config.model_type == "parakeet_ctc":
        factor, hop = int(config.encoder_config.subsampling_factor), int(getattr(features, "hop_length", 160))

        def subsampled(mel_frames: int) -> int:
            for _ in range(factor.bit_length() - 1):
                mel_frames = (mel_frames - 1) // 2 + 1
            return mel_frames

        return Grid(hop * factor, "input_features", subsampled, lead_samples=hop * factor // 2)
    adapters = int(config.num_adapter_layers) if getattr(config, "add_adapter", False) else 0
    stride = int(config.adapter_stride) if adapters else 1

    def adapted(frames: int) -> int:
        for _ in range(adapters):
            frames = (frames - 1) // stride + 1
        return frames

    if config.model_type == "wav2vec2-bert":
        hop = 160 * int(getattr(features, "stride", 1))  # the extractor stacks this many frames of 10 ms
        return Grid(hop * stride**adapters, "input_features", adapted)
    if not hasattr(config, "conv_stride"):
        raise UserError(
            f"{name}: is a CTC model of the family {config.model_type}, which is not supported; give a model of "
            "waveforms (Wav2Vec2, HuBERT, WavLM, Data2Vec, UniSpeech, SEW), Wav2Vec2-BERT or Parakeet-CTC"
        )
    layers = list(zip(config.conv_kernel, config.conv_stride, strict=True))

    def convolved(samples: int) -> int:
        for kernel, step in layers:
            samples = (samples - kernel) // step + 1
        return adapted(samples)

    hop = int(np.prod(config.conv_stride)) * stride**adapters
    return Grid(hop, "input_values", convolved, alone=getattr(config, "feat_extract_norm", "layer") == "group")


def ctc_vocabulary(tokenizer: Any, size: int, name: str) -> tuple[tuple[str, ...], int, frozenset[int]]:
    """Symbols by id, the blank, and the symbols without text.

    Upper case becomes lower case unless two symbols would coincide; the word delimiter and sentencepiece's word marker
    become a space. Byte pieces are silent.

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
    pieces = delimiter is None and any(PIECE_SPACE in symbol for symbol in symbols)
    silent = frozenset(
        index
        for index, symbol in enumerate(symbols)
        if index in special or not symbol or (pieces and BYTE_PIECE.fullmatch(symbol))
    )
    written = [" " if symbol == delimiter else symbol for symbol in symbols]
    if pieces:
        written = [symbol.replace(PIECE_SPACE, " ") for symbol in written]
    lowered = [text if index in silent else text.lower() for index, text in enumerate(written)]
    plain = [text for index, text in enumerate(lowered) if index not in silent]
    return tuple(lowered if len(set(plain)) == len(plain) else written), int(blank), silent - {int(blank)}
