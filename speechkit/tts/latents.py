"""Worker that encodes recordings into latent frames of a scalar codec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from speechkit.data.records import Utterance
from speechkit.errors import AudioError, UserError
from speechkit.pipeline import NEUTRAL, Drop, Value, Worker

DROP_REASONS = ("unreadable_audio", "no_frame")


class LatentConfig(msgspec.Struct, frozen=True):
    """``batch_size``: recordings per call; each is encoded separately."""

    batch_size: Annotated[int, NEUTRAL] = 16


class EncodeLatents(Worker):
    """Latent frames of each recording as int8 (T, D): multiples of 1 / levels.

    Inputs: ``codec`` is the codec's folder; audio is read relative to ``train_manifest`` and ``test_manifest``.
    """

    def setup(self, device: str) -> None:
        """Load the codec."""
        from speechkit.tts.codec import ScalarCodec

        self.codec: Any = ScalarCodec.from_pretrained(self.inputs["codec"]).to(device)

    def process(self, batch: Sequence[Utterance]) -> list[Value | Drop]:
        """Each row with its frames, or the reason to drop it."""
        return [self._encode(row) for row in batch]

    def _encode(self, row: Utterance) -> Value | Drop:
        from speechkit.data.audio import read_waveform

        test = (row.custom or {}).get("part") == "test"
        manifest = self.inputs["test_manifest" if test else "train_manifest"]
        config = self.codec.config
        try:
            frames = self.codec.encode_waveform(read_waveform(row, manifest, sample_rate=config.sample_rate))
        except AudioError as error:
            return Drop("unreadable_audio", str(error))
        except UserError as error:
            return Drop("no_frame", str(error))
        return Value(row, {"latents": np.rint(frames.numpy() * config.levels).astype(np.int8)}, field="features")

    def audio_seconds(self, record: Utterance) -> float:
        """Duration of a record, for the progress line."""
        return record.duration
