"""Settings of the four stages."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from speechkit.asr import stages as asr
from speechkit.encoders.probing.word_tokens import WordConfig
from speechkit.pipeline import SHARED


class PrepareConfig(msgspec.Struct, frozen=True):
    """Which recordings each task takes; a task whose manifest is absent is left out.

    Attributes:
        speech_manifest: read speech with texts and speakers, for characters and words.
        speakers_manifest: utterances of many speakers, for speaker identification; with phones in ``custom.phones``
            for phones too, and with texts for digits.
        commands_manifest: recordings with classes in ``custom``, for keywords, intents or digits.
        command_labels: fields of ``custom`` with commas between them, dots for fields inside fields; a recording
            without the field has the class "none".
        digit_words: an utterance of ``speakers_manifest`` of nothing but these words is cut into digits.
        test_speakers: speakers of ``speech_manifest`` to be judged by, with commas between them; else a share is drawn.
        test_share: share of the speakers, or of each speaker's utterances, that is drawn.
        folds: parts of the commands, each judged by a classifier that was trained on the others.
        normalizer: of the texts.
        max_train_seconds: most speech to train the heads on.
        max_seconds: longer utterances are dropped.
        dev_utterances: training utterances whose words choose the layer.
    """

    speech_manifest: Annotated[str | None, SHARED] = None
    speakers_manifest: Annotated[str | None, SHARED] = None
    commands_manifest: Annotated[str | None, SHARED] = None
    command_labels: str = "intent"
    digit_words: str = "zero,oh,one,two,three,four,five,six,seven,eight,nine"
    test_speakers: str = ""
    test_share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.2
    folds: Annotated[int, SHARED, msgspec.Meta(ge=2, le=20)] = 5
    normalizer: str = "simple"
    max_train_seconds: float = 3600.0
    max_seconds: float = 35.0
    dev_utterances: int = 200


class WordsConfig(asr.WordsConfig, frozen=True):
    """Which CTC recogniser says when each word was spoken."""

    speech_manifest: Annotated[str | None, SHARED] = None
    speakers_manifest: Annotated[str | None, SHARED] = None


class FeaturesConfig(msgspec.Struct, frozen=True):
    """The encoder whose layers are computed, and how they are kept."""

    encoder: Annotated[str, SHARED] = "embedded"
    speech_manifest: Annotated[str | None, SHARED] = None
    speakers_manifest: Annotated[str | None, SHARED] = None
    commands_manifest: Annotated[str | None, SHARED] = None
    dtype: Literal["float16", "float32"] = "float16"


class ProbeConfig(msgspec.Struct, frozen=True):
    """The heads. ``standardize`` holds for words; heads always standardise what they read."""

    encoder: Annotated[str, SHARED] = "embedded"
    folds: Annotated[int, SHARED] = 5
    character_hidden: int = 128
    character_epochs: int = 12
    character_rate: float = 4e-3
    phone_hidden: int = 0
    phone_epochs: int = 8
    phone_rate: float = 1e-2
    standardize: bool = True
    words: WordConfig = WordConfig()
    dev_tokens: int = 400
