"""Splitting of recordings at pauses: one manifest row per stretch of speech."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from speechkit.data import Utterance
from speechkit.data.audio import cut_blocks
from speechkit.data.manifest import audio_path
from speechkit.errors import AudioError
from speechkit.mining.config import RegionsConfig
from speechkit.mining.regions import speech_in
from speechkit.mining.voice_activity import SAMPLE_RATE, SileroDetector
from speechkit.pipeline import Drop, Worker

PAUSE_DROPS = ("unreadable_audio", "no_speech")
Seconds = Annotated[float, Meta(ge=0)]


class PausesConfig(msgspec.Struct, frozen=True):
    """Pause detection settings.

    Attributes:
        vad: silero, or energy, which is quicker and hears loudness alone.
        threshold: of the probability of speech.
        min_silence_seconds: shorter pauses do not cut.
        min_speech_seconds: shorter stretches of speech are left out.
        pad_seconds: that stretches are widened by.
    """

    vad: Literal["silero", "energy"] = "silero"
    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    min_silence_seconds: Seconds = 0.25
    min_speech_seconds: Seconds = 0.5
    pad_seconds: Seconds = 0.05


class CutAtPauses(Worker):
    """The stretches of speech of each row, as rows in order, with the row's notes and its id as ``custom.cut_from``.

    Where the audio lies, the input says that ``custom.manifest`` of a row names, else ``manifest``.
    """

    config: PausesConfig
    detector: SileroDetector | None = None

    def setup(self, device: str) -> None:
        """Read the detector's weights."""
        if self.config.vad == "silero":
            self.detector = SileroDetector()

    def process(self, batch: Sequence[Utterance]) -> list[list[Utterance | Drop] | Drop]:
        """Rows of each recording, or why there is none."""
        return [self._cut(row) for row in batch]

    def _cut(self, row: Utterance) -> list[Utterance | Drop] | Drop:
        audio = audio_path(self.inputs[(row.custom or {}).get("manifest", "manifest")], row)
        blocks = cut_blocks(audio, row, sample_rate=SAMPLE_RATE)
        try:
            speech, _ = speech_in(blocks, regions_config(self.config), self.detector, advance=self.advance)
        except AudioError as error:
            return Drop("unreadable_audio", str(error))
        if not speech:
            return Drop("no_speech", "no stretch of speech is long enough; check it, or lower min_speech_seconds")
        return [stretch(row, begin, end, number) for number, (begin, end) in enumerate(speech)]


def regions_config(config: PausesConfig) -> RegionsConfig:
    """The equivalent settings of the speech detector."""
    return msgspec.convert(msgspec.to_builtins(config), RegionsConfig)


def stretch(row: Utterance, begin: int, end: int, number: int) -> Utterance:
    """The part of a row between two of its samples at 16 kHz, in whole samples of the file; no text goes with it."""
    first = min(round(begin * row.sample_rate / SAMPLE_RATE), row.num_samples)
    last = min(round(end * row.sample_rate / SAMPLE_RATE), row.num_samples)
    return Utterance.from_samples(
        id=f"{row.id}-{number:04d}",
        audio_filepath=row.audio_filepath,
        offset_samples=row.offset_samples + first,
        num_samples=last - first,
        sample_rate=row.sample_rate,
        channel=row.channel,
        speaker=row.speaker,
        lang=row.lang,
        source=row.source,
        custom={**(row.custom or {}), "cut_from": row.id, "start": first / row.sample_rate},
    )
