"""The work of the stages; heavy libraries load when they run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from speechkit.asr.load import recognizer_digest
from speechkit.data.records import Utterance
from speechkit.errors import AudioError, ConfigError
from speechkit.io.hashing import digest_file
from speechkit.pipeline import Context, Drop, Worker
from speechkit.runtime import item_seed

from .recognizers import Hear, load_hear, named_recognizers, searched

AGES = ((12, "child to 12"), (17, "13 to 17"), (200, "adult"))


def select(context: Context) -> None:
    """Utterances with a text, a share of them where many, with the groups that they are reported in."""
    config = context.config
    if not config.manifest:
        raise ConfigError("no manifest; give manifest=FILE, as speechkit prepare writes it")
    only = _names(config.speakers)
    rows = []
    for row in context.read("manifest"):
        if not (row.text or "").strip():
            context.drop(row.id, "no_text")
        elif only and row.speaker not in only:
            context.drop(row.id, "other_speaker")
        else:
            rows.append(row)
    if config.max_utterances and len(rows) > config.max_utterances:
        order = sorted(rows, key=lambda row: item_seed(context.seed, row.id))
        kept = {row.id for row in order[: config.max_utterances]}
        for row in rows:
            if row.id not in kept:
                context.drop(row.id, "not_drawn")
        rows = [row for row in rows if row.id in kept]
    unseen = _names(config.unseen_speakers)
    context.write(
        "utterances.jsonl",
        (msgspec.structs.replace(row, alignment=None, custom=_groups(row, unseen)) for row in rows),
    )


def _names(text: str) -> set[str]:
    return {part.strip() for part in text.split(",") if part.strip()}


def _groups(row: Utterance, unseen: set[str]) -> dict[str, Any]:
    given = row.custom or {}
    found = {name: str(given[name]) for name in ("sex", "gender", "accent") if given.get(name)}
    age = given.get("age")
    if isinstance(age, int):
        found["age"] = next(name for limit, name in AGES if age <= limit)
    elif age:
        found["age"] = str(age)
    if unseen:
        found["heard_in_training"] = "no" if row.speaker in unseen else "possibly"
    return found


class Recognize(Worker):
    """What each recogniser hears in an utterance."""

    def setup(self, device: str) -> None:
        """Load them."""
        self.hear: dict[str, Hear] = {
            label: load_hear(name, self.config.lang, device)
            for label, name in named_recognizers(self.config.recognizers).items()
        }

    def process(self, batch: list[Utterance]) -> list[Utterance | Drop]:
        """The utterances with ``custom.heard``: text by recogniser."""
        return [self._heard(row) for row in batch]

    def _heard(self, row: Utterance) -> Utterance | Drop:
        path = Path(self.inputs["manifest"]).parent / row.audio_filepath
        try:
            heard = {label: hear(row, path) for label, hear in self.hear.items()}
        except AudioError as error:
            return Drop("unreadable_audio", str(error))
        return msgspec.structs.replace(row, custom={**(row.custom or {}), "heard": heard})


def recognizers_digest(text: str) -> str:
    """What all of the names stand for."""
    return "; ".join(f"{label}={_digest(name)}" for label, name in named_recognizers(text).items())


def _digest(name: str) -> str:
    found = searched(name)
    digest = recognizer_digest(found.name)
    if not found.beam:
        return digest
    if found.model is not None and not Path(found.model).is_file():
        raise ConfigError(f"recognizers: {found.model}: is not there; build it by speechkit lm build")
    model = "" if found.model is None else f" lm {digest_file(found.model)} weight {found.weight:g}"
    return f"{digest} beam {found.beam}{model}"


def score(context: Context) -> None:
    """Rates under every normaliser, with intervals, pairs and groups; one page."""
    from speechkit.io.atomic import write_json
    from speechkit.metrics.comparison import compare
    from speechkit.metrics.sides import Sides
    from speechkit.metrics.transcript_records import Transcript
    from speechkit.report.score_page import render_score_page

    config = context.config
    rows = list(context.read("heard"))
    labels = list(named_recognizers(config.recognizers))
    references = [Transcript(row.id, row.text, row.speaker, groups=_shown_groups(row)) for row in rows]
    texts = {label: {row.id: (row.custom or {})["heard"][label] for row in rows} for label in labels}
    sides = Sides(references, texts, [])
    known = {name for reference in references for name in reference.groups}
    by: Literal["utterance", "speaker"] = config.by if all(row.speaker for row in rows) else "utterance"
    scored = compare(
        sides,
        normalizers=[name.strip() for name in config.normalizers.split(",")],
        by=by,
        groups=[name for name in map(str.strip, config.groups.split(",")) if name in known],
        resamples=config.resamples,
        seed=context.seed,
    )
    write_json(context.output("scores.json"), scored.comparison)
    render_score_page(context.output("report.html"), scored, sides)
    for line in _lines(scored.comparison):
        context.log(line)


def _shown_groups(row: Utterance) -> dict[str, str]:
    return {name: value for name, value in (row.custom or {}).items() if name != "heard"}


def _lines(comparison: Any) -> Iterator[str]:
    for table in comparison.tables:
        for system in table.systems:
            interval = system.wer.interval
            around = "" if interval is None else f" ({100 * interval.low:.1f} - {100 * interval.high:.1f})"
            yield f"{table.normalizer.name}: {system.name}: WER {100 * system.wer.rate:.1f} %{around}"
