"""What a vocoder takes of every recording, stored once before training; log-mel frames are computed on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.data.audio import read_waveform
from speechkit.data.records import Utterance
from speechkit.encoders.feature_writer import FeatureWriter
from speechkit.encoders.store import FeatureStore
from speechkit.errors import AudioError, ConfigError, UserError
from speechkit.io.arrays import Float, read_arrays, write_arrays
from speechkit.io.atomic import write_json
from speechkit.nn.mel_spec import MelSpec
from speechkit.tts.vocoder.config import EncoderInput, MelInput, UnitInput, VocoderInput

if TYPE_CHECKING:
    from speechkit.encoders.encoder import Encoder

Recording = tuple[Utterance, Path]
INPUT, STATISTICS, STORE, UNITS = "input.json", "statistics.safetensors", "frames", "units.safetensors"


class StoredInput(msgspec.Struct, frozen=True):
    """The record of a folder that `write_inputs` wrote."""

    input: VocoderInput


class Moments:
    """Mean and deviation of each dimension of frames (T, D) that come in pieces."""

    def __init__(self, width: int) -> None:
        self._count = 0
        self._sum, self._squares = np.zeros(width), np.zeros(width)

    def add(self, frames: NDArray[Any]) -> None:
        """Take in frames (T, D)."""
        rows = frames.astype(np.float64)
        self._count += len(rows)
        self._sum += rows.sum(0)
        self._squares += np.square(rows).sum(0)

    def result(self) -> tuple[Float, Float]:
        """Mean (D,) and standard deviation (D,); 0 and 1 of nothing."""
        if not self._count:
            return np.zeros(len(self._sum), np.float32), np.ones(len(self._sum), np.float32)
        mean = self._sum / self._count
        variance = np.maximum(self._squares / self._count - np.square(mean), 0.0)
        return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)


def write_inputs(
    folder: Path,
    recordings: Sequence[Recording],
    kind: Literal["mel", "encoder", "units"],
    *,
    mel: MelSpec,
    encoder: str,
    layer: int | None,
    codebook: str,
    measured_items: int,
    device: str = "cpu",
    leave_out: Callable[[str, str, str], None] = lambda name, reason, detail: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> None:
    """Write what a vocoder takes, and mean and deviation of the first recordings' frames.

    An interrupted writer of encoder frames goes on where it stopped.

    Args:
        folder: receives ``input.json``, ``statistics.safetensors``, and ``frames`` or ``units.safetensors``.
        recordings: those first that are measured.
        kind: log-mel frames, of which none are stored; frames of an encoder; units.
        mel: for ``mel``.
        encoder: name of the encoder, for the other two.
        layer: of the encoder; the last when absent; of units the codebook's.
        codebook: folder or name of a quantizer, for ``units``.
        measured_items: so many recordings.
        device: of the encoder.
        leave_out: told of the id, reason and detail of a recording that cannot be read or is too short.
        progress: told how many of how many are done.
        interrupted: asked after each recording.

    Raises:
        Interrupted: if it said yes.
        UserError: if nothing is left, or the codebook is of another encoder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "mel":
        taken: VocoderInput = MelInput(mel)
        moments = _measure_mel(mel, recordings[:measured_items], leave_out, progress, interrupted)
    elif kind == "encoder":
        taken, moments = _write_frames(
            folder, recordings, encoder, layer, measured_items, device, leave_out, progress, interrupted
        )
    else:
        taken = _write_units(folder, recordings, encoder, codebook, device, leave_out, progress, interrupted)
        moments = None
    if moments is not None:
        mean, deviation = moments.result()
        write_arrays(folder / STATISTICS, {"mean": mean, "deviation": deviation})
    write_json(folder / INPUT, StoredInput(taken))


def _waveforms(
    recordings: Sequence[Recording],
    sample_rate: int,
    leave_out: Callable[[str, str, str], None],
    progress: Callable[[int, int], None],
    interrupted: Callable[[], bool],
) -> Iterator[tuple[str, Float]]:
    """Ids and samples of what can be read."""
    from speechkit.pipeline import Interrupted

    for done, (row, manifest) in enumerate(recordings):
        try:
            waveform = read_waveform(row, manifest, sample_rate=sample_rate)
        except AudioError as error:
            leave_out(row.id, "unreadable_audio", str(error))
            continue
        yield row.id, waveform
        progress(done + 1, len(recordings))
        if interrupted():
            raise Interrupted


def _measure_mel(mel: MelSpec, recordings: Sequence[Recording], *reporting: Any) -> Moments:
    import torch

    from speechkit.nn.mel import MelSpectrogram

    spectrogram, moments = MelSpectrogram(mel), Moments(mel.channels)
    for _, waveform in _waveforms(recordings, mel.sample_rate, *reporting):
        moments.add(spectrogram(torch.from_numpy(waveform)).numpy())
    return moments


def _write_frames(
    folder: Path,
    recordings: Sequence[Recording],
    name: str,
    layer: int | None,
    measured_items: int,
    device: str,
    leave_out: Callable[[str, str, str], None],
    *reporting: Any,
) -> tuple[EncoderInput, Moments]:
    encoder = _loaded(name, layer, device)
    measured = {row.id for row, _ in recordings[:measured_items]}
    moments, count = Moments(encoder.spec.dim), 0
    with FeatureWriter(folder / STORE, encoder.spec, resume=True) as writer:
        for id, frames in _encoded(encoder, recordings, leave_out, *reporting):  # noqa: A001 - the record's own word
            writer.add(id, frames)
            count += 1
            if id in measured:
                moments.add(frames)
    if not count:
        raise UserError(f"none of {len(recordings)} recordings could be encoded; look at what was left out")
    return EncoderInput(encoder.spec), moments


def _write_units(
    folder: Path,
    recordings: Sequence[Recording],
    name: str,
    codebook: str,
    device: str,
    leave_out: Callable[[str, str, str], None],
    *reporting: Any,
) -> UnitInput:
    from speechkit.units.quantizers import load_quantizer, unit_sets

    quantizer = load_quantizer(codebook)
    spec = quantizer.spec.encoder
    if spec is None or not spec.layer.isdigit():
        raise UserError(f"{codebook}: does not say of which layer of an encoder it is; take another codebook")
    encoder = _loaded(name, int(spec.layer), device)
    spec.require(encoder.spec, f"the codebook {codebook}")
    units = {
        id: quantizer.assign(frames).astype(np.int32)
        for id, frames in _encoded(encoder, recordings, leave_out, *reporting)  # noqa: A001
    }
    if not units:
        raise UserError(f"none of {len(recordings)} recordings has units; look at what was left out")
    write_arrays(folder / UNITS, units)
    return UnitInput(unit_sets(quantizer)[0])


def _loaded(name: str, layer: int | None, device: str) -> Encoder:
    from speechkit.encoders.load import load_encoder

    return load_encoder(name, layer=layer, device=device)


def _encoded(
    encoder: Encoder, recordings: Sequence[Recording], leave_out: Callable[[str, str, str], None], *reporting: Any
) -> Iterator[tuple[str, Float]]:
    from speechkit.encoders.stages import encode_frames

    for id, waveform in _waveforms(recordings, encoder.spec.sample_rate, leave_out, *reporting):  # noqa: A001
        frames = encode_frames(encoder, waveform)
        if len(frames):
            yield id, frames
        else:
            leave_out(id, "shorter_than_a_frame", f"{len(waveform)} samples")


def read_input(folder: Path) -> tuple[VocoderInput, Float | None, Float | None]:
    """What a folder that `write_inputs` wrote holds frames of, and their mean and deviation (D,); None of units."""
    taken = msgspec.json.decode((folder / INPUT).read_bytes(), type=StoredInput).input
    if isinstance(taken, UnitInput):
        return taken, None, None
    arrays = read_arrays(folder / STATISTICS, ("mean", "deviation"))
    return taken, arrays["mean"].astype(np.float32), arrays["deviation"].astype(np.float32)


class StoredFrames:
    """Frames (T, D) or units (T,) of recordings, read from a folder that `write_inputs` wrote.

    Raises:
        ConfigError: if it holds none, since log-mel frames are not stored.
    """

    def __init__(self, folder: Path):
        taken = read_input(folder)[0]
        if isinstance(taken, MelInput):
            raise ConfigError(f"{folder}: log-mel frames are not stored; compute them of the recordings")
        self._rows: Any = read_arrays(folder / UNITS) if isinstance(taken, UnitInput) else FeatureStore(folder / STORE)

    def __contains__(self, id: str) -> bool:  # noqa: A002 - the record's own word
        return id in self._rows

    def __call__(self, id: str, begin: int = 0, end: int | None = None) -> NDArray[Any]:  # noqa: A002
        """Those of a recording between two frames."""
        rows: NDArray[Any] = self._rows[id][begin:end]
        return rows


def stored_frames(folder: Path) -> StoredFrames | None:
    """The frames of a folder; None of log-mel frames, which are computed."""
    return None if isinstance(read_input(folder)[0], MelInput) else StoredFrames(folder)
