"""Mixtures of any length and rate to one track a speaker.

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

LEAST_SAMPLES = 800
"""The network hears at least so many samples; shorter mixtures have silence behind them."""
BLOCK_SECONDS = 30.0


class LoadedSeparator:
    """A separator for inference: windows of one length through the network, in its best arithmetic.

    Args:
        network: on its device.
        counting: fitted for it, if anybody has.
        batch_size: windows at once; 1 on a processor, where more are no faster, else 8.
        dtype: ``auto`` for bfloat16 where the device is faster with it, ``float32``.
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
        padded = np.pad(windows, ((0, 0), (0, max(0, LEAST_SAMPLES - length))))
        autocast = torch.autocast(self._device, self._half) if self._half is not None else nullcontext()
        with torch.inference_mode(), autocast:
            estimates = self.network(torch.from_numpy(padded).to(self.network.device))
        return np.asarray(estimates[..., :length].float().cpu().numpy(), np.float32)


def load_window_separator(
    name: str | Path = "embedded", device: str = "auto", dtype: Literal["auto", "float32"] = "auto"
) -> LoadedSeparator:
    """A separator by name, with its speaker counting, ready for `SeparationStream`.

    Args:
        name: ``embedded``: the one inside the package; else a folder or hub id.
        device: ``auto``, ``cpu``, ``cuda`` …
        dtype: see `LoadedSeparator`.

    Raises:
        UserError: if there is no such separator, or it cannot be loaded.
    """
    from speechkit.nn.checkpoints import checkpoint_folder
    from speechkit.separation.model import checkpoint_name, load_separator

    network = load_separator(name, device=device)
    folder = checkpoint_folder(checkpoint_name(str(name)))  # that of a hub id holds its counting too
    return LoadedSeparator(network, read_counting(folder), dtype=dtype)


def separation_digest(name: str = "embedded") -> str:
    """What a separator's name stands for: its weights, and its counting of speakers."""
    from speechkit.io.hashing import digest_file
    from speechkit.separation.model import checkpoint_name, separator_digest

    counting = Path(checkpoint_name(name)) / "counting.json"
    return f"{separator_digest(name)} {digest_file(counting) if counting.is_file() else 'not counted'}"


@dataclass(frozen=True)
class Separation:
    """What was found in a mixture.

    Attributes:
        tracks: (N, S) float32 in [-1, 1] at ``rate``; the first ``count.speakers`` hold one speaker each, the others
            are silence.
        rate: in hertz.
        count: how many speakers there are, and where; its ``tracks`` are 0, 1, … here.
        gain: what all tracks were multiplied by so that none exceeds 1; 1 unless one would.
        unsure_joins: how many of the windows met in silence, or where several orders fitted, and neither had a voice
            told the order: there two tracks may have changed speakers.
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

    The mixture keeps its level: tracks sum to it at the separator's rate, less a constant offset. A lone speaker's
    track is the mixture itself, with all of its band, and silence stays silence.

        separation = separate(waveform, 16_000)
        first, second = separation.tracks
        separation.count.speakers, separation.count.confidence

    Args:
        waveform: (S,) float32 in [-1, 1].
        rate: in hertz.
        model: a separator's name (see `load_window_separator`), or one that is loaded.
        speakers: the number, where it is known; counted when None.
        out_rate: of the tracks in hertz; that of the mixture when None.
        device: for a model that is named.
        windowing: how long mixtures are cut.
        embed: whose voice speech has, for counting and for windows that meet in silence.

    Raises:
        AudioError: if the waveform is not one channel, or holds NaN or infinity.
        ConfigError: if ``speakers`` is not between 1 and the separator's, or a rate is not possible.
        UserError: if the separator cannot be loaded.
    """
    separator = load_window_separator(model, device) if isinstance(model, (str, Path)) else model
    check_speakers(speakers, separator)
    samples = np.asarray(waveform, np.float32)
    stream = SeparationStream(separator, rate, out_rate=out_rate, windowing=windowing, embed=embed)
    tracks = np.concatenate(list(stream_tracks(stream, _blocks(samples, rate))), axis=1)
    count = counted(stream, speakers)
    if count.speakers == 1:
        lone = resampled(samples - np.float32(stream.offset), rate, stream.out_rate, tracks.shape[1])
        chosen = lone[None]
    else:
        chosen = tracks[count.tracks]
    peak = float(np.abs(chosen).max(initial=0.0))
    gain = 1.0 / peak if peak > 1 else 1.0
    settled = np.zeros_like(tracks)
    settled[: len(chosen)] = chosen * np.float32(gain)
    return Separation(settled, stream.out_rate, in_order(count), gain, unsure_joins(stream))


def stream_tracks(stream: SeparationStream, blocks: Iterable[Float]) -> Iterator[Float]:
    """The tracks (N, n) of a whole mixture in blocks, as they become final."""
    for block in blocks:
        yield stream.push(block)
    yield stream.finish()


def counted(stream: SeparationStream, speakers: int | None) -> SpeakerCount:
    """How many speakers the tracks of a finished stream hold."""
    return count_speakers(stream.evidence, getattr(stream.separator, "counting", None), speakers)


def counting_example(
    separator: WindowSeparator,
    mixture: Float,
    sources: Sequence[Float],
    *,
    windowing: Windowing = DEFAULT_WINDOWING,
    embed: Embed = embed_voice,
) -> Example:
    """What a separator makes of a mixture (S,) of known sources, to `fit_counting` by.

    Args:
        separator: that the counting is for.
        mixture: at its sample rate.
        sources: (S,) each, at the level that they have in the mixture; none for a mixture without speech.
        windowing: how long mixtures are cut.
        embed: whose voice speech has.
    """
    stream = SeparationStream(separator, separator.sample_rate, windowing=windowing, embed=embed)
    for _ in stream_tracks(stream, [mixture]):
        pass
    return Example(stream.evidence, len(sources), speaking(sources, separator.sample_rate) if len(sources) else None)


def in_order(count: SpeakerCount) -> SpeakerCount:
    """The same, where the tracks of speakers were put before the empty ones."""
    import msgspec

    return msgspec.structs.replace(count, tracks=list(range(count.speakers)))


def unsure_joins(stream: SeparationStream) -> int:
    """At how many joins nothing told the order of the speakers."""
    return sum(join.decided == "kept" for join in stream.joins)


def check_speakers(speakers: int | None, separator: WindowSeparator) -> None:
    """Refuse a number of speakers that the separator has no tracks for.

    Raises:
        ConfigError: with both numbers.
    """
    if speakers is not None and not 1 <= speakers <= separator.speakers:
        raise ConfigError(
            f"speakers is {speakers} and the separator has tracks for 1 to {separator.speakers}; give one of these, or "
            "choose another separator"
        )


def resampled(waveform: Float, source: int, target: int, length: int) -> Float:
    """A waveform (S,) at another rate, of exactly ``length`` samples."""
    import soxr

    if source != target and len(waveform):
        waveform = np.asarray(soxr.resample(waveform, source, target), np.float32)
    return np.pad(waveform, (0, max(0, length - len(waveform))))[:length]


def _blocks(waveform: Float, rate: int) -> Iterator[Float]:
    """A waveform that is not (samples,) goes on whole, to be refused with its shape."""
    if waveform.ndim != 1:
        yield waveform
        return
    size = max(1, round(BLOCK_SECONDS * rate))
    for begin in range(0, len(waveform), size):
        yield waveform[begin : begin + size]
