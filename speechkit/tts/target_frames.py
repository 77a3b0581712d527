"""Worker that computes the target frames of text2vec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from speechkit.data.records import Utterance
from speechkit.errors import AudioError
from speechkit.pipeline import NEUTRAL, SHARED, Drop, Value, Worker
from speechkit.tts.text2vec_config import FRAME_RATE

if TYPE_CHECKING:
    from speechkit.encoders.encoder import Encoder

DROP_REASONS = ("unreadable_audio", "too_fast", "not_finite")
SAMPLE_RATE = 16_000


class TargetFramesConfig(msgspec.Struct, frozen=True):
    """The target frames of text2vec.

    Attributes:
        encoder: folder, hub id or name of the encoder whose frames are predicted, as in the paper; None for log-mel
            frames.
        layer: the encoder's layer; None for the last.
    """

    encoder: Annotated[str | None, SHARED] = None
    layer: Annotated[int | None, SHARED] = None
    batch_size: Annotated[int, NEUTRAL] = 8


class TargetFrames(Worker):
    """Computes the target frames of each row at 50 Hz, as an array ``frames`` (T, F) of float16.

    ``custom.part`` selects the manifest of a row, and ``custom.symbols`` is its minimum number of frames. The spec of
    the encoder, if any, is stored in ``custom.encoder``.
    """

    def setup(self, device: str) -> None:
        """Load the encoder, if any."""
        self.encoder: Encoder | None = None
        if self.config.encoder is None:
            from speechkit.nn.mel import MelSpectrogram

            self.mel = MelSpectrogram()
            return
        from speechkit.encoders.load import load_encoder

        encoder = load_encoder(self.config.encoder, layer=self.config.layer, device=device)
        encoder.spec.require_rates("text2vec", FRAME_RATE)
        self.encoder = encoder

    def process(self, batch: list[Utterance]) -> list[Value | Drop]:
        """Each row with its frames, or the reason to drop it."""
        return [self._frames(row) for row in batch]

    def _frames(self, row: Utterance) -> Value | Drop:
        import numpy as np
        import torch

        from speechkit.data.audio import read_waveform
        from speechkit.nn.mel import stack_frames

        custom = row.custom or {}
        try:
            waveform = read_waveform(row, self.inputs[f"{custom['part']}_manifest"], sample_rate=SAMPLE_RATE)
        except AudioError as error:
            return Drop("unreadable_audio", str(error))
        if self.encoder is None:
            frames, spec = stack_frames(self.mel(torch.from_numpy(waveform))).numpy(), {}
        else:
            frames, spec = self.encoder.encode(waveform), {"encoder": msgspec.to_builtins(self.encoder.spec)}
        if len(frames) < custom["symbols"]:
            return Drop("too_fast", f"{custom['symbols']} symbols in {len(frames)} frames")
        frames = frames.astype(np.float16)
        if not np.isfinite(frames).all():
            return Drop("not_finite", "the frames overflow float16")
        utterance = msgspec.structs.replace(row, custom={**custom, **spec})
        return Value(utterance, {"frames": frames}, field="features")
