"""The last stages of recipes that speak: the recordings and the speech before the same judges, and a page of both."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import msgspec

from speechkit.data.records import Utterance
from speechkit.pipeline import SHARED, Context, Output, Stage, external, stage
from speechkit.tts.scores.measuring import measure_stage


class ReportConfig(msgspec.Struct, frozen=True):
    """The judges' names for the page, as in the stages before, and how it is made.

    Attributes:
        title: its heading; the system's name when absent.
        samples: texts that can be played.
        resamples: bootstrap draws of the intervals.
    """

    lang: Annotated[str, SHARED] = "en"
    recognizer: Annotated[str, SHARED] = "embedded"
    aligner: Annotated[str | None, SHARED] = "embedded"
    normalizer: Annotated[str, SHARED] = "english"
    title: str | None = None
    samples: int = 12
    resamples: int = 2000


def report(system: str, title: str, context: Context) -> None:
    """Tables and a page of a system's speech beside the recordings of the same texts."""
    from speechkit.report.tts_page import main_figure, write_report
    from speechkit.tts.scores.measuring import read_measured
    from speechkit.tts.scores.summary import RECORDINGS, BootstrapSettings

    config: ReportConfig = context.config
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
    """Three stages, numbered from ``first``, behind stages ``prepare`` (with ``test_manifest``) and ``clips``.

    What the judges make of the recordings is the bound that no system can be expected to pass. ``title`` heads the page
    where the setting of that name does not; else the system's name does.
    """
    recorded = partial(external, "test_manifest", schema=Utterance, of="prepare")
    nothing = external("references", schema=Utterance)  # recordings lie at no distance from themselves
    return (
        measure_stage(first, "recordings", recorded(name="manifest"), nothing),
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
            config=ReportConfig,
        ),
    )
