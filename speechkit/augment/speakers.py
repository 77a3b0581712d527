"""Speaker mixtures and their sources, drawn on the fly for every batch.

Notation used for array shapes: N speakers, K tracks (most speakers of a mixture), S samples, B mixtures of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.augment.perturbations import made_noise, reverberate
from speechkit.augment.rooms import RoomConfig, draw_responses
from speechkit.augment.speaker_cuts import Cuts
from speechkit.augment.waveforms import audible_segment, change_speed, fit_noise
from speechkit.errors import ConfigError, UserError
from speechkit.io.arrays import Float

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Range = tuple[float, float]
FRAME_SECONDS = 0.02
SPEECH_DB = -30.0
"""Frames this far below the loudest one are a pause."""
LEAST_SPEECH = 0.4
"""Share of a piece that should be speech; pieces with less are redrawn up to DRAWS times."""
DRAWS = 5
LEAST_POWER = 1e-10
"""Power that 16-bit samples cannot represent."""
LEAST_PART = 0.25
"""Smallest share of a turn relative to the mean."""
FADE_SECONDS = 0.005
PEAK = 0.99
"""Louder mixtures are scaled down together with their sources."""


class SpeakerMixing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Distribution of mixtures; uniform over ranges.

    Attributes:
        seconds: length of a mixture, the same for all of a batch.
        counts: relative frequencies of one, two, three … speakers. Its length is the number of tracks.
        together: share of the mixtures with all speakers active throughout.
        overlap: in the others speakers begin one after another, and neighbours overlap by this share of the mixture;
            below 0 there is a pause between them.
        level_db: level of the loudest speaker (RMS of speech) re full scale.
        ratio_db: level of the loudest speaker relative to the others.
        speed: share of the speakers resampled by a factor from ``speed_range``.
        room: share of the mixtures in a simulated room, with speakers at different positions; the targets then include
            the reverberation.
        rooms: distribution of rooms.
        noise: share of the mixtures with noise, recorded or synthetic.
        noise_db: signal-to-noise ratio.
    """

    seconds: Range = (2.0, 2.0)
    counts: Annotated[tuple[float, ...], msgspec.Meta(min_length=1)] = (0.1, 0.9)
    together: Share = 0.6
    overlap: Range = (-0.1, 0.8)
    level_db: Range = (-33.0, -20.0)
    ratio_db: Range = (0.0, 5.0)
    speed: Share = 0.5
    speed_range: Range = (0.9, 1.1)
    room: Share = 0.0
    rooms: RoomConfig = RoomConfig()
    noise: Share = 0.0
    noise_db: Range = (10.0, 30.0)

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {getattr(self, name)}: the lower bound must not exceed the upper"
            for name in ("seconds", "overlap", "level_db", "ratio_db", "speed_range", "noise_db")
            if getattr(self, name)[0] > getattr(self, name)[1]
        ]
        if self.seconds[0] < 0.1:
            wrong.append(f"seconds is {self.seconds}: give at least 0.1")
        # Pauses between all speakers of a mixture leave a tenth of it for speech.
        speakers = max((number for number, part in enumerate(self.counts, 1) if part > 0), default=1)
        longest = -0.9 / max(1, speakers - 1)
        if not longest <= self.overlap[0] <= self.overlap[1] <= 1:
            wrong.append(f"overlap is {self.overlap}: of {speakers} speakers shares lie between {longest:g} and 1")
        if not 0.25 <= self.speed_range[0] <= self.speed_range[1] <= 4:
            wrong.append(f"speed_range is {self.speed_range}: factors lie between 0.25 and 4")
        if min(self.counts) < 0 or not sum(self.counts) > 0:
            wrong.append(f"counts is {self.counts}: give frequencies of at least 0, one of them above 0")
        if self.ratio_db[0] < 0:
            wrong.append(f"ratio_db is {self.ratio_db}: differences from the loudest are not negative; begin at 0")
        if wrong:
            raise ConfigError("; ".join(wrong))

    @property
    def tracks(self) -> int:
        """K."""
        return len(self.counts)


class Turn(NamedTuple):
    """One speaker's part: samples ``begin`` to ``end`` of the mixture, the source cuts, and the gain."""

    speaker: str
    cuts: tuple[str, ...]
    begin: int
    end: int
    gain: float


@dataclass(frozen=True)
class MixedSpeech:
    """A mixture that equals ``sources.sum(0) + noise`` exactly.

    Attributes:
        mixture: (S,).
        sources: (K, S); tracks beyond the speakers are zero.
        noise: (S,).
        turns: N, in the order of the sources.
    """

    mixture: Float
    sources: Float
    noise: Float
    turns: tuple[Turn, ...]

    @property
    def overlap(self) -> float:
        """Share of the mixture with two or more active speakers."""
        active = np.zeros(len(self.mixture), np.int64)
        for turn in self.turns:
            active[turn.begin : turn.end] += 1
        return float(np.mean(active >= 2))


def draw_mixture(
    cuts: Cuts,
    config: SpeakerMixing,
    generator: np.random.Generator,
    *,
    samples: int | None = None,
    noises: Sequence[Float] = (),
) -> MixedSpeech:
    """A mixture of different speakers; depends only on the generator's state.

    Args:
        cuts: of at least as many speakers as a mixture has.
        config: distribution.
        generator: is advanced.
        samples: S; None: drawn from ``config.seconds``.
        noises: recordings at the cuts' sample rate; if empty, noise is synthesised.

    Raises:
        UserError: if there are fewer speakers than a mixture may have.
        AudioError: if a recording cannot be read.
    """
    rate = cuts.sample_rate
    _enough_speakers(cuts, config)
    if samples is None:
        samples = round(rate * generator.uniform(*config.seconds))
    shares = np.asarray(config.counts, np.float64)
    count = 1 + int(generator.choice(len(shares), p=shares / shares.sum()))
    speakers = generator.choice(len(cuts.speakers), count, replace=False)
    spans = _spans(count, samples, config, generator)
    responses: list[Float] = []
    if generator.random() < config.room:
        responses = draw_responses(generator, config.rooms, count, rate)
    level = generator.uniform(*config.level_db)
    quieter = generator.uniform(*config.ratio_db, count)
    quieter[generator.integers(count)] = 0.0
    sources = np.zeros((config.tracks, samples), np.float32)
    turns = []
    for number, (speaker, (begin, end)) in enumerate(zip(speakers, spans, strict=True)):
        speech, names = _speech(cuts, int(speaker), end - begin, config, generator)
        source = np.zeros(samples, np.float32)
        source[begin:end] = speech
        if responses:
            source = reverberate(source, responses[number])
        gain = np.float32(10 ** ((level - quieter[number]) / 20) / max(speech_level(speech, rate), 1e-5))
        sources[number] = source * gain
        turns.append(Turn(cuts.speakers[speaker], names, begin, end, float(gain)))
    noise = np.zeros(samples, np.float32)
    if generator.random() < config.noise:
        noise = _noise(sources.sum(0), rate, config, generator, noises)
    mixture = sources.sum(0) + noise
    peak = float(np.abs(mixture).max())
    if peak > PEAK:
        quiet = np.float32(PEAK / peak)
        sources, noise = sources * quiet, noise * quiet
        mixture = sources.sum(0) + noise
        turns = [turn._replace(gain=turn.gain * float(quiet)) for turn in turns]
    return MixedSpeech(mixture, sources, noise, tuple(turns))


class MixtureBatch(NamedTuple):
    """Mixtures (B, S) and their sources (B, K, S), zero beyond a mixture's speakers."""

    mixtures: Float
    sources: Float


class DynamicMixtures:
    """Endless batches of mixtures; batch ``number`` is the same on every machine and after every resume.

    Args:
        cuts: of single speakers.
        config: distribution.
        batch_size: B.
        seed: random seed.
        noises: recordings at the cuts' sample rate.

    Raises:
        UserError: if there are fewer speakers than a mixture may have.
    """

    def __init__(
        self, cuts: Cuts, config: SpeakerMixing, batch_size: int, seed: int = 0, noises: Sequence[Float] = ()
    ) -> None:
        _enough_speakers(cuts, config)
        self._cuts, self._config, self._size = cuts, config, batch_size
        self._seed, self._noises = seed, noises

    def __getitem__(self, number: int) -> MixtureBatch:
        """Batch ``number``."""
        seconds = np.random.default_rng([self._seed, number]).uniform(*self._config.seconds)
        samples = round(self._cuts.sample_rate * seconds)
        drawn = [
            draw_mixture(
                self._cuts,
                self._config,
                np.random.default_rng([self._seed, number, item]),
                samples=samples,
                noises=self._noises,
            )
            for item in range(self._size)
        ]
        return MixtureBatch(np.stack([one.mixture for one in drawn]), np.stack([one.sources for one in drawn]))


def speech_level(waveform: Float, sample_rate: int) -> float:
    """RMS of the 20 ms frames within 30 dB of the loudest one."""
    powers = _frame_powers(waveform, sample_rate)
    return float(np.sqrt(powers[_speaking(powers)].mean()))


def level_range(blocks: Iterable[Float], sample_rate: int) -> float | None:
    """Decibels from the quiet frames of a recording, the lowest tenth, to its loud ones, the highest twentieth.

    Indicates the noise level for speech with pauses; None for silence.
    """
    powers = np.concatenate([np.zeros(0), *(_frame_powers(block, sample_rate) for block in blocks if len(block))])
    quiet, loud = np.percentile(powers, [10, 95]) if len(powers) else (0.0, 0.0)
    return float(10 * np.log10(loud / max(quiet, LEAST_POWER))) if loud > LEAST_POWER else None


def _frame_powers(waveform: Float, sample_rate: int) -> NDArray[np.float64]:
    size = max(1, min(len(waveform), round(FRAME_SECONDS * sample_rate)))
    frames = waveform[: len(waveform) // size * size].reshape(-1, size)
    return np.asarray(np.square(frames, dtype=np.float64).mean(1))


def _speaking(powers: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(powers >= powers.max() * 10 ** (SPEECH_DB / 10))


def _enough_speakers(cuts: Cuts, config: SpeakerMixing) -> None:
    most = 1 + max(index for index, share in enumerate(config.counts) if share)
    if len(cuts.speakers) < most:
        raise UserError(
            f"{len(cuts.speakers)} speakers, too few for mixtures of {most}; give recordings of more speakers "
            "or change counts"
        )


def _spans(count: int, samples: int, config: SpeakerMixing, generator: np.random.Generator) -> list[tuple[int, int]]:
    """Begin and end of each speaker's turn; the first begins with the mixture and the last ends with it."""
    together = generator.random() < config.together
    share = generator.uniform(*config.overlap)
    # No turn takes everything.
    parts = (generator.dirichlet(np.full(count, 2.0)) + LEAST_PART) / (1 + count * LEAST_PART)
    if count == 1 or together:
        return [(0, samples)] * count
    shared = share * samples
    # A turn is its overlap with a neighbour plus its share of the rest.
    least = max(shared, 0.0)
    lengths = least + parts * (samples + (count - 1) * shared - count * least)
    begins = np.cumsum(lengths - shared) - (lengths - shared)
    return [(round(begin), round(begin + length)) for begin, length in zip(begins, lengths, strict=True)]


def _speech(
    cuts: Cuts, speaker: int, samples: int, config: SpeakerMixing, generator: np.random.Generator
) -> tuple[Float, tuple[str, ...]]:
    """``needed`` samples of a speaker, from one cut or several, with short fades, and the cuts' ids."""
    factor = generator.uniform(*config.speed_range) if generator.random() < config.speed else 1.0
    needed = samples if factor == 1.0 else round(samples * factor) + 1
    for _ in range(DRAWS):
        pieces, names = _pieces(cuts, speaker, needed, generator)
        powers = _frame_powers(pieces, cuts.sample_rate)
        if powers.max() > 0 and _speaking(powers).mean() >= LEAST_SPEECH:
            break
    if factor != 1.0:
        pieces = change_speed(pieces, factor)
        pieces = np.pad(pieces[:samples], (0, max(0, samples - len(pieces))))
    faded = pieces.astype(np.float32)
    length = min(round(FADE_SECONDS * cuts.sample_rate), samples // 2)
    if length:
        ramp = np.linspace(0, 1, length, endpoint=False, dtype=np.float32)
        faded[:length] *= ramp
        faded[-length:] *= ramp[::-1]
    return faded, names


def _pieces(cuts: Cuts, speaker: int, needed: int, generator: np.random.Generator) -> tuple[Float, tuple[str, ...]]:
    """A part of one cut if it is long enough, else whole cuts in sequence."""
    pieces: list[Float] = []
    names: list[str] = []
    remaining = needed
    while remaining > 0:
        cut = cuts.choose(speaker, generator)
        begin = int(generator.integers(max(1, cuts.samples(cut) - remaining + 1)))
        piece = cuts.piece(cut, begin, remaining)
        pieces.append(piece if len(piece) else np.zeros(1, np.float32))
        names.append(cuts.name(cut))
        remaining -= len(pieces[-1])
    return np.concatenate(pieces), tuple(names)


def _noise(
    speech: Float, rate: int, config: SpeakerMixing, generator: np.random.Generator, noises: Sequence[Float]
) -> Float:
    """Noise of the length of the speech, at a random ratio."""
    ratio = generator.uniform(*config.noise_db)
    if not len(noises):
        return fit_noise(speech, made_noise(len(speech), generator, rate), ratio)
    chosen = noises[int(generator.integers(len(noises)))]
    return fit_noise(speech, audible_segment(chosen, len(speech), generator), ratio)
