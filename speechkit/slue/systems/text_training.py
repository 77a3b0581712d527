"""Fine-tuning of text models: taggers, classifiers, extractive readers and summarisers, chosen on a development split.

The training goes through `speechkit.training` (Accelerate), so that it resumes where it stopped. After every
``evaluate_every`` steps the averaged weights predict the development rows and get the task's own score; the best ones
are saved, and after ``patience`` evaluations without a better one the training ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from speechkit.errors import ConfigError, UserError
from speechkit.slue.fields import Options
from speechkit.slue.metrics.entity_text import entities_of_tags
from speechkit.slue.metrics.measures import Resampling
from speechkit.slue.systems.small_text_model import (
    SmallTextModel,
    label_names,
    learn_tokenizer,
    new_model,
    new_summarizer,
)
from speechkit.slue.systems.text_batches import TextBatches
from speechkit.slue.systems.text_examples import TextExample
from speechkit.slue.systems.text_models import (
    ExtractiveReader,
    Loaded,
    Summarizer,
    TextClassifier,
    TokenTagger,
    load_text_model,
    positions_of,
)
from speechkit.slue.tasks import get_task

AUTOMATIC = {
    "ner": ("AutoModelForTokenClassification", "a token classifier"),
    "sentiment": ("AutoModelForSequenceClassification", "a sequence classifier"),
    "intent": ("AutoModelForSequenceClassification", "a sequence classifier"),
    "dialog-acts": ("AutoModelForSequenceClassification", "a sequence classifier"),
    "qa-text": ("AutoModelForQuestionAnswering", "an extractive reader"),
    "summarisation": ("AutoModelForSeq2SeqLM", "a sequence-to-sequence model"),
}
UNLABELLED = ("qa-text", "summarisation")


class TextTrainingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a text model is trained.

    Attributes:
        init: "scratch", or the hub id or folder of a model to fine-tune.
        small: the shape of a model from scratch.
        steps: most optimiser steps.
        batch_size: rows of a step.
        learning_rate: the peak; None is 1e-3 from scratch and 3e-5 for a model that was trained before.
        warmup_steps: steps until the peak.
        evaluate_every: steps between two scores of the development rows.
        patience: evaluations without a better score after which the training ends.
        max_pieces: longer texts are cut, longer passages read in overlapping parts.
        average_decay: of the averaged weights that are evaluated and saved.
        seed: of the weights, the order of rows and dropout.
    """

    init: str = "scratch"
    small: SmallTextModel = SmallTextModel()
    steps: int = 1500
    batch_size: int = 16
    learning_rate: float | None = None
    warmup_steps: int = 50
    evaluate_every: int = 100
    patience: int = 5
    max_pieces: int = 256
    average_decay: float = 0.98
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {getattr(self, name)}, it must be at least 1"
            for name in ("steps", "batch_size", "evaluate_every", "patience")
            if getattr(self, name) < 1
        ]
        if self.max_pieces < 16:
            wrong.append(f"max_pieces is {self.max_pieces}, it must be at least 16")
        if wrong:
            raise ConfigError("; ".join(wrong))


class TextTrainingResult(msgspec.Struct):
    """The scores of the development rows by evaluation, in order; the best one was saved, if ``complete``.

    ``rows`` counts training and development rows; ``unseen_labels`` are labels of the development rows that no training
    row has: they cannot be predicted.
    """

    task: str
    settings: TextTrainingConfig
    rows: tuple[int, int]
    measure: str
    scores: list[float]
    complete: bool = False
    unseen_labels: list[str] = []

    @property
    def best(self) -> float:
        """The highest score, 0 where there is none."""
        return max(self.scores, default=0.0)


def train_text_model(
    task: str,
    train_rows: Sequence[TextExample],
    dev_rows: Sequence[TextExample],
    config: TextTrainingConfig,
    folder: Path,
    *,
    device: str = "cpu",
    should_stop: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = print,
) -> TextTrainingResult:
    """Train, and save the best weights as ``folder/model``, which the pipeline and transformers load.

    A run that was interrupted goes on from its newest checkpoint; one that is complete is not done again.

    Raises:
        UserError: if there are no rows, fewer than two labels, no passage that holds its answer, a model that does not
            fit, or a folder of a run with other settings.
    """
    import torch

    from speechkit.io.atomic import write_json
    from speechkit.training import EarlyStopping, Objective, TrainingConfig, Turn, train

    if not train_rows or not dev_rows:
        raise UserError(f"{len(train_rows)} rows to train on and {len(dev_rows)} to choose by; give both")
    if task == "qa-text" and not any(row.answer for row in train_rows):
        raise UserError("no training passage holds its answer; there is nothing to learn to read")
    labels = label_set(task, train_rows)
    torch.manual_seed(config.seed)
    loaded = _prepared(task, train_rows, labels, config)
    model, tokenizer, _ = loaded
    state_path = folder / "selection.json"
    result = _read_result(state_path, task, config, (train_rows, dev_rows), labels)
    if result.complete:
        log(f"{folder}: is complete, best {result.measure} {result.best:.4f}")
        return result
    write_json(state_path, result)
    loop = TrainingConfig(
        steps=config.steps,
        learning_rates=(config.learning_rate or (1e-3 if config.init == "scratch" else 3e-5),),
        warmup_steps=config.warmup_steps,
        average_decay=config.average_decay,
        log_every=config.evaluate_every,
        evaluate_every=config.evaluate_every,
        save_every=config.evaluate_every,
        seed=config.seed,
    )
    batches = TextBatches(
        task,
        train_rows,
        loaded,
        labels,
        batch_size=config.batch_size,
        max_pieces=config.max_pieces,
        seed=config.seed,
    )
    stopping = EarlyStopping(result.measure, config.patience, higher_is_better=True)
    objective = Objective(
        model,
        [Turn(lambda current, batch: (current(**batch).loss, {}), [list(model.parameters())])],
        batches,
        lambda current: {result.measure: score_examples(task, (current, tokenizer, loaded[2]), dev_rows, device)},
        stopping,
    )
    result.complete = train(objective, loop, folder, should_stop=should_stop, device=device, log=log)
    result.scores = stopping.history
    if result.complete:
        model.save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")
    write_json(state_path, result)
    return result


def label_set(task: str, rows: Sequence[TextExample]) -> list[str]:
    """The labels of a model: O, B- and I- of every tag, or the classes, in alphabetical order."""
    if task in UNLABELLED:
        return []
    if task == "ner":
        tags = sorted({tag.partition("-")[2] for row in rows for _, tag in row.words if tag != "O"})
        if not tags:
            raise UserError("no training row has an entity; there is nothing to learn")
        return ["O", *(f"{mark}-{tag}" for tag in tags for mark in "BI")]
    labels = sorted({label for row in rows for label in row.labels})
    if len(labels) < 2:
        raise UserError(f"the training rows have {len(labels)} label ({', '.join(labels)}); give two or more")
    return labels


def score_examples(task: str, loaded: Loaded, rows: Sequence[TextExample], device: str) -> float:
    """The task's main measure of a model's predictions on examples."""
    options = Options(tags="any", labels=None)
    chosen = get_task(task)
    predicted: list[Any] = []
    if task == "ner":
        tagger = TokenTagger("the model", device, loaded=loaded)
        predicted = [entities_of_tags(tagger.tag([word for word, _ in row.words])) for row in rows]
    elif task == "qa-text":
        reader = ExtractiveReader("the model", device, loaded=loaded)
        for row in rows:
            span = reader.answer(row.text, row.passage)
            predicted.append("" if span is None else row.passage[span[0] : span[1]])
    elif task == "summarisation":
        # Greedily: the search over beams is for predictions, and would cost several times as much at every look.
        summarizer = Summarizer("the model", device, beams=1, loaded=loaded)
        predicted = [summarizer.summarize(row.text) for row in rows]
    else:
        classifier = TextClassifier("the model", device, loaded=loaded)
        if task == "dialog-acts":
            predicted = [classifier.label_set(row.text) for row in rows]
        else:
            predicted = [classifier.label(row.text) for row in rows]
    found = chosen.score([r.gold for r in rows], predicted, [r.id for r in rows], options, Resampling(resamples=0))
    measure = found.measures.get("accuracy") if task == "intent" else None
    return float((measure.value if measure is not None else found.value) or 0.0)


def _prepared(task: str, rows: Sequence[TextExample], labels: list[str], config: TextTrainingConfig) -> Loaded:
    automatic, what = AUTOMATIC[task]
    options: dict[str, Any] = {"problem_type": "multi_label_classification"} if task == "dialog-acts" else {}
    if config.init == "scratch":
        summaries = (row.gold for row in rows if task == "summarisation")
        texts = chain((text for row in rows for text in (row.text, row.passage) if text), summaries)
        tokenizer = learn_tokenizer(texts, config.small)
        if task == "summarisation":
            model = new_summarizer(tokenizer, config.small)
        else:
            model = new_model(automatic, tokenizer, config.small, labels, **options)
        return model, tokenizer, positions_of(model, tokenizer)
    if labels:
        options |= label_names(labels)
    elif task == "qa-text":
        options["num_labels"] = 2  # where an answer begins and ends, whatever labels the model had before
    return load_text_model(automatic, what, config.init, new_head=task != "summarisation", **options)


def _read_result(
    path: Path,
    task: str,
    config: TextTrainingConfig,
    rows: tuple[Sequence[TextExample], Sequence[TextExample]],
    labels: list[str],
) -> TextTrainingResult:
    counts = len(rows[0]), len(rows[1])
    if path.is_file():
        try:
            found = msgspec.json.decode(path.read_bytes(), type=TextTrainingResult)
        except msgspec.DecodeError as error:
            raise UserError(f"{path}: cannot be read ({error}); use another folder") from error
        if (found.task, found.settings, found.rows) != (task, config, counts):
            raise UserError(f"{path}: belongs to a training with another task, settings or rows; use another folder")
        return found
    if task == "ner":
        known, wanted = {label.partition("-")[2] for label in labels}, {tag for row in rows[1] for tag, _ in row.gold}
    else:
        known, wanted = set(labels), {label for row in rows[1] for label in row.labels}
    measure = {"ner": "f1", "qa-text": "word_f1", "intent": "accuracy", "summarisation": "rouge_l"}.get(
        task, "macro_f1"
    )
    return TextTrainingResult(task, config, counts, measure, [], unseen_labels=sorted(wanted - known))
