"""Scores with their uncertainty: error rates, detection, boundaries and calibration. Loads no torch."""

from speechkit.metrics.alternatives import Alternatives, read_groups
from speechkit.metrics.bootstrap import Interval, bootstrap_ratio
from speechkit.metrics.calibration import Reliability, ReliabilityBin, reliability
from speechkit.metrics.comparison import RateComparison, Scored, compare
from speechkit.metrics.confusions import Confusions, confusions
from speechkit.metrics.detection import BoundaryErrors, Detection, boundary_errors, detection
from speechkit.metrics.error_rates import Counts, ErrorResult, UtteranceErrors, character_errors, word_errors
from speechkit.metrics.sides import Sides, match_sides, read_sides
from speechkit.metrics.significance import matched_pairs, mcnemar
from speechkit.metrics.transcripts import Transcript, read_speakers, read_transcripts

__all__ = [
    "Alternatives",
    "BoundaryErrors",
    "Confusions",
    "Counts",
    "Detection",
    "ErrorResult",
    "Interval",
    "RateComparison",
    "Reliability",
    "ReliabilityBin",
    "Scored",
    "Sides",
    "Transcript",
    "UtteranceErrors",
    "bootstrap_ratio",
    "boundary_errors",
    "character_errors",
    "compare",
    "confusions",
    "detection",
    "match_sides",
    "matched_pairs",
    "mcnemar",
    "read_groups",
    "read_sides",
    "read_speakers",
    "read_transcripts",
    "reliability",
    "word_errors",
]
