"""Settings of the stages."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from speechkit.pipeline import NEUTRAL, SHARED
from speechkit.syllables.mixing import MixingConfig
from speechkit.training import TrainingConfig


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
        min_seconds: shorter recordings are dropped.
        max_train_seconds: most speech to learn from, drawn.
        max_seconds: longer utterances are not aligned.
        check_audio: read every recording to learn from once, to drop what cannot be read; without it, training stops
            there.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    dev_manifest: Annotated[str | None, SHARED] = None
    truth_manifest: Annotated[str | None, SHARED] = None
    test_speakers: str = ""
    tune_utterances: int = 100
    normalizer: Annotated[str, SHARED] = "simple"
    min_seconds: float = 1.0
    max_train_seconds: float = 1e9
    max_seconds: float = 36.0
    check_audio: bool = True


class WordsConfig(msgspec.Struct, frozen=True):
    """Which CTC recogniser says when each word was spoken; none for languages whose recogniser is not at hand."""

    truth_manifest: Annotated[str | None, SHARED] = None
    recognizer: str = "embedded"
    lang: Annotated[str, SHARED] = "en"
    normalizer: Annotated[str, SHARED] = "simple"
    batch_size: Annotated[int, NEUTRAL] = 8


class SilverConfig(msgspec.Struct, frozen=True):
    """How far a word may begin, in seconds, from where the CTC model heard it, before an utterance is left out."""

    truth_manifest: Annotated[str | None, SHARED] = None
    lang: Annotated[str, SHARED] = "en"
    max_deviation: float = 0.5


class SeedsConfig(msgspec.Struct, frozen=True):
    """The encoder to begin with, and what stage 1 takes for syllables.

    Attributes:
        encoder: folder or hub id of wav2vec 2.0, HuBERT, WavLM or data2vec-audio, or ``embedded``.
        layers: how many of its layers to keep; all when absent.
        segmenter: ``dynamic``: least squared distance of the encoder's frames at a syllable rate; ``envelope``: the
            loudness alone; ``tier``: the tier ``syllable`` of the training manifest, whatever made it.
        rate: syllables a second of speech, for ``dynamic``.
        shortest: frames, for ``dynamic``.
        longest: frames, for ``dynamic``.
        silence_db: a frame so far below the loud ones of its recording is silent.
        silence_frames: shorter silences, as of a stop, belong to the speech around them.
        standardising_batches: of 40 s, to measure the encoder's dimensions on.
        measured_items: recordings to find the duration penalty on.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    encoder: Annotated[str, SHARED] = "embedded"
    layers: int | None = None
    segmenter: Literal["dynamic", "envelope", "tier"] = "dynamic"
    rate: float = 4.8
    shortest: int = 4
    longest: int = 30
    silence_db: float = 32.0
    silence_frames: int = 6
    standardising_batches: int = 12
    measured_items: int = 40


class TrainConfig(msgspec.Struct, frozen=True):
    """One stage of training.

    Attributes:
        train_front: whether the convolutions learn, too.
        noise_manifest: recorded noise for the student's input; white noise is there in any case.
        judged_batches: batches of ``dev_manifest``; 0 for none.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    dev_manifest: Annotated[str | None, SHARED] = None
    noise_manifest: Annotated[str | None, SHARED] = None
    train_front: bool = False
    batch_seconds: float = 40.0
    crop_seconds: float = 5.0
    mixing: MixingConfig = MixingConfig()
    judged_batches: Annotated[int, NEUTRAL] = 6
    tensorboard: Annotated[bool, NEUTRAL] = False
    loop: TrainingConfig = TrainingConfig(learning_rates=(1e-4,), weight_decay=0.1, clip_norm=0.5)


class SecondConfig(TrainConfig, frozen=True):
    """The same for stage 2: a lower rate and no warm-up.

    Attributes:
        merge_range: the cosines from which that of each batch is drawn, as 0.8 to 0.9 in the paper; when absent, 0.05
            to both sides of the one that gives ``rate``.
        rate: segments a second of speech.
        measured_items: recordings to find the thresholds on.
    """

    merge_range: tuple[float, float] | None = None
    rate: float = 4.8
    measured_items: int = 30
    loop: TrainingConfig = TrainingConfig(learning_rates=(5e-5,), warmup_steps=0, weight_decay=0.1, clip_norm=0.5)


class SegmentConfig(msgspec.Struct, frozen=True):
    """What is segmented: the utterances of stage 3; the first of the tuning speakers' choose the settings."""

    truth_manifest: Annotated[str | None, SHARED] = None
    tune_utterances: int = 60


class TokensConfig(msgspec.Struct, frozen=True):
    """The codebook of segment vectors.

    Attributes:
        system: whose segments, as stage 7 names them.
        clusters: of k-means; 5000, 10,000 and 20,000 are usual with hundreds of hours.
        spherical: k-means of directions.
        max_segments: of the training speech, to cluster.
        longest_gap: frames; a longer stretch without a segment is one silence token, -1 makes every gap one.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    truth_manifest: Annotated[str | None, SHARED] = None
    system: str = "second greedy"
    clusters: int = 5000
    spherical: bool = True
    max_segments: int = 1_000_000
    longest_gap: int = 7


class ScoreConfig(msgspec.Struct, frozen=True):
    """How far, in seconds, a boundary may lie from the true one, and how many bootstrap draws make an interval."""

    tolerance_seconds: float = 0.05
    resamples: int = 1000
