"""Stage 2: times of words, and optionally of phones."""

from __future__ import annotations

from typing import Annotated

import msgspec

from speechkit.asr.stages import AlignWords, WordsConfig
from speechkit.data.records import Utterance
from speechkit.pipeline import Drop

READ_SPEECH = ("test", "dev")
"""Parts whose phones are compared."""


class PhonesConfig(WordsConfig, frozen=True):
    """Alignment of words and phones.

    Attributes:
        phones: whether to align the phones of read speech that has no tier ``phone``, for phone ABX; needs the extra
            ``align``.
        max_deviation: largest difference of a word's begin between the phone aligner and the CTC recogniser, in
            seconds; utterances above it get no phones.
    """

    phones: bool = False
    max_deviation: Annotated[float, msgspec.Meta(gt=0)] = 0.5


class AlignWordsAndPhones(AlignWords):
    """Times of words by CTC alignment, and of phones by a forced aligner inside words."""

    def setup(self, device: str) -> None:
        """Load the recogniser, and the aligner if phones are wanted.

        Raises:
            MissingExtraError: if the aligner is not installed.
            UserError: if the recogniser is no CTC model.
        """
        from speechkit.syllables.silver_alignment import PhoneAligner

        self.aligner = PhoneAligner(self.config.lang) if self.config.phones else None
        super().setup(device)

    def process(self, batch: list[Utterance]) -> list[Utterance | Drop]:
        """The rows with a tier ``word``, and those of read speech with a tier ``phone``."""
        return [row if isinstance(row, Drop) else self._with_phones(row) for row in super().process(batch)]

    def _with_phones(self, row: Utterance) -> Utterance:
        from speechkit.data.audio import read_waveform
        from speechkit.syllables.silver_alignment import PHONE_TIER, add_phones

        custom = row.custom or {}
        if self.aligner is None or custom.get("part") not in READ_SPEECH or (row.alignment or {}).get(PHONE_TIER):
            return row
        waveform = read_waveform(row, self.inputs[custom["manifest"]])
        return add_phones(self.aligner, row, waveform, self.config.max_deviation)
