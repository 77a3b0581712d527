"""Workers that pair frame-level units with log-mel frames, and that synthesise units."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.data.records import Utterance
from speechkit.errors import AudioError, UserError
from speechkit.io.arrays import to_int16
from speechkit.pipeline import NEUTRAL, SHARED, Drop, Value, Worker, read_record_arrays
from speechkit.syllables.tokens import TokenRow, token_runs
from speechkit.tts.stages import CLIPS
from speechkit.units.quantizers import UnitSet
from speechkit.units.sequences import UnitSequence

DROP_REASONS = ("unreadable_audio", "no_units", "other_length")
SAY_DROPS = ("not_of_the_test", "unusable_speaker")
MAX_DIFFERENCE = 3
"""Largest difference in frames between given units and their recording."""


class UnitFramesConfig(msgspec.Struct, frozen=True):
    """Source of the units.

    Attributes:
        codebook: the quantizer: a folder, or a name such as ``embedded-100``.
        encoder: the encoder that it was trained on.
        layer: the encoder's layer.
        sequences: file of unit sequences by id, from `speechkit units assign` or `encode`, or of syllable tokens from
            the recipe sylber, instead of assigning units here; ``codebook`` is then theirs.
        stacked: log-mel frames per frame of units.
    """

    codebook: Annotated[str, SHARED] = "embedded-100"
    encoder: Annotated[str, SHARED] = "embedded"
    layer: Annotated[int | None, SHARED] = 0
    sequences: Annotated[str | None, SHARED] = None
    stacked: Annotated[int, SHARED] = 2
    batch_size: Annotated[int, NEUTRAL] = 8


def unit_set(codebook: str, sequences: Path | None) -> UnitSet:
    """Identity of the units, from the codebook or from the digest in the file of sequences.

    Syllable tokens have one more class than the codebook: silence.
    """
    from speechkit.units.quantizers import load_quantizer, unit_sets

    codebook_units = unit_sets(load_quantizer(codebook))[0]
    if sequences is None:
        return codebook_units
    first = next(iter(_rows(sequences)))
    if isinstance(first, TokenRow):
        return msgspec.structs.replace(codebook_units, clusters=codebook_units.clusters + 1)
    if first.codebook == codebook_units.digest:
        return codebook_units
    largest = max(max(row.units, default=0) for row in _rows(sequences) if isinstance(row, UnitSequence))
    return UnitSet(first.codebook, largest + 1, codebook_units.frames_per_second)


def _rows(path: Path) -> Sequence[UnitSequence | TokenRow]:
    from speechkit.data.manifest import read_jsonl

    with path.open(encoding="utf-8") as lines:
        kind: Any = TokenRow if '"tokens"' in lines.readline() else UnitSequence
    rows = list(read_jsonl(path, kind))
    if not rows:
        raise UserError(f"{path}: holds no units; give a file of unit sequences")
    return rows


class UnitFrames(Worker):
    """Computes units (T,) and stacked log-mel frames (T, D) of each recording, as arrays.

    Audio is read relative to the inputs ``train_manifest`` and ``test_manifest``.
    """

    def setup(self, device: str) -> None:
        """Load encoder and quantizer, or read the sequences."""
        from speechkit.encoders import load_encoder
        from speechkit.nn.mel import MelSpectrogram
        from speechkit.units.quantizers import load_quantizer

        self.mel = MelSpectrogram()
        self.given: dict[str, tuple[list[int], list[int]]] | None = None
        if self.config.sequences is not None:
            rows = _rows(self.inputs["sequences"])
            self.given = {
                row.id: token_runs(row) if isinstance(row, TokenRow) else (row.units, row.durations) for row in rows
            }
            return
        self.quantizer = load_quantizer(self.config.codebook)
        self.encoder: Any = load_encoder(self.config.encoder, layer=self.config.layer, device=device)
        self.quantizer.check(self.encoder.spec)

    def process(self, batch: Sequence[Utterance]) -> list[Value | Drop]:
        """Each row with its arrays, or the reason to drop it."""
        return [self._row(row) for row in batch]

    def _row(self, row: Utterance) -> Value | Drop:
        import torch

        from speechkit.data.audio import read_waveform
        from speechkit.nn.mel import stack_frames

        test = (row.custom or {}).get("part") == "test"
        try:
            waveform = read_waveform(row, self.inputs["test_manifest" if test else "train_manifest"])
            units = self._units(row.id, waveform)
        except AudioError as error:
            return Drop("unreadable_audio", str(error))
        frames = stack_frames(self.mel(torch.from_numpy(waveform)), self.config.stacked).numpy()
        if not len(units) or not len(frames):
            return Drop("no_units")
        if abs(len(units) - len(frames)) > MAX_DIFFERENCE:
            return Drop("other_length", f"{len(units)} units and {len(frames)} frames")
        length = min(len(units), len(frames))
        arrays: dict[str, NDArray[Any]] = {
            "units": units[:length].astype(np.int32),
            "frames": frames[:length].astype(np.float16),
        }
        return Value(row, arrays, field="features")

    def _units(self, id: str, waveform: NDArray[np.float32]) -> NDArray[np.int32]:  # noqa: A002 - the record's word
        from speechkit.units.deduplication import repeat

        if self.given is not None:
            units, durations = self.given.get(id, ([], []))
            return repeat(np.asarray(units, np.int32), np.asarray(durations, np.int32))
        return np.asarray(self.quantizer.assign(self.encoder.encode(waveform)), np.int32)

    def audio_seconds(self, record: Utterance) -> float:
        """Duration of a record, for the progress line."""
        return record.duration


class SayUnitsConfig(msgspec.Struct, frozen=True):
    """``vocoder``: a vocoder of log-mel frames: ``embedded``, or a folder from the recipe vocoder."""

    vocoder: Annotated[str, SHARED] = "embedded"
    batch_size: Annotated[int, NEUTRAL] = 8


class SayUnits(Worker):
    """Resynthesises each test utterance from its units, with its own recording as the speaker prompt."""

    def setup(self, device: str) -> None:
        """Load decoder and vocoder."""
        from speechkit.tts.unit_decoder import load_unit_decoder
        from speechkit.tts.vocoder import load_vocoder

        self.decoder = load_unit_decoder(self.inputs["model"], device)
        self.vocoder: Any = load_vocoder(self.config.vocoder, device)

    def process(self, batch: Sequence[Utterance]) -> list[Value | Drop]:
        """Each row with its 16-bit waveform, or the reason to drop it."""
        return [self._say(row) for row in batch]

    def _say(self, row: Utterance) -> Value | Drop:
        from speechkit.data.audio import read_waveform
        from speechkit.io.paths import safe_id
        from speechkit.runtime import item_seed
        from speechkit.tts.unit_decoder import say_units

        if (row.custom or {})["part"] != "test":
            return Drop("not_of_the_test")
        units = np.asarray(read_record_arrays(self.inputs["features"], row.features or "")["units"])
        try:
            speaker = None if self.decoder.speaker is None else read_waveform(row, self.inputs["test_manifest"])
            speech = say_units(self.decoder, self.vocoder, units, speaker, item_seed(self.seed, row.id))
        except AudioError as error:
            return Drop("unusable_speaker", str(error))
        utterance = Utterance.from_samples(
            id=row.id,
            audio_filepath=f"{CLIPS}/{safe_id(row.id)}.flac",
            num_samples=len(speech.waveform),
            sample_rate=speech.rate,
            text=row.text,
            speaker=row.speaker,
            lang=row.lang,
        )
        return Value(utterance, {"waveform": to_int16(speech.waveform)})
