"""Mine aligned sentences from recordings and documents: stages 0 to 9."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from speechkit.mining.config import ExportConfig, ReportConfig
from speechkit.mining.export.sound import SentenceQuality
from speechkit.mining.export.stage import export_set
from speechkit.mining.stages import DOCUMENTS, HYPOTHESES, MINING_STAGES, RECORDINGS
from speechkit.pipeline import Context, Output, Recipe, Stage, external, stage


def report(context: Context) -> None:
    """Stage 9: one self-contained page."""
    from speechkit.report.mining_page import render_mining_report
    from speechkit.report.mining_run import data_of_stages

    config = context.config
    # The stages' folders tell what they were made with; the page shows it.
    names = {"utterances": "selection", "alignments": "refinement", "recordings": "regions", "documents": "documents"}
    names |= {"hypotheses": "hypotheses"}
    folders = {stage: context.inputs[name].parent for name, stage in names.items()}
    data = data_of_stages(
        folders,
        audio=config.audio,
        title=config.title,
        command=config.command,
        quality=context.inputs["quality"],
    )
    context.output("report-audio").mkdir()  # for what does not fit into the page, as a rule empty
    render_mining_report(context.output("report.html"), data, beside=config.beside)
    summary = next(context.read("summary"))
    expected = summary.expected_precision
    context.main_figure = (
        f"{summary.kept} sentences kept, {summary.kept_seconds / 60:.1f} of {summary.audio_seconds / 60:.1f} minutes"
        + ("" if expected is None else f", {expected:.1%} of them expected to be right")
    )


def check(configs: Mapping[str, Any]) -> Iterator[str]:
    """What would fail in a late stage, and settings that would have no effect."""
    from speechkit.mining.checks import missing_parts, settings_without_effect

    yield from missing_parts(configs)
    yield from settings_without_effect(configs)


recipe = Recipe(
    "mining",
    (
        *MINING_STAGES,
        Stage(
            number=8,
            name="export",
            run=export_set,
            config=ExportConfig,
            inputs=(
                stage("selection", "utterances.jsonl"),
                stage("selection", "candidates.jsonl"),
                stage("selection", "outcomes.jsonl"),
                stage("selection", "unmatched.jsonl"),
                stage("selection", "summary.jsonl"),
                RECORDINGS,
                HYPOTHESES,
                external("decisions"),
            ),
            outputs=(Output("export"), Output("quality.jsonl", SentenceQuality, min_records=0)),
            drop_reasons=("low_quality", "curator"),
            version=6,
        ),
        Stage(
            number=9,
            name="report",
            run=report,
            config=ReportConfig,
            inputs=(
                stage("selection", "outcomes.jsonl"),
                stage("selection", "utterances.jsonl"),
                stage("selection", "summary.jsonl"),
                stage("refinement", "alignments.jsonl"),
                RECORDINGS,
                DOCUMENTS,
                stage("selection", "candidates.jsonl"),
                HYPOTHESES,
                stage("export", "quality.jsonl"),
            ),
            outputs=(Output("report.html"), Output("report-audio", min_records=0)),
            version=3,
        ),
    ),
    description="Mine aligned audio and text from recordings and documents.",
    check=check,
    next_command="speechkit export {exp}/08-export/current/export/manifest.jsonl --to lhotse,parquet --out corpus",
)
