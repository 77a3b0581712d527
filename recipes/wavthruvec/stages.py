"""Stages 1 and 3: utterances with their symbols, and training of text2vec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.io.atomic import write_json
from speechkit.pipeline import NEUTRAL, SHARED, Context
from speechkit.training import TrainingConfig
from speechkit.tts.stages import TextRow
from speechkit.tts.text import TextConfig, TextFrontEnd, read_dictionary, read_front_end
from speechkit.tts.text2vec_config import LossWeights, Text2VecSizes

if TYPE_CHECKING:
    from speechkit.training import Objective

PARTS = ("train", "dev", "test")
PREPARE_DROPS = ("no_text", "unspeakable", "unknown_symbol", "too_short", "too_long")
Above = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class VoiceDataConfig(msgspec.Struct, frozen=True):
    """Utterances, and the conversion of their texts to symbols.

    Attributes:
        train_manifest: training utterances.
        dev_manifest: validation utterances.
        test_manifest: test utterances.
        lang: language of the texts.
        units: ``letters``, or ``phonemes`` by the program espeak-ng.
        dictionary: pronunciations of words, for ``letters``: a file of lines ``word PHONE PHONE``, or ``pocketsphinx``
            for its English dictionary (extra ``align``).
        min_seconds: shorter utterances are dropped.
        max_seconds: longer utterances are dropped.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    dev_manifest: Annotated[str | None, SHARED] = None
    test_manifest: Annotated[str | None, SHARED] = None
    lang: Annotated[str, SHARED] = "en"
    units: Literal["letters", "phonemes"] = "letters"
    dictionary: str | None = None
    min_seconds: Above = 0.4
    max_seconds: Above = 15.0


def prepare(context: Context) -> None:
    """Keep usable utterances of each part, and list the symbols of the training texts.

    Validation and test utterances with symbols that the training texts lack are dropped.
    """
    config = context.config
    for part in PARTS:
        if getattr(config, f"{part}_manifest") is None:
            raise ConfigError(f"{part}_manifest is not set; run with {part}_manifest=FILE.jsonl")
    dictionary = read_dictionary(config.dictionary) if config.dictionary else {}
    front_end = TextFrontEnd(TextConfig(config.lang, config.units), dictionary)
    known: dict[str, None] = dict.fromkeys(front_end.symbols)

    def usable(part: str) -> Iterator[Utterance]:
        for row in context.read(f"{part}_manifest"):
            if not (row.text or "").strip():
                context.drop(row.id, "no_text")
            elif not config.min_seconds <= row.duration <= config.max_seconds:
                reason = "too_short" if row.duration < config.min_seconds else "too_long"
                context.drop(row.id, reason, f"{row.duration:.2f} s")
            else:
                try:
                    symbols, unknown = front_end.read(row.text)
                except UserError as error:
                    context.drop(row.id, "unspeakable", str(error))
                    continue
                strange = unknown or [symbol for symbol in symbols if part != "train" and symbol not in known]
                if strange:
                    context.drop(row.id, "unknown_symbol", " ".join(strange))
                    continue
                known.update(dict.fromkeys(symbols))
                custom = {"part": part, "symbols": len(symbols), "source": row.audio_filepath}
                yield msgspec.structs.replace(row, custom=custom)

    texts: list[TextRow] = []

    def all_parts() -> Iterator[Utterance]:
        for part in PARTS:
            for row in usable(part):
                if part == "test":
                    texts.append(TextRow(id=row.id, text=row.text or ""))
                yield row

    context.write("cuts.jsonl", all_parts())
    context.write("texts.jsonl", texts)
    write_json(context.output("text.json"), TextConfig(config.lang, config.units, tuple(known)))
    write_json(context.output("dictionary.json"), dictionary)


class TrainConfig(msgspec.Struct, frozen=True):
    """The model and its training.

    Attributes:
        sizes: sizes of the model.
        weights: weights of the losses.
        letters_share: share of the words of the dictionary that are trained as letters.
        batch_seconds: size of a padded batch: number of utterances times the longest.
        judged_batches: number of validation batches; 0 for none.
        half: store float16 weights.
        processes: parallel processes on this machine, 0: one for each GPU.
    """

    sizes: Text2VecSizes = Text2VecSizes()
    weights: LossWeights = LossWeights()
    letters_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.15
    batch_seconds: Above = 40.0
    judged_batches: Annotated[int, NEUTRAL, msgspec.Meta(ge=0)] = 4
    half: bool = True
    processes: Count = 1
    tensorboard: Annotated[bool, NEUTRAL] = False
    loop: TrainingConfig = TrainingConfig()


def train(context: Context) -> None:
    """Train as configured; an interrupted run resumes from its checkpoint."""
    from speechkit.training import train_stage

    config: TrainConfig = context.config
    train_stage(context, objective, config.loop, processes=config.processes, tensorboard=config.tensorboard)


def objective(context: Context) -> Objective:
    """The configured model with the frames of stage 2."""
    from speechkit.tts.text2vec_training import text2vec_objective

    config: TrainConfig = context.config
    return text2vec_objective(
        context.inputs["features"],
        read_front_end(context.inputs["text"], context.inputs["dictionary"]),
        sizes=config.sizes,
        weights=config.weights,
        batch_seconds=config.batch_seconds,
        letters_share=config.letters_share,
        judged_batches=config.judged_batches,
        seed=config.loop.seed,
        half=config.half,
    )
