"""A text model as a function from recognised texts to predictions, for analyses that read many versions of a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from speechkit.errors import UserError
from speechkit.slue.rows import Row
from speechkit.slue.systems.pipeline import understanding
from speechkit.slue.systems.text_examples import QUESTIONS, text_of
from speechkit.slue.systems.text_models import ExtractiveReader


def understand_with(
    task: str, model: str, rows: Sequence[Row], device: str = "cpu"
) -> Callable[[Mapping[str, str]], Mapping[str, Row]]:
    """Predictions of ``model`` for texts by id; of qa-text for the passages that the questions of ``rows`` ask about.

    A text that was read before is not read again.

    Raises:
        UserError: if the task has no text model, or a question has no text.
    """
    known: dict[tuple[str, str], dict[str, object]] = {}
    if task == "qa-text":
        reader = ExtractiveReader(model, device)
        questions = {row.id: text_of(row, QUESTIONS) for row in rows}

        def one(name: str, text: str) -> dict[str, object]:
            if name not in questions:
                raise UserError(f"{name}: has no question; give every passage one")
            span = reader.answer(questions[name], text) if text.strip() else None
            return {"pred_answer_text": "" if span is None else text[span[0] : span[1]]}

    else:
        understand = understanding(task, model, device)

        def one(name: str, text: str) -> dict[str, object]:
            return dict(understand(text))

    def all_of(texts: Mapping[str, str]) -> Mapping[str, Row]:
        found = {}
        for name, text in texts.items():
            key = (questions[name] if task == "qa-text" and name in questions else "", text)
            if key not in known:
                known[key] = one(name, text)
            found[name] = Row(name, f"prediction of {name}", dict(known[key]))
        return found

    return all_of
