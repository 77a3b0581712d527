"""Separate mixtures of any length and sample rate into one track per speaker.

Notation used for array shapes: N tracks, S samples, B windows, W samples of a window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from speechkit.errors import ConfigError
from speechkit.io.arrays import Float
from speechkit.separation.counting import Counting, SpeakerCount, count_speakers, read_counting, speaking
from speechkit.separation.counting_fit import Example
from speechkit.separation.streaming import DEFAULT_WINDOWING, SeparationStream, Windowing, WindowSeparator
from speechkit.separation.voices import Embed, embed_voice

if TYPE_CHECKING:
    from speechkit.separation.model import Separator

MIN_SAMPLES = 800
"""Shorter mixtures are zero-padded to this many samples."""
BLOCK_SECONDS = 30.0


class LoadedSeparator:
    """A separator for inference on batches of windows.

    Args:
        network: the separator, on its device.
        counting: speaker-counting model fitted for it, if any.
        batch_size: windows per batch; by default 1 on a CPU, where larger batches are no faster, else 8.
        dtype: ``auto`` for bfloat16 if the device is faster with it, or ``float32``.
    """

    def __init__(
        self,
        network: Separator,
        counting: Counting | None = None,
        batch_size: int | None = None,
        dtype: Literal["auto", "float32"] = "auto",
    ):
        from speechkit.runtime import autocast_dtype

        self.network, self.counting = network.eval(), counting
        self.sample_rate, self.speakers = network.sample_rate, network.speakers
        self._device = network.device.type
        self.batch_size = batch_size or (1 if self._device == "cpu" else 8)
        self._half = autocast_dtype(str(network.device)) if dtype == "auto" else None

    def separate_windows(self, windows: Float) -> Float:
        """Estimates (B, N, W) of mixtures (B, W), float32."""
        import torch

        length = windows.shape[1]
        padded = np.pad(windows, ((0, 0), (0, max(0, MIN_SAMPLES - length))))
        autocast = torch.autocast(self._device, self._half) if self._half is not None else nullcontext()
        with torch.inference_mode(), autocast:
            estimates = self.network(torch.from_numpy(padded).to(self.network.device))
        return np.asarray(estimates[..., :length].float().cpu().numpy(), np.float32)


def load_window_separator(
    name: str | Path = "embedded", device: str = "auto", dtype: Literal["auto", "float32"] = "auto"
) -> LoadedSeparator:
    """Load a separator with its speaker counting, for `SeparationStream`.

    Args:
        name: ``embedded`` for the separator in the package; else a folder or hub id.
        device: ``auto``, ``cpu``, ``cuda`` …
        dtype: see `LoadedSeparator`.

    Raises:
        UserError: if there is no such separator, or it cannot be loaded.
    """
    from speechkit.nn.checkpoints import checkpoint_folder
    from speechkit.separation.model import checkpoint_name, load_separator

    network = load_separator(name, device=device)
    folder = checkpoint_folder(checkpoint_name(str(name)))  # a hub repository also holds the counting model
    return LoadedSeparator(network, read_counting(folder), dtype=dtype)


def separation_digest(name: str = "embedded") -> str:
    """Digest of a separator: of its weights and of its speaker counting."""
    from speechkit.io.hashing import digest_file
    from speechkit.separation.model import checkpoint_name, separator_digest

    counting = Path(checkpoint_name(name)) / "counting.json"
    return f"{separator_digest(name)} {digest_file(counting) if counting.is_file() else 'not counted'}"


@dataclass(frozen=True)
class Separation:
    """A separated mixture.

    Attributes:
        tracks: (N, S) float32 in [-1, 1] at ``rate``; the first ``count.speakers`` hold one speaker each, the others
            are silent.
        rate: sample rate in hertz.
        count: number of speakers, and where they speak; its ``tracks`` are 0, 1, … here.
        gain: common factor of all tracks, less than 1 only if one would otherwise exceed 1.
        unsure_joins: joins of windows at which neither overlap nor voice determined the order of the speakers, so that
            two tracks may be swapped from there on.
    """

    tracks: Float
    rate: int
    count: SpeakerCount
    gain: float
    unsure_joins: int


def separate(
    waveform: Float,
    rate: int,
    *,
    model: str | Path | WindowSeparator = "embedded",
    speakers: int | None = None,
    out_rate: int | None = None,
    device: str = "auto",
    windowing: Windowing = DEFAULT_WINDOWING,
    embed: Embed = embed_voice,
) -> Separation:
    """Separate the speakers of a mixture.

    Levels are kept: at the separator's rate, the tracks sum to the mixture without its DC offset. The track of a single
    speaker is the mixture itself, at full bandwidth, and silence stays silence.

        separation = separate(waveform, 16_000)
        first, second = separation.tracks
        separation.count.speakers, separation.count.confidence

    Args:
        waveform: (S,) float32 in [-1, 1].
        rate: sample rate in hertz.
        model: name of a separator (see `load_window_separator`), or a loaded one.
        speakers: the number, if known; counted if None.
        out_rate: sample rate of the tracks in hertz; that of the mixture if None.
        device: device of a model given by name.
        windowing: how long mixtures are split into windows.
        embed: speaker embedding, for counting and for windows that join in silence.

    Raises:
        AudioError: if the waveform has more than one channel, or holds NaN or infinity.
        ConfigError: if ``speakers`` is not between 1 and the separator's number, or a rate is out of range.
        UserError: if the separator cannot be loaded.
    """
    separator = load_window_separator(model, device) if isinstance(model, (str, Path)) else model
    check_speakers(speakers, separator)
    samples = np.asarray(waveform, np.float32)
    stream = SeparationStream(separator, rate, out_rate=out_rate, windowing=windowing, embed=embed)
    tracks = np.concatenate(list(stream_tracks(stream, _blocks(samples, rate))), axis=1)
    count = counted(stream, speakers)
    if count.speakers == 1:
        speech = resampled(samples - np.float32(stream.offset), rate, stream.out_rate, tracks.shape[1])[None]
    else:
        speech = tracks[count.tracks]
    peak = float(np.abs(speech).max(initial=0.0))
    gain = 1.0 / peak if peak > 1 else 1.0
    ordered = np.zeros_like(tracks)
    ordered[: len(speech)] = speech * np.float32(gain)
    return Separation(ordered, stream.out_rate, in_order(count), gain, unsure_joins(stream))


def stream_tracks(stream: SeparationStream, blocks: Iterable[Float]) -> Iterator[Float]:
    """Stream a whole mixture: its tracks (N, n) in blocks, as they become final."""
    for block in blocks:
        yield stream.push(block)
    yield stream.finish()


def counted(stream: SeparationStream, speakers: int | None) -> SpeakerCount:
    """Count the speakers of a finished stream."""
    return count_speakers(stream.evidence, getattr(stream.separator, "counting", None), speakers)


def counting_example(
    separator: WindowSeparator,
    mixture: Float,
    sources: Sequence[Float],
    *,
    windowing: Windowing = DEFAULT_WINDOWING,
    embed: Embed = embed_voice,
) -> Example:
    """Separate a mixture (S,) of known sources into an example for `fit_counting`.

    Args:
        separator: the separator that counting is fitted for.
        mixture: at its sample rate.
        sources: (S,) each, at their level in the mixture; empty for a mixture without speech.
        windowing: how long mixtures are split into windows.
        embed: speaker embedding of speech.
    """
    stream = SeparationStream(separator, separator.sample_rate, windowing=windowing, embed=embed)
    for _ in stream_tracks(stream, [mixture]):
        pass
    return Example(stream.evidence, len(sources), speaking(sources, separator.sample_rate) if len(sources) else None)


def in_order(count: SpeakerCount) -> SpeakerCount:
    """The count after tracks with speakers have been moved before the empty ones."""
    import msgspec

    return msgspec.structs.replace(count, tracks=list(range(count.speakers)))


def unsure_joins(stream: SeparationStream) -> int:
    """Number of joins at which the order of the speakers could not be determined."""
    return sum(join.decided == "kept" for join in stream.joins)


def check_speakers(speakers: int | None, separator: WindowSeparator) -> None:
    """Refuse a number of speakers that the separator has no tracks for.

    Raises:
        ConfigError: naming both numbers.
    """
    if speakers is not None and not 1 <= speakers <= separator.speakers:
        raise ConfigError(
            f"speakers is {speakers}, but the separator has tracks for 1 to {separator.speakers}; give one of them, or "
            "choose another separator"
        )


def resampled(waveform: Float, source: int, target: int, length: int) -> Float:
    """Resample a waveform (S,), padded or cut to exactly ``length`` samples."""
    import soxr

    if source != target and len(waveform):
        waveform = np.asarray(soxr.resample(waveform, source, target), np.float32)
    return np.pad(waveform, (0, max(0, length - len(waveform))))[:length]


def _blocks(waveform: Float, rate: int) -> Iterator[Float]:
    """Blocks of a waveform; one that is not (samples,) is passed on, to be refused with its shape."""
    if waveform.ndim != 1:
        yield waveform
        return
    size = max(1, round(BLOCK_SECONDS * rate))
    for begin in range(0, len(waveform), size):
        yield waveform[begin : begin + size]
