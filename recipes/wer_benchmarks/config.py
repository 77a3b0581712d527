"""Settings of the three stages."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from speechkit.pipeline import NEUTRAL, SHARED


class SelectConfig(msgspec.Struct, frozen=True):
    """What is recognised.

    Attributes:
        manifest: utterances with texts, as `speechkit prepare` writes them.
        max_utterances: so many are drawn by the seed where there are more; 0 takes all.
        speakers: only these, with commas between them; all where empty.
        unseen_speakers: speakers that a recogniser was not trained on, with commas between them: the others get
            ``heard_in_training`` "possibly", so that their rates stand apart.
    """

    manifest: Annotated[str | None, SHARED] = None
    max_utterances: int = 0
    speakers: str = ""
    unseen_speakers: str = ""


class RecognizeConfig(msgspec.Struct, frozen=True):
    """Which recognisers: names of `speechkit transcribe` or ``pocketsphinx``, each NAME or LABEL=NAME, with commas."""

    manifest: Annotated[str | None, SHARED] = None
    recognizers: Annotated[str, SHARED] = "embedded"
    lang: str = "en"
    batch_size: Annotated[int, NEUTRAL] = 8


class ScoreConfig(msgspec.Struct, frozen=True):
    """How the texts are scored; ``groups`` are fields of ``custom`` with commas between them."""

    recognizers: Annotated[str, SHARED] = "embedded"
    normalizers: str = "english,simple"
    by: Literal["utterance", "speaker"] = "speaker"
    groups: str = ""
    resamples: int = 2000
