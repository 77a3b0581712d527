"""Settings of the stages."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from speechkit.augment.mixing import MixingConfig
from speechkit.errors import ConfigError
from speechkit.pipeline import NEUTRAL, SHARED
from speechkit.training import TrainingConfig

Count = Annotated[int, msgspec.Meta(ge=1)]
Above = Annotated[float, msgspec.Meta(gt=0)]
Cosine = Annotated[float, msgspec.Meta(ge=-1, le=1)]


class PrepareConfig(msgspec.Struct, frozen=True):
    """Which recordings to learn from, and which to judge by.

    Attributes:
        train_manifest: speech; no text is needed.
        dev_manifest: speech, only to look how training goes.
        truth_manifest: speech with texts and speakers, to be aligned.
        test_speakers: some speakers of ``truth_manifest`` to be judged by, with commas between them; the others choose
            the segmenters' settings. Nothing is learnt from recordings of the former.
        tune_utterances: of the other speakers, drawn.
        normalizer: of the texts.
        min_seconds: shorter recordings are dropped; at least a frame of 20 ms.
        max_train_seconds: most speech to learn from, drawn.
        max_seconds: longer utterances are not aligned.
        check_audio: read every recording to learn from once, to drop what cannot be read; without it, training stops
            there.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    dev_manifest: Annotated[str | None, SHARED] = None
    truth_manifest: Annotated[str | None, SHARED] = None
    test_speakers: str = ""
    tune_utterances: Count = 100
    normalizer: Annotated[str, SHARED] = "simple"
    min_seconds: Annotated[float, msgspec.Meta(ge=0.02)] = 1.0
    max_train_seconds: Above = 1e9
    max_seconds: Above = 36.0
    check_audio: bool = True


class WordsConfig(msgspec.Struct, frozen=True):
    """Which CTC recogniser says when each word was spoken; none for languages whose recogniser is not at hand."""

    truth_manifest: Annotated[str | None, SHARED] = None
    recognizer: str = "embedded"
    lang: Annotated[str, SHARED] = "en"
    normalizer: Annotated[str, SHARED] = "simple"
    batch_size: Annotated[int, NEUTRAL, msgspec.Meta(ge=1)] = 8


class SilverConfig(msgspec.Struct, frozen=True):
    """How far a word may begin, in seconds, from where the CTC model heard it, before an utterance is left out."""

    truth_manifest: Annotated[str | None, SHARED] = None
    lang: Annotated[str, SHARED] = "en"
    max_deviation: Above = 0.5


class SeedsConfig(msgspec.Struct, frozen=True):
    """The encoder to begin with, and what stage 1 takes for syllables.

    Attributes:
        encoder: folder or hub id of wav2vec 2.0, HuBERT, WavLM or data2vec-audio, or ``embedded``.
        layers: how many of its layers to keep; all when absent.
        segmenter: ``dynamic``: least squared distance of the encoder's frames at a syllable rate; ``envelope``: the
            loudness alone; ``tier``: the tier ``syllable`` of the training manifest, whatever made it.
        rate: syllables a second of speech, for ``dynamic``.
        shortest: frames, for ``dynamic``.
        longest: frames, for ``dynamic``; at least ``2 * shortest - 1``, so that every stretch can be cut.
        silence_db: a frame so far below the loud ones of its recording is silent.
        silence_frames: shorter silences, as of a stop, belong to the speech around them.
        standardising_batches: of 40 s, to measure the encoder's dimensions on.
        measured_items: recordings to find the duration penalty on.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    encoder: Annotated[str, SHARED] = "embedded"
    layers: Count | None = None
    segmenter: Literal["dynamic", "envelope", "tier"] = "dynamic"
    rate: Above = 4.8
    shortest: Count = 4
    longest: Count = 30
    silence_db: Above = 32.0
    silence_frames: Annotated[int, msgspec.Meta(ge=0)] = 6
    standardising_batches: Count = 12
    measured_items: Count = 40

    def __post_init__(self) -> None:
        if self.longest < 2 * self.shortest - 1:
            raise ConfigError(
                f"seeds.longest is {self.longest}; give at least {2 * self.shortest - 1}, 2 * shortest - 1, so that "
                "every stretch can be cut"
            )


class TrainConfig(msgspec.Struct, frozen=True):
    """One stage of training.

    Attributes:
        train_front: whether the convolutions learn, too.
        noise_manifest: recorded noise for the student's input, none of it silent; white noise is there in any case.
        batch_seconds: of crops, those of the longest times their number.
        crop_seconds: longer recordings give a piece of this length; at least 0.1, a short syllable.
        judged_batches: batches of ``dev_manifest``; 0 for none.
        processes: of this machine that train together, 0: one for each GPU. A step takes ``loop.accumulation`` batches
            from each.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    dev_manifest: Annotated[str | None, SHARED] = None
    noise_manifest: Annotated[str | None, SHARED] = None
    train_front: bool = False
    batch_seconds: Above = 40.0
    crop_seconds: Annotated[float, msgspec.Meta(ge=0.1)] = 5.0
    mixing: MixingConfig = MixingConfig()
    judged_batches: Annotated[int, NEUTRAL, msgspec.Meta(ge=0)] = 6
    processes: Annotated[int, msgspec.Meta(ge=0)] = 1
    tensorboard: Annotated[bool, NEUTRAL] = False
    loop: TrainingConfig = TrainingConfig(learning_rates=(1e-4,), weight_decay=0.1, clip_norm=0.5)


class SecondConfig(TrainConfig, frozen=True):
    """The same for stage 2: a lower rate and no warm-up.

    Attributes:
        merge_range: the cosines from which that of each batch is drawn, the lower first, as 0.8 to 0.9 in the paper;
            when absent, 0.05 to both sides of the one that gives ``rate``, as far as there are such cosines.
        rate: segments a second of speech.
        measured_items: recordings to find the thresholds on.
    """

    merge_range: tuple[Cosine, Cosine] | None = None
    rate: Above = 4.8
    measured_items: Count = 30
    loop: TrainingConfig = TrainingConfig(learning_rates=(5e-5,), warmup_steps=0, weight_decay=0.1, clip_norm=0.5)

    def __post_init__(self) -> None:
        if self.merge_range is not None and not -1 <= self.merge_range[0] <= self.merge_range[1] <= 1:
            raise ConfigError(
                f"train2.merge_range is {list(self.merge_range)}; give two cosines from -1 to 1, the lower first"
            )


class SegmentConfig(msgspec.Struct, frozen=True):
    """What is segmented: the utterances of stage 3; the first of the tuning speakers' choose the settings."""

    truth_manifest: Annotated[str | None, SHARED] = None
    tune_utterances: Count = 60


class TokensConfig(msgspec.Struct, frozen=True):
    """The codebook of segment vectors.

    Attributes:
        system: whose segments, as stage 7 names them; one of the encoder of stage 2, whose frames are clustered.
        clusters: of k-means; 5000, 10,000 and 20,000 are usual with hundreds of hours.
        spherical: k-means of directions.
        max_segments: of the training speech, to cluster.
        longest_gap: frames; a longer stretch without a segment is one silence token, -1 makes every gap one.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    truth_manifest: Annotated[str | None, SHARED] = None
    system: Literal["second greedy", "second dynamic"] = "second greedy"
    clusters: Count = 5000
    spherical: bool = True
    max_segments: Count = 1_000_000
    longest_gap: Annotated[int, msgspec.Meta(ge=-1)] = 7

    def __post_init__(self) -> None:
        if self.max_segments < self.clusters:
            raise ConfigError(
                f"tokens.max_segments is {self.max_segments}, too few for {self.clusters} clusters; raise it or set "
                "tokens.clusters lower"
            )


class ScoreConfig(msgspec.Struct, frozen=True):
    """How far, in seconds, a boundary may lie from the true one, and of how many bootstrap draws intervals are made."""

    tolerance_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.05
    resamples: Annotated[int, msgspec.Meta(ge=0)] = 1000
