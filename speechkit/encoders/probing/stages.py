"""The stage that runs every probing task on stored layers."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import msgspec

from speechkit.data.records import Utterance
from speechkit.encoders.probing.tasks import CHARACTERS, COMMANDS, DIGITS, PHONES, SPEAKERS, ProbeItem
from speechkit.encoders.probing.word_tokens import WordConfig
from speechkit.errors import UserError
from speechkit.pipeline import SHARED, Context
from speechkit.runtime import item_seed

if TYPE_CHECKING:
    from speechkit.encoders.probing.results import Score
    from speechkit.encoders.store import FeatureStore

WORDS, PHONES_ABX, PHONE_TIER = "words", "phones ABX", "phone"


class ProbeConfig(msgspec.Struct, frozen=True):
    """The heads. ``standardize`` holds for words and phones; heads always standardise what they read."""

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
    max_phones: int = 12_000
    dev_phones: int = 4000


def probe(context: Context) -> None:
    """Every task for which there are items; the scores go to one file, with what could not be measured and why.

    Raises:
        UserError: if nothing could be measured.
    """
    from speechkit.encoders.probing.results import ProbeReport
    from speechkit.encoders.store import FeatureStore
    from speechkit.io.atomic import write_json

    begun = time.monotonic()
    cache = FeatureStore(context.inputs["features"], "all")
    scores: list[Score] = []
    left_out: dict[str, str] = {}

    def leave_out(task: str, reason: str) -> None:
        left_out[task] = reason
        context.say(f"{task} could not be measured: {reason}")

    for task, measure in _measures(context, cache, leave_out).items():
        try:
            measured = measure()
        except UserError as error:  # such as too few tokens: the other tasks are worth their hours
            leave_out(task, str(error))
            continue
        scores += measured
        for score in measured:
            context.log(f"{score.task}: {score.value:.4f}")
    if not scores:
        task, reason = next(iter(left_out.items()), ("tasks", "there are no items"))
        raise UserError(f"nothing could be measured: {task}: {reason}")
    seconds = round(time.monotonic() - begun, 1)
    context.main_figure = "; ".join(f"{score.task} {score.value:.3f}" for score in scores)
    report = ProbeReport(context.config.encoder, cache.spec, scores, context.seed, seconds, left_out)
    write_json(context.output("scores.json"), report)


def _measures(
    context: Context, cache: FeatureStore, leave_out: Callable[[str, str], None]
) -> dict[str, Callable[[], list[Score]]]:
    """A measurement for every task that has items whose recordings could be encoded."""
    from speechkit.encoders.probing.tasks import probe_labels, probe_symbols

    config = context.config
    of_task: dict[str, list[ProbeItem]] = defaultdict(list)
    for item in context.read("items"):
        if item.id in cache:
            of_task[item.task].append(item)
    heads = {
        CHARACTERS: (config.character_hidden, config.character_epochs, config.character_rate),
        PHONES: (config.phone_hidden, config.phone_epochs, config.phone_rate),
    }

    def symbols(task: str) -> list[Score]:
        hidden, epochs, rate = heads[task]
        score = probe_symbols(
            task,
            of_task[task],
            cache,
            hidden=hidden,
            epochs=epochs,
            learning_rate=rate,
            seed=context.seed,
            device=context.device,
            progress=context.progress.update,
        )
        return [score]

    def labels(task: str, items: Callable[[], list[ProbeItem]], folds: int) -> list[Score]:
        return [probe_labels(task, items(), cache, folds=folds, seed=context.seed)]

    measures: dict[str, Callable[[], list[Score]]] = {task: partial(symbols, task) for task in heads if of_task[task]}
    for task, folds in ((SPEAKERS, 1), (COMMANDS, config.folds)):
        if of_task[task]:
            measures[task] = partial(labels, task, partial(of_task.__getitem__, task), folds)
    rows: dict[str, list[Utterance]] = defaultdict(list)
    for row in context.read("words"):
        if row.id in cache:
            rows[row.custom["part"]].append(row)
    if rows[DIGITS]:
        measures[DIGITS] = partial(
            labels, DIGITS, partial(_digit_items, rows[DIGITS], config, cache.spec.frame_rate), config.folds
        )
    if of_task[CHARACTERS]:  # the same speech
        measures[WORDS] = partial(_words, context, cache, rows, leave_out)
    if any((row.alignment or {}).get(PHONE_TIER) for row in rows["test"]):
        measures[PHONES_ABX] = partial(_phones, context, cache, rows, leave_out)
    return measures


def _words(
    context: Context, cache: FeatureStore, rows: dict[str, list[Utterance]], leave_out: Callable[[str, str], None]
) -> list[Score]:
    """Word discrimination on the test speakers."""
    from speechkit.encoders.probing.discrimination import probe_words
    from speechkit.encoders.probing.word_tokens import select_tokens, words_of

    config = context.config
    test, dev = (
        select_tokens(
            (token for row in rows[part] for token in words_of(row, config.words, cache.spec.frame_rate)),
            msgspec.structs.replace(config.words, max_tokens=most),
            context.seed,
        )
        for part, most in (("test", config.words.max_tokens), ("dev", config.dev_tokens))
    )
    return probe_words(
        test,
        dev,
        cache,
        standardize=config.standardize,
        seed=context.seed,
        progress=context.progress.update,
        leave_out=leave_out,
    )


def _phones(
    context: Context, cache: FeatureStore, rows: dict[str, list[Utterance]], leave_out: Callable[[str, str], None]
) -> list[Score]:
    """Phone discrimination on the test speakers."""
    from speechkit.encoders.probing.discrimination import probe_phones
    from speechkit.encoders.probing.phone_abx import phones_of, select_phones

    config = context.config
    rate = cache.spec.frame_rate
    test, dev = (
        select_phones((token for row in rows[part] for token in phones_of(row, rate)), most, context.seed)
        for part, most in (("test", config.max_phones), ("dev", config.dev_phones))
    )
    return probe_phones(
        test,
        dev,
        cache,
        standardize=config.standardize,
        seed=context.seed,
        progress=context.progress.update,
        leave_out=leave_out,
    )


def _digit_items(rows: Sequence[Utterance], config: ProbeConfig, frame_rate: float) -> list[ProbeItem]:
    """Spoken digits in folds that share no speaker.

    Raises:
        UserError: if there are fewer speakers than folds.
    """
    from speechkit.encoders.probing.word_tokens import words_of

    short = msgspec.structs.replace(config.words, min_seconds=0.1, min_letters=1)
    tokens = [token for row in rows for token in words_of(row, short, frame_rate)]
    speakers = sorted({token.speaker for token in tokens}, key=lambda speaker: item_seed(0, speaker))
    if len(speakers) < config.folds:
        raise UserError(
            f"digits: {len(tokens)} spoken digits of {len(speakers)} speakers make no {config.folds} folds that share "
            "no speaker; give more speakers, or set folds lower"
        )
    fold = {speaker: index % config.folds for index, speaker in enumerate(speakers)}
    return [
        ProbeItem(
            token.utterance,
            DIGITS,
            fold[token.speaker],
            [],
            {"digit": token.word},
            token.speaker,
            token.begin,
            token.end,
        )
        for token in tokens
    ]
