"""Scores with their uncertainty: error rates, detection, boundaries and calibration. Loads no torch."""

from speechkit.metrics.bootstrap import Interval, bootstrap_ratio
from speechkit.metrics.calibration import Reliability, ReliabilityBin, reliability
from speechkit.metrics.detection import BoundaryErrors, Detection, boundary_errors, detection
from speechkit.metrics.error_rates import Counts, ErrorResult, UtteranceErrors, character_errors, word_errors

__all__ = [
    "BoundaryErrors",
    "Counts",
    "Detection",
    "ErrorResult",
    "Interval",
    "Reliability",
    "ReliabilityBin",
    "UtteranceErrors",
    "bootstrap_ratio",
    "boundary_errors",
    "character_errors",
    "detection",
    "reliability",
    "word_errors",
]
