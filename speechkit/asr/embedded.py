"""The CTC character model in the package, as an emitter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError

MODELS = Path(__file__).parent / "models"


def embedded_folder(lang: str) -> Path:
    """Folder of the embedded model for a language.

    Raises:
        UserError: if the package has none.
    """
    folder = MODELS / lang
    if not (folder / "model.safetensors").is_file():
        known = sorted(path.parent.name for path in MODELS.glob("*/model.safetensors"))
        raise UserError(
            f"no embedded recogniser for lang {lang!r} (there is {', '.join(known) or 'none'}); "
            "name a Hugging Face CTC checkpoint or folder, faster-whisper:MODEL or words:FILE as the recogniser"
        )
    return folder


def embedded_words(lang: str) -> Path | None:
    """The n-gram model of words for beam search with a language's embedded recogniser; None if the package has none."""
    path = MODELS / lang / "words.safetensors"
    return path if path.is_file() else None


class EmbeddedEmitter:
    """`CtcModel` on a device; in bfloat16 where the processor is faster with it."""

    silent: frozenset[int] = frozenset()
    blank = 0

    def __init__(self, folder: str | Path, device: str = "cpu", batch_size: int | None = None):
        import torch

        from speechkit.asr.ctc_model import FRAME_SAMPLES, CtcModel
        from speechkit.runtime.device import autocast_dtype

        self._torch = torch
        self._device = device
        self._model = CtcModel.from_pretrained(folder).to(device)
        self.vocabulary = self._model.config.vocabulary
        self.frame_samples = FRAME_SAMPLES
        self.max_frames = self._model.config.max_frames
        # On a CPU, padded batches are slower than single windows.
        self.batch_size = batch_size or (1 if device == "cpu" else 16)
        self._half = autocast_dtype(device)

    def emit(self, waveforms: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Log-probabilities (frames, V) float32 of each waveform (samples,) at 16 kHz."""
        torch = self._torch
        with (
            torch.inference_mode(),
            torch.autocast(self._device.split(":")[0], self._half, enabled=self._half is not None),
        ):
            samples = [-(-len(waveform) // 320) * 320 for waveform in waveforms]
            mels = []
            for waveform, length in zip(waveforms, samples, strict=True):
                padded = np.zeros(length, np.float32)
                padded[: len(waveform)] = waveform
                mels.append(self._model.log_mel(torch.from_numpy(padded).to(self._device)))
            lengths = torch.tensor([len(mel) for mel in mels], device=self._device)
            batch = torch.nn.utils.rnn.pad_sequence(mels, batch_first=True)
            log_probs, _ = self._model(batch, lengths)
            return [
                item[: length // 320].float().cpu().numpy() for item, length in zip(log_probs, samples, strict=True)
            ]
