"""Exact sentence, word and token times from CTC emissions, and boundaries moved into pauses. Torch-free."""

from speechkit.asr.refinement.quiet import frame_energies, quietest, snap_to_quiet
from speechkit.asr.refinement.refine import Refined, refine, refine_all, word_frames
from speechkit.asr.refinement.viterbi import WILDCARD

__all__ = [
    "WILDCARD",
    "Refined",
    "frame_energies",
    "quietest",
    "refine",
    "refine_all",
    "snap_to_quiet",
    "word_frames",
]
