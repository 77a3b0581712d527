"""Mine aligned sentences from recordings and documents: stages 0 to 9."""

from __future__ import annotations

from speechkit.mining.config import ExportConfig, ReportConfig
from speechkit.mining.stages import DOCUMENTS, HYPOTHESES, MINING_STAGES, RECORDINGS
from speechkit.pipeline import Output, Recipe, Stage, stage

from .publish import export, report

recipe = Recipe(
    "mining",
    (
        *MINING_STAGES,
        Stage(
            number=8,
            name="export",
            run=export,
            config=ExportConfig,
            inputs=(
                stage("selection", "utterances.jsonl"),
                stage("selection", "outcomes.jsonl"),
                stage("selection", "unmatched.jsonl"),
                stage("selection", "summary.jsonl"),
                RECORDINGS,
                HYPOTHESES,
            ),
            outputs=(Output("export"),),
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
                HYPOTHESES,
            ),
            outputs=(Output("report.html"),),
        ),
    ),
    description="Mine aligned audio and text from recordings and documents.",
)
