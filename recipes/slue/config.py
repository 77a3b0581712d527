"""Settings of the three stages."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from speechkit.pipeline import SHARED
from speechkit.slue.systems.text_training import TextTrainingConfig

TextTask = Literal["ner", "intent", "qa-text"]


class CorpusConfig(msgspec.Struct, frozen=True):
    """The corpus file of the task: SLURP's jsonl for ner and intent, Spoken-SQuAD's JSON for qa-text.

    Sentences of SLURP, and whole articles of Spoken-SQuAD, go to train, dev and test in 7 : 1 : 2 by a hash.
    """

    source: Annotated[str | None, SHARED] = None
    task: Annotated[TextTask, SHARED] = "ner"


class TrainConfig(msgspec.Struct, frozen=True):
    """How the text model is trained; ``max_dev`` rows choose the weights."""

    task: Annotated[TextTask, SHARED] = "ner"
    max_dev: int = 200
    text: TextTrainingConfig = TextTrainingConfig()


class SensitivityConfig(msgspec.Struct, frozen=True):
    """Texts that the noise is fitted on, and its rates.

    Attributes:
        pairs_reference: what was said, in any form that `speechkit score` reads (a file or folder).
        pairs_heard: what a recogniser wrote, in any such form.
        levels: word error rates in percent, with commas between them.
        normalizer: of the pairs, of word errors and of noisy text.
        max_test: so many test rows are read by the model; 0 takes all.
        resamples: bootstrap draws.
    """

    task: Annotated[TextTask, SHARED] = "ner"
    pairs_reference: str | None = None
    pairs_heard: str | None = None
    levels: str = "5,10,20,30,40,60"
    normalizer: str = "english"
    max_test: int = 0
    resamples: int = 2000
