"""Stage 2: times of words and, where asked for, of phones."""

from __future__ import annotations

from speechkit.asr.stages import AlignWords, WordsConfig
from speechkit.data.records import Utterance
from speechkit.pipeline import Drop


class TokensConfig(WordsConfig, frozen=True):
    """Tokens of ABX.

    Attributes:
        phones: align phones too, for phone ABX; needs the extra ``align``.
    """

    phones: bool = False


class AlignWordsAndPhones(AlignWords):
    """Times of words by CTC alignment, and of phones by a forced aligner between them."""

    def setup(self, device: str) -> None:
        """Load the recogniser, and the aligner where phones are asked for.

        Raises:
            MissingExtraError: if the aligner is not installed.
            UserError: if the recogniser is not a CTC model.
        """
        from speechkit.syllables.silver_alignment import PhoneAligner

        self.aligner = PhoneAligner(self.config.lang) if self.config.phones else None
        super().setup(device)

    def process(self, batch: list[Utterance]) -> list[Utterance | Drop]:
        """The rows with a tier ``word`` and, where it can be aligned, a tier ``phone``."""
        return [row if isinstance(row, Drop) else self._with_phones(row) for row in super().process(batch)]

    def _with_phones(self, row: Utterance) -> Utterance:
        from speechkit.data.audio import read_waveform
        from speechkit.syllables.silver_alignment import PHONE_TIER, add_phones

        if self.aligner is None or (row.alignment or {}).get(PHONE_TIER):
            return row
        return add_phones(self.aligner, row, read_waveform(row, self.inputs[(row.custom or {})["manifest"]]))
