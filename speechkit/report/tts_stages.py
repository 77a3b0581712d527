"""Final stages of synthesis recipes: measure recordings and speech with the same models, and write the page."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import msgspec

from speechkit.data.records import Utterance
from speechkit.pipeline import SHARED, Context, Output, Stage, external, stage
from speechkit.tts.scores.measuring import measure_stage


class SynthesisReportConfig(msgspec.Struct, frozen=True):
    """Settings of the page; the shared ones are those of the measuring stages.

    Attributes:
        title: heading; by default the system's name.
        samples: number of texts that can be played.
        resamples: bootstrap resamples of the intervals.
    """

    lang: Annotated[str, SHARED] = "en"
    recognizer: Annotated[str, SHARED] = "embedded"
    aligner: Annotated[str | None, SHARED] = "embedded"
    normalizer: Annotated[str, SHARED] = "english"
    title: str | None = None
    samples: int = 12
    resamples: int = 2000


def report(system: str, title: str, context: Context) -> None:
    """Write tables and a page that compare a system's speech with the recordings of the same texts."""
    from speechkit.report.tts_page import main_figure, write_report
    from speechkit.tts.scores.measuring import read_measured
    from speechkit.tts.scores.summary import RECORDINGS, BootstrapSettings

    config: SynthesisReportConfig = context.config
    spoken, recorded = read_measured(context.inputs["scores"]), read_measured(context.inputs["recordings"])
    ids = {row.id for row in spoken[0]}
    scores, _ = write_report(
        context.output("report"),
        {RECORDINGS: ([row for row in recorded[0] if row.id in ids], recorded[1]), system: spoken},
        {RECORDINGS: context.inputs["test_manifest"], system: context.inputs["manifest"]},
        normalizer=config.normalizer,
        lang=config.lang,
        judge=config.recognizer,
        aligner=config.aligner,
        intervals=BootstrapSettings(resamples=config.resamples),
        title=config.title or title,
        samples=config.samples,
    )
    context.main_figure = main_figure(scores)


def judging_stages(first: int, system: str, title: str = "") -> tuple[Stage, Stage, Stage]:
    """Three stages, numbered from ``first``, after stages ``prepare`` (with ``test_manifest``) and ``clips``.

    The scores of the recordings bound what a system can be expected to reach. ``title`` is the default heading of the
    page; without it, the system's name.
    """
    recorded = partial(external, "test_manifest", schema=Utterance, of="prepare")
    no_references = external("references", schema=Utterance)  # recordings are not compared with themselves
    return (
        measure_stage(first, "recordings", recorded(name="manifest"), no_references),
        measure_stage(first + 1, "scores", stage("clips", "manifest.jsonl"), recorded(name="references")),
        Stage(
            number=first + 2,
            name="report",
            run=partial(report, system, title or system),
            inputs=(
                stage("recordings", name="recordings"),
                stage("scores", name="scores"),
                stage("clips", "manifest.jsonl"),
                recorded(),
            ),
            outputs=(Output("report"),),
            config=SynthesisReportConfig,
        ),
    )
