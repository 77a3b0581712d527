"""Fields of a command from its text by logistic regression: a classifier that a few hundred texts can train."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

from speechkit.slue.systems.examples import NO_VALUE


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
