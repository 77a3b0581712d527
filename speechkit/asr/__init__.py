"""Recognisers that turn recordings into timed characters. Importing this loads no torch."""

from speechkit.asr.hypothesis import Emissions, Hypothesis, Recognizer, RecognizerSpec
from speechkit.asr.load import load_recognizer

__all__ = ["Emissions", "Hypothesis", "Recognizer", "RecognizerSpec", "load_recognizer"]
