"""The SLUE score of phase 1: one figure from recognition, sentiment and entities."""

from __future__ import annotations

from speechkit.errors import UserError


def slue_score(*, wer_voxpopuli: float, wer_voxceleb: float, sentiment_macro_f1: float, ner_micro_f1: float) -> float:
    """Mean of 100 less the mean word error rate, sentiment macro F1 and entity F1 (combined tags), all in percent.

    Source: Shon et al. 2022, SLUE, section 4.4.

    Raises:
        UserError: if a score is not between 0 and 100, or an error rate is negative; fractions are a common mistake.
    """
    for name, value in (("sentiment_macro_f1", sentiment_macro_f1), ("ner_micro_f1", ner_micro_f1)):
        if not 0 <= value <= 100:
            raise UserError(f"{name} is {value}; give percent, from 0 to 100")
    for name, value in (("wer_voxpopuli", wer_voxpopuli), ("wer_voxceleb", wer_voxceleb)):
        if not 0 <= value < float("inf"):
            raise UserError(f"{name} is {value}; give percent, 0 or more")
    return ((100 - (wer_voxpopuli + wer_voxceleb) / 2) + sentiment_macro_f1 + ner_micro_f1) / 3
