"""Stages 2 and 3: silver syllables of the tuning and test utterances, from forced alignment."""

from __future__ import annotations

from typing import Annotated

import msgspec

from speechkit.data.records import Utterance
from speechkit.errors import AlignmentError, AudioError
from speechkit.pipeline import SHARED, Drop, Worker


class SilverConfig(msgspec.Struct, frozen=True):
    """Largest difference of a word's begin between both alignments, in seconds; utterances above it are dropped."""

    lang: Annotated[str, SHARED] = "en"
    max_deviation: Annotated[float, msgspec.Meta(gt=0)] = 0.5


class AlignSilver(Worker):
    """Aligns phones and syllables inside the words of an utterance."""

    def setup(self, device: str) -> None:
        """Load the aligner."""
        from speechkit.syllables.silver_alignment import PhoneAligner

        self.aligner = PhoneAligner(self.config.lang)

    def process(self, batch: list[Utterance]) -> list[Utterance | Drop]:
        """Add the tiers ``word``, ``phone`` and ``syllable`` to the rows."""
        return [self._align(row) for row in batch]

    def _align(self, row: Utterance) -> Utterance | Drop:
        from speechkit.data.audio import read_waveform
        from speechkit.syllables.silver_alignment import align_silver

        try:
            waveform = read_waveform(row, self.inputs["truth_manifest"])
            # The recogniser is English: its word times are no check in other languages.
            timed = (row.alignment or {}).get("word") if self.config.lang == "en" else None
            silver = align_silver(self.aligner, waveform, (row.text or "").split(), timed)
        except AudioError as error:
            return Drop("unreadable_audio", str(error))
        except AlignmentError as error:
            return Drop("no_alignment", str(error))
        if silver.worst_seconds is not None and silver.worst_seconds > self.config.max_deviation:
            return Drop("disagreement", f"the two alignments of a word differ by {silver.worst_seconds:.2f} s")
        custom = {
            **(row.custom or {}),
            "silver": {
                "rough_words": silver.rough_words,
                "deviation_seconds": silver.deviation_seconds,
                "worst_seconds": silver.worst_seconds,
            },
        }
        return msgspec.structs.replace(row, alignment=silver.tiers(), custom=custom)
