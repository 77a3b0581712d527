"""Checkpoints of transformers: wav2vec 2.0, HuBERT, WavLM, data2vec-audio, Wav2Vec2-BERT and Whisper's encoder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechkit.encoders.checkpoint import load_whole, readable
from speechkit.encoders.convolutions import RowConvolutions, faster_by_rows
from speechkit.encoders.encoder import Encoder, Float, checked
from speechkit.encoders.layers import exit_early, recorded
from speechkit.encoders.padding import Lengths, guard
from speechkit.encoders.spec import HOP_SAMPLES, SAMPLE_RATE, EncoderSpec
from speechkit.errors import ConfigError, UserError
from speechkit.io.hashing import digest_obj
from speechkit.runtime import autocast_dtype

WAVEFORM_FAMILIES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio")
FAMILIES = (*WAVEFORM_FAMILIES, "wav2vec2-bert", "whisper")
EDGE_SAMPLES = 40
"""Before and behind a waveform, so that convolutions over 400 samples give exactly S // 320 frames."""


def load_checkpoint(name: str, layer: int | None = None) -> tuple[Any, Any, str]:
    """The network, its feature extractor (None where the folder has none) and its family.

    Args:
        name: hub id or folder.
        layer: the last layer that will run; the checkpoint may lack those above it.

    Raises:
        UserError: if it cannot be loaded, is stored as pickle only, lacks weights, or is of another family.
    """
    from transformers import AutoConfig, AutoFeatureExtractor, AutoModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of reading weights: it says nothing of the work

    with readable(name):
        family = str(AutoConfig.from_pretrained(name).model_type)
    if family not in FAMILIES:
        raise UserError(f"{name}: is a {family} model; an encoder is one of {', '.join(FAMILIES)}")
    model, drawn = load_whole(AutoModel, name, lambda key: _runs(key, layer))
    weights = model.state_dict()
    for key in drawn:
        weights[key].zero_()  # so that two loads have one digest
    try:
        extractor = AutoFeatureExtractor.from_pretrained(name)
    except (OSError, ValueError):
        if family not in WAVEFORM_FAMILIES:
            raise UserError(f"{name}: has no preprocessor_config.json, which says how its features are made") from None
        extractor = None
    rate = int(getattr(extractor, "sampling_rate", SAMPLE_RATE))
    if rate != SAMPLE_RATE:
        raise UserError(f"{name}: expects {rate} Hz audio; only 16 kHz checkpoints are supported")
    return model, extractor, family


def _runs(key: str, layer: int | None) -> bool:
    """Whether a weight has a part in the frames of a layer: Whisper's decoder and the layers above have none."""
    above = re.match(r"encoder\.layers\.(\d+)\.", key)
    return not key.startswith("decoder.") and (layer is None or above is None or int(above[1]) < layer)


def weights_digest(model: torch.nn.Module) -> str:
    """Digest of all weights by name, shape and value."""
    digest = hashlib.blake2b(digest_size=16)
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class HuggingFaceEncoder(Encoder):
    """A transformers encoder, always in evaluation mode, run no further than the layer asked for.

    Args:
        name: hub id or folder.
        layer: 0 (the input of the first layer) to the number of layers; the last when absent.
        layer_weights: one number a layer, beginning with layer 0, for a weighted sum instead.
        device: ``cpu``, ``cuda:0`` …
        dtype: ``auto`` for bfloat16 where it is faster, ``float32``, or ``bfloat16``.
        compat: the stock computation of transformers, padding and all, with its own number of frames.
    """

    def __init__(
        self,
        name: str,
        layer: int | None,
        layer_weights: Sequence[float] | None,
        device: str,
        dtype: str,
        compat: bool,
    ):
        model, extractor, self.family = load_checkpoint(name, layer)
        digest = weights_digest(model)
        network = model.encoder if self.family == "whisper" else model
        self._transformer = network if self.family == "whisper" else network.encoder
        total = len(self._transformer.layers)
        if layer_weights is not None and (layer is not None or len(layer_weights) != total + 1):
            raise ConfigError(
                f"{name}: {len(layer_weights)} layer_weights and layer={layer}; give {total + 1} weights (layer 0 is "
                "the input of the first) and no layer"
            )
        if layer is not None and not 0 <= layer <= total:
            raise ConfigError(f"{name}: has layers 0 to {total}, not {layer}")
        self.num_layers = total if layer is None else layer
        self._layer_weights = None if layer_weights is None else torch.tensor(layer_weights, dtype=torch.float32)
        exit_early(self._transformer, self.num_layers, self._final_norm(network.config))
        self._model = network.eval().to(device)
        self._device = device
        self._compat = compat
        self._extractor = extractor
        self._lengths: Lengths | None = None
        if self.family in WAVEFORM_FAMILIES and not compat:
            self._lengths = guard(network)
            if device == "cpu" and faster_by_rows(network.feature_extractor):
                network.feature_extractor = RowConvolutions(network.feature_extractor, self._lengths)
        self._half = {"auto": autocast_dtype(device), "float32": None, "bfloat16": torch.bfloat16}[dtype]
        normalization = self._normalization() + (", stock padding" if compat else "")
        self.spec = EncoderSpec(
            model=f"{self.family} {Path(name).name}",
            weights=digest,
            layer=str(self.num_layers)
            if layer_weights is None
            else f"weighted:{digest_obj([round(float(w), 6) for w in layer_weights])}",
            normalization=normalization,
            dim=int(getattr(network.config, "d_model", 0) or network.config.hidden_size),
        )

    def _final_norm(self, config: Any) -> str | None:
        """The name of the norm behind the last layer, where there is one."""
        stands_last = self.family == "whisper" or bool(getattr(config, "do_stable_layer_norm", False))
        return "layer_norm" if stands_last else None

    def _normalization(self) -> str:
        if self.family == "whisper":
            return "whisper log-mel"
        if self.family == "wav2vec2-bert":
            return "stacked log-mel, each band standardised"
        return "standardised" if self._standardises else "none"

    @property
    def _standardises(self) -> bool:
        return self._extractor is None or bool(getattr(self._extractor, "do_normalize", True))

    def encode_batch(self, waveforms: Sequence[Float]) -> list[Float]:
        """See `Encoder`."""
        weights = self._layer_weights
        # One layer alone leaves the device: all of them are many times the bytes.
        wanted = slice(self.num_layers, self.num_layers + 1) if weights is None else slice(None)
        answers = []
        for states in self._states(checked(waveforms), wanted):
            chosen = states[0] if weights is None else torch.tensordot(weights, states, dims=1)
            answers.append(np.asarray(chosen.numpy(), np.float32))
        return answers

    def encode_layers(self, waveform: Float) -> Float:
        """See `Encoder`."""
        states = next(iter(self._states(checked([waveform]), slice(self.num_layers + 1))))
        return np.asarray(states.numpy(), np.float32)

    def _states(self, waveforms: list[Float], wanted: slice) -> list[Tensor]:
        """The layers wanted of each waveform (layers, T, D), float32; those shorter than a frame have no T."""
        frames = [len(waveform) // HOP_SAMPLES for waveform in waveforms]
        long_enough = [index for index, count in enumerate(frames) if count]
        empty = torch.zeros(len(range(self.num_layers + 1)[wanted]), 0, self.spec.dim)
        answers = [empty] * len(waveforms)
        if long_enough:
            layers, counts = self._run([waveforms[index] for index in long_enough])
            for row, index in enumerate(long_enough):
                answers[index] = torch.stack([layer[row, : counts[row]] for layer in layers[wanted]]).float().cpu()
        return answers

    def _run(self, waveforms: list[Float]) -> tuple[list[Tensor], list[int]]:
        half = self._half
        autocast = torch.autocast(self._device.split(":")[0], half) if half is not None else nullcontext()
        with torch.inference_mode(), autocast, recorded(self._transformer) as states:
            if self._compat:
                last, counts = self._run_stock(waveforms)
            elif self.family == "whisper":
                last, counts = self._run_whisper(waveforms)
            elif self.family == "wav2vec2-bert":
                last, counts = self._run_bert(waveforms)
            else:
                last, counts = self._run_waveforms(waveforms)
        # Some encoders norm the last state outside of its layer.
        if self.num_layers:
            states[-1] = last
        return states, counts

    def _run_waveforms(self, waveforms: list[Float]) -> tuple[Tensor, list[int]]:
        frames = [len(waveform) // HOP_SAMPLES for waveform in waveforms]
        ready = [np.pad(self._standardised(waveform), (EDGE_SAMPLES, EDGE_SAMPLES)) for waveform in waveforms]
        inputs, samples = _stack(ready, self._device)
        assert self._lengths is not None
        self._lengths.samples = samples
        self._lengths.frames = torch.tensor(frames, device=self._device)
        # The mask is of samples; it must give exactly our frames through the model's own arithmetic.
        mask = torch.arange(inputs.shape[1], device=self._device)[None] < samples[:, None]
        try:
            return self._model(inputs, attention_mask=mask.long()).last_hidden_state, frames
        finally:
            self._lengths.samples = self._lengths.frames = None

    def _standardised(self, waveform: Float) -> Float:
        if not self._standardises:
            return waveform
        return np.asarray((waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7), np.float32)

    def _run_whisper(self, waveforms: list[Float]) -> tuple[Tensor, list[int]]:
        """Whisper's encoder without its thirty seconds of padding: positions, then layers under a mask."""
        frames = [len(waveform) // HOP_SAMPLES for waveform in waveforms]
        model = self._model
        most = int(model.config.max_source_positions)
        if max(frames) > most:
            raise UserError(
                f"a waveform of {max(frames)} frames is longer than the {most} positions of this model; encode_long "
                "takes recordings of any length"
            )
        mels = [self._whisper_mel(waveform, 2 * count) for waveform, count in zip(waveforms, frames, strict=True)]
        longest = max(frames)
        mel = torch.stack([torch.nn.functional.pad(item, (0, 2 * longest - item.shape[1])) for item in mels])
        mel = mel.to(self._device)
        count = torch.tensor(frames, device=self._device)
        inside = torch.arange(2 * longest, device=self._device)[None] < 2 * count[:, None]
        x = torch.nn.functional.gelu(model.conv1(mel)) * inside[:, None]
        x = torch.nn.functional.gelu(model.conv2(x)).transpose(1, 2)
        x = x + model.embed_positions.weight[:longest]
        outside = torch.arange(longest, device=self._device)[None] >= count[:, None]
        mask = torch.zeros(outside.shape, dtype=x.dtype, device=self._device).masked_fill(outside, -1e4)[:, None, None]
        for layer in model.layers:
            answer = layer(x, mask)
            x = answer[0] if isinstance(answer, tuple) else answer
        return model.layer_norm(x), frames

    def _whisper_mel(self, waveform: Float, mel_frames: int) -> Tensor:
        """Log-mel (bands, mel_frames) of the item alone, by the extractor's own filters."""
        from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

        extractor = self._extractor
        filters = getattr(extractor, "mel_filters", None)
        if filters is None:
            filters = mel_filter_bank(
                201, extractor.feature_size, 0.0, 8000.0, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
            )
        padded = waveform if len(waveform) > 200 else np.pad(waveform, (0, 201 - len(waveform)))
        mel = spectrogram(
            padded, window_function(400, "hann"), 400, 160, power=2.0, mel_filters=filters, log_mel="log10"
        )[:, :mel_frames]
        mel = np.maximum(mel, mel.max() - 8.0)
        return torch.from_numpy(np.asarray((mel + 4.0) / 4.0, np.float32))

    def _run_bert(self, waveforms: list[Float]) -> tuple[Tensor, list[int]]:
        """Wav2Vec2-BERT on features made for each item alone, which standardises its bands over its own frames."""
        frames = [len(waveform) // HOP_SAMPLES for waveform in waveforms]
        features = []
        for waveform, count in zip(waveforms, frames, strict=True):
            # Windows of 400 samples every 160, stacked by two: the edges are filled so that there are S // 320 pairs.
            padded = np.pad(waveform[: count * HOP_SAMPLES], (120, 120))
            made = self._extractor(padded, sampling_rate=SAMPLE_RATE, return_tensors="pt", padding=False)
            features.append(made["input_features"][0][:count])
        counts = [len(item) for item in features]
        inputs = torch.nn.utils.rnn.pad_sequence(features, batch_first=True).to(self._device)
        mask = torch.arange(inputs.shape[1])[None] < torch.tensor(counts)[:, None]
        return self._model(inputs, attention_mask=mask.long().to(self._device)).last_hidden_state, counts

    def _run_stock(self, waveforms: list[Float]) -> tuple[Tensor, list[int]]:
        extractor = self._extractor
        if extractor is None:
            raise UserError("compat=True needs the checkpoint's preprocessor_config.json, and there is none")
        made = extractor(
            list(waveforms),
            sampling_rate=SAMPLE_RATE,
            return_tensors="pt",
            padding=self.family != "whisper" or "max_length",
        )
        inputs = {key: value.to(self._device) for key, value in made.items()}
        last = self._model(**inputs).last_hidden_state
        if self.family in WAVEFORM_FAMILIES:
            lengths = torch.tensor([len(waveform) for waveform in waveforms])
            counts = self._model._get_feat_extract_output_lengths(lengths).tolist()
        elif self.family == "whisper":
            counts = [min(last.shape[1], len(waveform) // HOP_SAMPLES) for waveform in waveforms]
        else:
            counts = inputs["attention_mask"].sum(1).tolist()
        return last, [int(count) for count in counts]


def _stack(waveforms: list[Float], device: str) -> tuple[Tensor, Tensor]:
    """Zero-padded (B, S) and the samples of each (B,)."""
    inputs = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(item) for item in waveforms], batch_first=True)
    return inputs.to(device), torch.tensor([len(item) for item in waveforms], device=device)
