"""The frames that text2vec learns to make, as a worker of a stage."""

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


class TargetConfig(msgspec.Struct, frozen=True):
    """What the model shall predict.

    Attributes:
        encoder: folder, hub id or name of the encoder whose frames it shall be, as in the paper; log-mel frames when
            absent.
        layer: of the encoder; the last when absent.
    """

    encoder: Annotated[str | None, SHARED] = None
    layer: Annotated[int | None, SHARED] = None
    batch_size: Annotated[int, NEUTRAL] = 8


class TargetFrames(Worker):
    """The target frames of each row at 50 a second, as arrays ``frames`` (T, F) of float16.

    ``custom.part`` of a row names its manifest, ``custom.symbols`` how many frames it must have; ``custom.encoder``
    becomes the spec of the encoder, where there is one.
    """

    def setup(self, device: str) -> None:
        """Load the encoder, where there is one."""
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
        """A row with its frames, or why it has none."""
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
            return Drop("not_finite", "the frames hold what float16 cannot")
        kept = msgspec.structs.replace(row, custom={**custom, **spec})
        return Value(kept, {"frames": frames}, field="features")
