"""Alignment of two texts: global with affine gaps, and sentences of a document in recognised text. No torch."""

from speechkit.mining.alignment.costs import Costs
from speechkit.mining.alignment.learning import learn_costs
from speechkit.mining.alignment.pairwise import Scores, needleman_wunsch
from speechkit.mining.alignment.placement import Match
from speechkit.mining.alignment.sentences import Located, locate_sentences

__all__ = ["Costs", "Located", "Match", "Scores", "learn_costs", "locate_sentences", "needleman_wunsch"]
