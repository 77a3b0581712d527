"""Fine-tuning of text models: taggers, classifiers, extractive readers and summarisers.

Training uses `speechkit.training` (Accelerate) and resumes after an interruption. Every ``evaluate_every`` steps the
averaged weights are scored on the development rows with the task's metric; the best ones are saved, and training stops
after ``patience`` evaluations without an improvement.
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
    LoadedModel,
    Summarizer,
    TextClassifier,
    TokenTagger,
    load_text_model,
    max_input_tokens,
)
from speechkit.slue.tasks import get_task

AUTO_CLASSES = {
    "ner": ("AutoModelForTokenClassification", "a token classifier"),
    "sentiment": ("AutoModelForSequenceClassification", "a sequence classifier"),
    "intent": ("AutoModelForSequenceClassification", "a sequence classifier"),
    "dialog-acts": ("AutoModelForSequenceClassification", "a sequence classifier"),
    "qa-text": ("AutoModelForQuestionAnswering", "an extractive reader"),
    "summarisation": ("AutoModelForSeq2SeqLM", "a sequence-to-sequence model"),
}
UNLABELLED = ("qa-text", "summarisation")


class TextTrainingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Training settings of a text model.

    Attributes:
        init: "scratch", or the hub id or folder of a model to fine-tune.
        small: size of a model from scratch.
        steps: maximum number of optimiser steps.
        batch_size: rows per step.
        learning_rate: peak learning rate; None is 1e-3 from scratch and 3e-5 for a pretrained model.
        warmup_steps: linear warm-up, in steps.
        evaluate_every: steps between evaluations on the development rows.
        patience: evaluations without an improvement before training stops.
        max_pieces: texts are truncated to this number of tokens; longer passages are split into overlapping windows.
        average_decay: decay of the weight average that is evaluated and saved.
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
            f"{name} is {getattr(self, name)}; it must be at least 1"
            for name in ("steps", "batch_size", "evaluate_every", "patience")
            if getattr(self, name) < 1
        ]
        if self.max_pieces < 16:
            wrong.append(f"max_pieces is {self.max_pieces}; it must be at least 16")
        if wrong:
            raise ConfigError("; ".join(wrong))


class TextTrainingResult(msgspec.Struct):
    """Development scores of all evaluations, in order; the best weights are saved once ``complete``.

    ``rows`` are the numbers of training and development rows, ``unseen_labels`` the labels of development rows without
    a training row, which cannot be predicted.
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
        """The highest score; 0 before the first evaluation."""
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
    """Train a text model and save the best weights to ``folder/model``, for the pipeline and transformers.

    An interrupted run resumes from its last checkpoint; a complete run is not repeated.

    Raises:
        UserError: if there are no rows, fewer than two labels, no passage with its answer, an unsuitable model, or a
            folder of a run with other settings.
    """
    import torch

    from speechkit.io.atomic import write_json
    from speechkit.training import EarlyStopping, Objective, TrainingConfig, Turn, train

    if not train_rows or not dev_rows:
        raise UserError(f"{len(train_rows)} training rows and {len(dev_rows)} development rows; give both")
    if task == "qa-text" and not any(row.answer for row in train_rows):
        raise UserError("no training passage contains its answer; check the answers of the training rows")
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
    """Labels of a model in alphabetical order: O, B- and I- of every tag, or the classes."""
    if task in UNLABELLED:
        return []
    if task == "ner":
        tags = sorted({tag.partition("-")[2] for row in rows for _, tag in row.words if tag != "O"})
        if not tags:
            raise UserError("no training row has an entity; check the entities of the training rows")
        return ["O", *(f"{mark}-{tag}" for tag in tags for mark in "BI")]
    labels = sorted({label for row in rows for label in row.labels})
    if len(labels) < 2:
        raise UserError(f"the training rows have {len(labels)} label ({', '.join(labels)}); give two or more")
    return labels


def score_examples(task: str, loaded: LoadedModel, rows: Sequence[TextExample], device: str) -> float:
    """The task's main measure of a model on examples."""
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
        # Greedy search: beam search would make every evaluation several times as slow.
        summarizer = Summarizer("the model", device, beams=1, loaded=loaded)
        predicted = [summarizer.summarize(row.text) for row in rows]
    else:
        classifier = TextClassifier("the model", device, loaded=loaded)
        if task == "dialog-acts":
            predicted = [classifier.label_set(row.text) for row in rows]
        else:
            predicted = [classifier.label(row.text) for row in rows]
    score = chosen.score([r.gold for r in rows], predicted, [r.id for r in rows], options, Resampling(resamples=0))
    measure = score.measures.get("accuracy") if task == "intent" else None
    return float((measure.value if measure is not None else score.value) or 0.0)


def _prepared(task: str, rows: Sequence[TextExample], labels: list[str], config: TextTrainingConfig) -> LoadedModel:
    auto_class, what = AUTO_CLASSES[task]
    options: dict[str, Any] = {"problem_type": "multi_label_classification"} if task == "dialog-acts" else {}
    if config.init == "scratch":
        summaries = (row.gold for row in rows if task == "summarisation")
        texts = chain((text for row in rows for text in (row.text, row.passage) if text), summaries)
        tokenizer = learn_tokenizer(texts, config.small)
        if task == "summarisation":
            model = new_summarizer(tokenizer, config.small)
        else:
            model = new_model(auto_class, tokenizer, config.small, labels, **options)
        return model, tokenizer, max_input_tokens(model, tokenizer)
    if labels:
        options |= label_names(labels)
    elif task == "qa-text":
        options["num_labels"] = 2  # begin and end of the answer, whatever labels the model had before
    return load_text_model(auto_class, what, config.init, new_head=task != "summarisation", **options)


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
            result = msgspec.json.decode(path.read_bytes(), type=TextTrainingResult)
        except msgspec.DecodeError as error:
            raise UserError(f"{path}: cannot be read ({error}); use another folder") from error
        if (result.task, result.settings, result.rows) != (task, config, counts):
            raise UserError(f"{path}: from a training run with another task, settings or rows; use another folder")
        return result
    if task == "ner":
        known = {label.partition("-")[2] for label in labels}
        dev_labels = {tag for row in rows[1] for tag, _ in row.gold}
    else:
        known, dev_labels = set(labels), {label for row in rows[1] for label in row.labels}
    measure = {"ner": "f1", "qa-text": "word_f1", "intent": "accuracy", "summarisation": "rouge_l"}.get(
        task, "macro_f1"
    )
    return TextTrainingResult(task, config, counts, measure, [], unseen_labels=sorted(dev_labels - known))
