"""Word alignment as a stage of a recipe."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from speechkit.data.records import Utterance
from speechkit.errors import AlignmentError, AudioError, UserError
from speechkit.pipeline import NEUTRAL, SHARED, Drop, Worker


class WordsConfig(msgspec.Struct, frozen=True):
    """The CTC recogniser for word alignment; rows with a word alignment keep it."""

    recognizer: str = "embedded"
    lang: Annotated[str, SHARED] = "en"
    batch_size: Annotated[int, NEUTRAL, msgspec.Meta(ge=1)] = 8


class AlignWords(Worker):
    """Word times of utterances with texts, by CTC alignment on their channel.

    ``custom.manifest`` of a row names the input with the manifest of its audio.
    """

    def setup(self, device: str) -> None:
        """Load the recogniser.

        Raises:
            UserError: if it is not a CTC model.
        """
        from speechkit.asr import load_recognizer

        self.recognizer: Any = load_recognizer(self.config.recognizer, self.config.lang, device)
        if not hasattr(self.recognizer, "emissions_of"):
            raise UserError(f"words.recognizer={self.config.recognizer}: has no emissions; choose a CTC model")

    def process(self, batch: list[Utterance]) -> list[Utterance | Drop]:
        """The rows with a tier ``word``."""
        return [self._align(row) for row in batch]

    def _align(self, row: Utterance) -> Utterance | Drop:
        from speechkit.asr.alignment import align_words
        from speechkit.data.audio import read_waveform

        if _has_words(row):
            return row
        try:
            waveform = read_waveform(row, self.inputs[(row.custom or {})["manifest"]])
            tier = align_words(self.recognizer.emissions_of(waveform), (row.text or "").split())
        except AudioError as error:
            return Drop("unreadable_audio", str(error))
        except AlignmentError as error:
            return Drop("no_alignment", str(error))
        return msgspec.structs.replace(row, alignment={**(row.alignment or {}), "word": tier})


def _has_words(row: Utterance) -> bool:
    return bool((row.alignment or {}).get("word"))
