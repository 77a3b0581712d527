"""Systems for spoken commands that learn from the recordings outside a fold and are judged on those inside it."""

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
from speechkit.slue.learning_curves import FoldItem, FoldPrediction, count_right, folds_of, split_at_fold
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
    """Predictions of a system for a fold of the stage's input ``manifest``.

    Args:
        context: of the stage.
        name: of the system, for its predictions.
        config: of the system.
        items: fields and folds of all recordings.
        folder: of the system, which is trained unless it is there; manifests of both sides are written beside it.
        share: of the recordings outside the fold to learn from.
        fold: that is judged.
        layers: of all recordings, for an encoder that stays as it is.

    Raises:
        Interrupted: if the training was stopped; it goes on where it was.
    """
    manifest = context.inputs["manifest"]
    rows = {row.id: row for row in rebase(read_manifest(manifest), manifest.parent, folder.parent)}
    learned, judged = split_at_fold(items, fold, share)
    sides = {side: folder.parent / f"{side}-{share:g}-{fold}.jsonl" for side in ("train", "judged")}
    for path, side in zip(sides.values(), (learned, judged), strict=True):
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
        predictions.append(FoldPrediction(row["id"], name, share, len(learned), {**intent, **row["pred_slots"]}))
    right = f"{count_right(items, predictions)}/{len(judged)} commands right"
    context.say(f"{name}, {share:.0%} ({len(learned)} recordings), fold {fold}: {right}")
    return predictions


def classify_folds(
    name: str, items: Sequence[FoldItem], texts: Mapping[str, str], *, share: float, regularization: float
) -> list[FoldPrediction]:
    """Predictions of a text classifier for every fold, each learned from a share of the texts outside it."""
    predictions = []
    for fold in folds_of(items):
        learned, judged = split_at_fold(items, fold, share)
        answers = classify(
            [texts[item.id] for item in learned],
            [item.fields for item in learned],
            [texts[item.id] for item in judged],
            regularization,
        )
        predictions += [
            FoldPrediction(item.id, name, share, len(learned), fields, texts[item.id])
            for item, fields in zip(judged, answers, strict=True)
        ]
    return predictions


def recognize_all(
    context: Context, name: str, utterances: Sequence[Utterance], manifest: Path, lang: str
) -> list[RecognizedText]:
    """What a recogniser writes for each utterance; what was recognised before an interruption is kept.

    Raises:
        Interrupted: if the user asked to stop.
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
    texts: Sequence[str], fields: Sequence[dict[str, str]], judged: Sequence[str], regularization: float
) -> list[dict[str, str]]:
    """Fields of the judged texts, learned from texts with their fields; a field may stay empty.

    Logistic regression over words, runs of up to three words, and runs of two to five letters: one classifier a field.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_union

    features: Any = make_union(
        TfidfVectorizer(ngram_range=(1, 3), sublinear_tf=True, token_pattern=r"\S+"),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )
    train_features = features.fit_transform([_plain(text) or "silence" for text in texts])
    judged_features = features.transform([_plain(text) for text in judged])
    answers: list[dict[str, str]] = [{} for _ in judged]
    for name in sorted({name for each in fields for name in each}):
        classes = [each.get(name, NO_VALUE) for each in fields]
        if len(set(classes)) == 1:
            values = classes[:1] * len(judged)
        else:
            model = LogisticRegression(C=regularization, max_iter=300)
            with warnings.catch_warnings():  # many values for few recordings are no mistake here
                warnings.filterwarnings("ignore", "The number of unique classes")
                values = model.fit(train_features, classes).predict(judged_features).tolist()
        for answer, value in zip(answers, values, strict=True):
            if value != NO_VALUE:
                answer[name] = value
    return answers


def _plain(text: str) -> str:
    return re.sub(r"[^\w' ]+", " ", text.lower())
