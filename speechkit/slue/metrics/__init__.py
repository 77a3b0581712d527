"""Metrics of the SLUE tasks: corrected definitions, or the reference toolkit's with ``compat=True``. Torch-free."""

from speechkit.slue.metrics.answers import Answer, frame_overlap, score_answers
from speechkit.slue.metrics.classification import score_label_sets, score_labels
from speechkit.slue.metrics.entities import score_entities
from speechkit.slue.metrics.entity_text import mark_entities, parse_entities
from speechkit.slue.metrics.localisation import score_localisation, tune_offset
from speechkit.slue.metrics.measures import ClassScore, Measure, TaskScore, slue_score
from speechkit.slue.metrics.summaries import score_summaries

__all__ = [
    "Answer",
    "ClassScore",
    "Measure",
    "TaskScore",
    "frame_overlap",
    "mark_entities",
    "parse_entities",
    "score_answers",
    "score_entities",
    "score_label_sets",
    "score_labels",
    "score_localisation",
    "score_summaries",
    "slue_score",
    "tune_offset",
]
