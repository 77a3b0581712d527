"""Batches of crops for a vocoder's training: what is drawn depends on the seed and the batch's number alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechkit.data.audio import read_waveform
from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.io.arrays import Float
from speechkit.nn.mel import MelSpectrogram
from speechkit.tts.pitch import LOWEST, pitch
from speechkit.tts.vocoder.config import MelInput, VocoderConfig
from speechkit.tts.vocoder.training_config import CropConfig

Recording = tuple[Utterance, Path]
"""A row, and the manifest that its path is relative to."""
ReadFrames = Callable[[str, int, int], NDArray[Any]]
"""(id, begin, end) to the frames (T, D) or units (T,) of a recording between two frames."""
GRID = 50
"""Crops begin at a fiftieth of a second: a frame of every input."""
GAIN_DB = (-12.0, 2.0)
"""What is done to the level of a crop: recordings differ in it."""
MARGIN_SECONDS = 0.04
"""Heard on both sides of a crop, so that its outer frames are those of the whole recording."""


class CropBatches:
    """Batches by number.

    A recording is drawn by its length and its speaker's, the latter's share to the power of ``balance``: 1 draws as
    much of a speaker as there is, 0 as much of each.

    Args:
        recordings: each at least a crop long.
        vocoder: says what a batch holds.
        crops: how many, and how long.
        seed: of what is drawn.
        stored: frames of recordings; for log-mel input they are computed of the samples.
        balance: see above.

    Raises:
        UserError: if a recording is shorter than a crop.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        vocoder: VocoderConfig,
        crops: CropConfig,
        seed: int,
        stored: ReadFrames | None = None,
        balance: float = 0.5,
    ):
        short = [row.id for row, _ in recordings if row.duration < crops.seconds]
        if short or not recordings:
            name = short[0] if short else "none is there"
            raise UserError(f"{len(short)} recordings are shorter than a crop of {crops.seconds:g} s ({name})")
        self._recordings, self._vocoder, self._crops, self._seed = recordings, vocoder, crops, seed
        self._stored = stored
        taken = vocoder.input
        self._mel = MelSpectrogram(taken.mel) if isinstance(taken, MelInput) else None
        self._chances = speaker_chances([row for row, _ in recordings], balance)

    def __call__(self, number: int) -> dict[str, Tensor]:
        """``frames`` (B, T, D) or units (B, T), ``waveforms`` (B, S) and, with a speaker, ``references`` (B, R).

        For a harmonic source also ``hertz`` and ``voiced``, (B, G) of the generator's frames.
        """
        generator = np.random.default_rng([self._seed, number])
        chosen = generator.choice(len(self._recordings), self._crops.items, p=self._chances)
        items = [self._item(self._recordings[index], generator) for index in chosen]
        return {name: torch.stack([item[name] for item in items]) for name in items[0]}

    def _item(self, recording: Recording, generator: np.random.Generator) -> dict[str, Tensor]:
        row, manifest = recording
        crops, rate = self._crops, self._vocoder.sample_rate
        begin = int(generator.integers(int((row.duration - crops.seconds) * GRID) + 1)) / GRID
        samples = round(crops.seconds * rate)
        if self._mel is None:
            waveform = fitted(_read(row, manifest, begin, crops.seconds, rate), samples)
            frames = self._stored_crop(row.id, begin)
        else:
            # Level changes what a mel frame is, and not what an encoder says of it.
            gain = 10.0 ** (generator.uniform(*GAIN_DB) / 20.0)
            before = min(MARGIN_SECONDS, begin)
            piece = _read(row, manifest, begin - before, before + crops.seconds + MARGIN_SECONDS, rate)
            piece = piece * np.float32(min(gain, 0.99 / max(float(np.abs(piece).max(initial=0.0)), 1e-3)))
            cut = round(before * rate)
            frame = cut // self._mel.spec.hop_samples
            mel = self._mel(torch.from_numpy(fitted(piece, cut + samples + round(MARGIN_SECONDS * rate))))
            frames = mel[frame : frame + samples // self._mel.spec.hop_samples]
            waveform = fitted(piece[cut:], samples)
        item = {"frames": frames, "waveforms": torch.from_numpy(waveform)}
        if self._vocoder.harmonic:
            item |= _crop_pitch(row, manifest, begin, crops.seconds, rate, self._vocoder.generator.samples_per_frame)
        if self._vocoder.speaker is not None:
            seconds, mel_rate = crops.reference_seconds, self._vocoder.speaker.mel.sample_rate
            latest = max(0.0, row.duration - seconds)
            reference = _read(row, manifest, float(generator.uniform(0.0, latest)), seconds, mel_rate)
            item["references"] = torch.from_numpy(repeated(reference, round(seconds * mel_rate)))
        return item

    def _stored_crop(self, id: str, begin: float) -> Tensor:  # noqa: A002 - the record's own word
        """A crop's stored frames; one that the recording ends before is its last again."""
        if self._stored is None:
            raise ValueError("frames of encoders and units are read from a store; give one")
        rate = self._vocoder.input.frame_rate
        first, count = round(begin * rate), round(self._crops.seconds * rate)
        rows = np.array(self._stored(id, first, first + count))
        if not len(rows):
            raise UserError(f"{id}: has no frame at {begin:g} s; make the features again")
        rows = np.concatenate([rows, np.repeat(rows[-1:], count - len(rows), axis=0)])
        return torch.from_numpy(rows.astype(np.float32 if rows.ndim == 2 else np.int64))


def speaker_chances(rows: Sequence[Utterance], balance: float) -> NDArray[np.float64]:
    """How likely each recording is drawn; see `CropBatches`. A row without a speaker is a speaker by itself."""
    seconds: dict[str, float] = {}
    names = [row.speaker or f"\0{row.id}" for row in rows]
    for row, name in zip(rows, names, strict=True):
        seconds[name] = seconds.get(name, 0.0) + row.duration
    weights = np.array([row.duration * seconds[name] ** (balance - 1.0) for row, name in zip(rows, names, strict=True)])
    return np.asarray(weights / weights.sum(), np.float64)


def _crop_pitch(row: Utterance, manifest: Path, begin: float, seconds: float, rate: int, hop: int) -> dict[str, Tensor]:
    """Pitch of a crop at the generator's frames, interpolated where unvoiced, and which frames are voiced."""
    before = min(2 * MARGIN_SECONDS, begin)
    piece = _read(row, manifest, begin - before, before + seconds + 2 * MARGIN_SECONDS, rate)
    measured = pitch(fitted(piece, round((before + seconds + 2 * MARGIN_SECONDS) * rate)), rate)
    centres = (np.arange(round(seconds * rate) // hop) + 0.5) * hop / rate + before
    positions = centres * 100 - 0.5  # measured frames are centred in hundredths of a second
    voiced = measured[np.clip(np.rint(positions).astype(int), 0, len(measured) - 1)] > 0
    known = np.flatnonzero(measured)
    hertz = np.interp(positions, known, measured[known]) if len(known) else np.full(len(positions), LOWEST)
    return {"hertz": torch.from_numpy(hertz.astype(np.float32)), "voiced": torch.from_numpy(voiced.astype(np.float32))}


def _read(row: Utterance, manifest: Path, begin: float, seconds: float, sample_rate: int) -> Float:
    """A piece that begins and ends inside of the recording."""
    first, count = round(begin * row.sample_rate), round(seconds * row.sample_rate)
    first = min(first, max(0, row.num_samples - 1))
    return read_waveform(row, manifest, begin=first, num_samples=count, sample_rate=sample_rate)


def fitted(waveform: Float, samples: int) -> Float:
    """So many samples: cut, or with zeros behind them."""
    return np.pad(waveform[:samples], (0, max(0, samples - len(waveform))))


def repeated(waveform: Float, samples: int) -> Float:
    """So many samples: a shorter recording again and again."""
    times = -(-samples // max(1, len(waveform)))
    return np.tile(waveform, times)[:samples] if len(waveform) else np.zeros(samples, np.float32)
