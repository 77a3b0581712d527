"""Word error rates of recognisers on a manifest, side by side: stages 1 to 3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from speechkit.asr.named import Transcriber, load_transcriber, named_recognizers, recognizers_digest
from speechkit.data.records import Utterance
from speechkit.errors import AudioError, ConfigError
from speechkit.pipeline import (
    NEUTRAL,
    SHARED,
    Context,
    Drop,
    Output,
    Recipe,
    Resources,
    Stage,
    Worker,
    external,
    model,
    stage,
)
from speechkit.runtime import item_seed

AGES = ((12, "child to 12"), (17, "13 to 17"), (200, "adult"))


class SelectConfig(msgspec.Struct, frozen=True):
    """Selection of utterances.

    Attributes:
        manifest: utterances with texts, as `speechkit prepare` writes them.
        max_utterances: larger sets are sampled to this number; 0 for all.
        speakers: speakers to select, separated by commas; all if empty.
        unseen_speakers: speakers that no recogniser was trained on, separated by commas. All others get
            ``heard_in_training`` "possibly", so that rates are reported separately.
    """

    manifest: Annotated[str | None, SHARED] = None
    max_utterances: int = 0
    speakers: str = ""
    unseen_speakers: str = ""


def select(context: Context) -> None:
    """Select utterances with a text, and add the fields by which rates are broken down."""
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
    groups = {name: str(given[name]) for name in ("sex", "gender", "accent") if given.get(name)}
    age = given.get("age")
    if isinstance(age, int):
        groups["age"] = next(name for limit, name in AGES if age <= limit)
    elif age:
        groups["age"] = str(age)
    if unseen:
        groups["heard_in_training"] = "no" if row.speaker in unseen else "possibly"
    return groups


class RecognizeConfig(msgspec.Struct, frozen=True):
    """Recognisers of `speechkit transcribe` or ``pocketsphinx``, as NAME or LABEL=NAME, separated by commas."""

    recognizers: Annotated[str, SHARED] = "embedded"
    lang: str = "en"
    batch_size: Annotated[int, NEUTRAL] = 8


class Recognize(Worker):
    """Recognises utterances with each recogniser."""

    def setup(self, device: str) -> None:
        """Load them."""
        self.transcribers: dict[str, Transcriber] = {
            label: load_transcriber(name, self.config.lang, device)
            for label, name in named_recognizers(self.config.recognizers).items()
        }

    def process(self, batch: list[Utterance]) -> list[Utterance | Drop]:
        """The utterances with ``custom.heard``: text by recogniser."""
        return [self._recognized(row) for row in batch]

    def _recognized(self, row: Utterance) -> Utterance | Drop:
        path = Path(self.inputs["manifest"]).parent / row.audio_filepath
        try:
            texts = {label: transcribe(row, path) for label, transcribe in self.transcribers.items()}
        except AudioError as error:
            return Drop("unreadable_audio", str(error))
        return msgspec.structs.replace(row, custom={**(row.custom or {}), "heard": texts})


class ScoreConfig(msgspec.Struct, frozen=True):
    """Scoring; ``groups`` are fields of ``custom``, separated by commas."""

    normalizers: str = "english,simple"
    by: Literal["utterance", "speaker"] = "speaker"
    groups: str = ""
    resamples: int = 2000


def score(context: Context) -> None:
    """Compute error rates under every normaliser, with intervals, pairs and groups, and write the page."""
    from speechkit.io.atomic import write_json
    from speechkit.metrics.comparison import compare
    from speechkit.metrics.sides import Sides
    from speechkit.metrics.transcript_records import Transcript
    from speechkit.report.score_page import render_score_page

    config = context.config
    rows = list(context.read("heard"))
    references = [Transcript(row.id, row.text, row.speaker, groups=_shown_groups(row)) for row in rows]
    by_id = {row.id: (row.custom or {})["heard"] for row in rows}
    texts = {label: {name: by_label[label] for name, by_label in by_id.items()} for label in by_id[rows[0].id]}
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
    lines = list(_lines(scored.comparison))
    for line in lines:
        context.log(line)
    context.main_figure = lines[0]


def _shown_groups(row: Utterance) -> dict[str, str]:
    return {name: value for name, value in (row.custom or {}).items() if name != "heard"}


def _lines(comparison: Any) -> Iterator[str]:
    for table in comparison.tables:
        for system in table.systems:
            interval = system.wer.interval
            around = "" if interval is None else f" ({100 * interval.low:.1f} - {100 * interval.high:.1f})"
            yield f"{table.normalizer.name}: {system.name}: WER {100 * system.wer.rate:.1f} %{around}"


recipe = Recipe(
    "wer_benchmarks",
    (
        Stage(
            number=1,
            name="select",
            run=select,
            inputs=(external("manifest", schema=Utterance),),
            outputs=(Output("utterances.jsonl", schema=Utterance),),
            config=SelectConfig,
            drop_reasons=("no_text", "other_speaker", "not_drawn"),
        ),
        Stage(
            number=2,
            name="recognize",
            run=Recognize,
            inputs=(
                stage("select", "utterances.jsonl"),
                external("manifest", of="select"),
                model("recognizers", digest=recognizers_digest),
            ),
            outputs=(Output("heard.jsonl", schema=Utterance),),
            config=RecognizeConfig,
            resources=Resources(cpus=1, gpus=1),
            drop_reasons=("unreadable_audio",),
            part_records=32,
        ),
        Stage(
            number=3,
            name="score",
            run=score,
            inputs=(stage("recognize", "heard.jsonl"),),
            outputs=(Output("scores.json"), Output("report.html")),
            config=ScoreConfig,
        ),
    ),
    description="Word error rates of several recognisers on a manifest, with intervals, groups and two normalisers.",
)
