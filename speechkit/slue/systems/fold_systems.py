"""Cross-validated systems for spoken commands, trained outside a fold and tested on it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechkit.data.manifest import read_manifest, rebase, write_manifest
from speechkit.data.records import Utterance
from speechkit.encoders.load import safe
from speechkit.encoders.store import FeatureStore
from speechkit.pipeline import Context, Interrupted
from speechkit.runtime import choose_device
from speechkit.slue.learning_curves import FoldItem, FoldPrediction, count_correct, folds_of, split_at_fold
from speechkit.slue.systems.endtoend import train_system
from speechkit.slue.systems.endtoend_prediction import predict_with_system
from speechkit.slue.systems.examples import NO_VALUE
from speechkit.slue.systems.pipeline import RecognizedText, recognized_texts
from speechkit.slue.systems.system_spec import SystemConfig


def predict_fold(
    context: Context,
    name: str,
    config: SystemConfig,
    items: Sequence[FoldItem],
    folder: Path,
    *,
    share: float,
    fold: int,
    layers: FeatureStore | None = None,
) -> list[FoldPrediction]:
    """Predictions of a system for one fold of the stage's input ``manifest``.

    Args:
        context: of the stage.
        name: of the system, for its predictions.
        config: of the system.
        items: fields and folds of all recordings.
        folder: of the system, which is trained if it does not exist; train and test manifests are written beside it.
        share: share of the other folds to train on.
        fold: the test fold.
        layers: of all recordings, for a frozen encoder.

    Raises:
        Interrupted: if training was stopped; it resumes in the next run.
    """
    manifest = context.inputs["manifest"]
    rows = {row.id: row for row in rebase(read_manifest(manifest), manifest.parent, folder.parent)}
    training, test = split_at_fold(items, fold, share)
    sides = {side: folder.parent / f"{side}-{share:g}-{fold}.jsonl" for side in ("train", "judged")}
    for path, side in zip(sides.values(), (training, test), strict=True):
        write_manifest(path, [rows[item.id] for item in side])
    if not (folder / "system.json").is_file() and not train_system(
        "slots",
        sides["train"],
        folder,
        config,
        cache=layers,
        device=context.device,
        should_stop=lambda: context.interrupted,
        log=context.log,
    ):
        raise Interrupted
    predictions = []
    for row in predict_with_system("slots", sides["judged"], folder, cache=layers, device=context.device):
        intent = {"intent": row["pred_intent"]} if "pred_intent" in row else {}
        predictions.append(FoldPrediction(row["id"], name, share, len(training), {**intent, **row["pred_slots"]}))
    right = f"{count_correct(items, predictions)}/{len(test)} commands right"
    context.say(f"{name}, {share:.0%} ({len(training)} recordings), fold {fold}: {right}")
    return predictions


def classify_folds(
    name: str, items: Sequence[FoldItem], texts: Mapping[str, str], *, share: float, regularization: float
) -> list[FoldPrediction]:
    """Predictions of a text classifier for every fold, trained on a share of the other folds."""
    predictions = []
    for fold in folds_of(items):
        training, test = split_at_fold(items, fold, share)
        predicted = classify(
            [texts[item.id] for item in training],
            [item.fields for item in training],
            [texts[item.id] for item in test],
            regularization,
        )
        predictions += [
            FoldPrediction(item.id, name, share, len(training), fields, texts[item.id])
            for item, fields in zip(test, predicted, strict=True)
        ]
    return predictions


def recognize_all(
    context: Context, name: str, utterances: Sequence[Utterance], manifest: Path, lang: str
) -> list[RecognizedText]:
    """Transcripts of all utterances by a recogniser; an interrupted run resumes.

    Raises:
        Interrupted: if the user interrupts.
    """
    kept = context.scratch / f"{safe(name)}.jsonl"
    device = choose_device(context.device)
    lines: list[RecognizedText] = []
    for line in recognized_texts(name, utterances, manifest, kept, lang=lang, device=device):
        lines.append(line)
        context.progress.update(len(lines), len(utterances))
        if context.interrupted:
            raise Interrupted
    return lines


def classify(
    texts: Sequence[str], fields: Sequence[dict[str, str]], test_texts: Sequence[str], regularization: float
) -> list[dict[str, str]]:
    """Fields predicted for ``test_texts`` by classifiers trained on texts with fields; fields can be missing.

    One logistic regression per field, on word 1- to 3-grams and character 2- to 5-grams.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_union

    features: Any = make_union(
        TfidfVectorizer(ngram_range=(1, 3), sublinear_tf=True, token_pattern=r"\S+"),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )
    train_features = features.fit_transform([_plain(text) or "silence" for text in texts])
    test_features = features.transform([_plain(text) for text in test_texts])
    predictions: list[dict[str, str]] = [{} for _ in test_texts]
    for name in sorted({name for command in fields for name in command}):
        classes = [command.get(name, NO_VALUE) for command in fields]
        if len(set(classes)) == 1:
            values = classes[:1] * len(test_texts)
        else:
            model = LogisticRegression(C=regularization, max_iter=300)
            with warnings.catch_warnings():  # many classes for few recordings are expected
                warnings.filterwarnings("ignore", "The number of unique classes")
                values = model.fit(train_features, classes).predict(test_features).tolist()
        for prediction, value in zip(predictions, values, strict=True):
            if value != NO_VALUE:
                prediction[name] = value
    return predictions


def _plain(text: str) -> str:
    return re.sub(r"[^\w' ]+", " ", text.lower())
