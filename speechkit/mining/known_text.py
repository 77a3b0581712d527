"""Alignment of a recording with its text: exact times where the two agree, readable warnings where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.asr.hypothesis import Hypothesis
from speechkit.errors import AlignmentError, AudioError
from speechkit.io.audio import audio_info
from speechkit.mining.confidence import feature_rows, load_calibration
from speechkit.mining.config import RefinementConfig, RegionsConfig
from speechkit.mining.placement import KeyedDocument, KeyedHypothesis, align, refine_alignment
from speechkit.mining.records import SentenceMatch, WordTime
from speechkit.mining.sentence_edges import UNHEARD_SCORE
from speechkit.text import Normalizer, normalizer_for

UNRELATED = 0.1
"""Probability below which a sentence and its position count as unrelated."""
DOUBTFUL = 0.5
MAX_WORD_SECONDS = 3.0
SHOWN_WARNINGS = 20


class PlacedSentence(msgspec.Struct, frozen=True):
    """A sentence in a recording, in seconds; ``unread`` are its words that were not spoken and have no time.

    ``probability`` is that the place is right.
    """

    sentence: str
    text: str
    start: float
    end: float
    similarity: float
    probability: float
    ctc_mean: float | None
    words: list[WordTime]
    unread: list[str]


class PlacedText(msgspec.Struct, frozen=True):
    """The sentences that were found, in the order of the recording, those that were not, and what is doubtful."""

    sentences: list[PlacedSentence]
    not_found: list[str]
    warnings: list[str]


def align_recording(
    recording: Path | str,
    document: Path | str,
    *,
    lang: str = "en",
    recognizer: str = "auto",
    min_similarity: float = 0.4,
) -> PlacedText:
    """Times of the sentences and words of a document in a recording.

    Args:
        recording: an audio file of any length.
        document: its text, in any form that `read_document` reads; there may be more or less than what was said.
        lang: language of both.
        recognizer: a name as `load_recognizer` takes it.
        min_similarity: places less alike are not reported.

    Raises:
        AlignmentError: if the text holds no words, or has nothing to do with the recording.
        AudioError: if the recording cannot be read or holds no speech.
    """
    from speechkit.asr import load_recognizer
    from speechkit.mining.documents import read_document
    from speechkit.mining.regions import find_speech
    from speechkit.mining.voice_activity import SileroDetector

    audio_info(recording)  # a bad recording is named before anything large is loaded
    normalizer = normalizer_for(lang)
    keyed = KeyedDocument.of(read_document(document, lang=lang), normalizer)
    if not any(keyed.texts()):
        raise AlignmentError(f"{document}: holds no words that can be spoken; give the text of {recording}")
    speech, levels = find_speech(recording, RegionsConfig(), SileroDetector())
    if not speech:
        raise AudioError(f"{recording}: no speech was found; listen to it, or check its level")
    hypothesis = load_recognizer(recognizer, lang=lang).recognize(str(recording), speech)
    return place_text(
        keyed,
        hypothesis,
        levels,
        normalizer,
        recording=str(recording),
        min_similarity=min_similarity,
        config=RefinementConfig(lang=lang),
    )


def place_text(
    document: KeyedDocument,
    hypothesis: Hypothesis,
    levels: NDArray[np.float32],
    normalizer: Normalizer,
    *,
    recording: str,
    min_similarity: float,
    config: RefinementConfig,
) -> PlacedText:
    """Times of a text's sentences and words in a recording of which it may be more or less than what was said.

    Args:
        document: the text.
        hypothesis: what was recognised in the recording.
        levels: (T,) its loudness every 10 ms in decibels.
        normalizer: by which the two are compared.
        recording: its name, for messages.
        min_similarity: places less alike are not reported.
        config: window and star of the exact times.

    Raises:
        AlignmentError: if the text has nothing to do with the recording.
    """
    rough = align(recording, document, KeyedHypothesis.of(hypothesis, normalizer), min_similarity)
    matches = refine_alignment(rough, document, hypothesis.emissions, levels, config).matches
    index = {sentence.id: number for number, sentence in enumerate(document.document.sentences)}
    order = [index[match.sentence] for match in matches]
    lengths = [len(document.keys[number].text) for number in order]
    # By the text alone: unread words inside a sentence are reported one by one, and do not rule it out.
    sure = load_calibration().text.probability(feature_rows(matches, lengths, order, with_emissions=False))
    spoken = sum(bool(key.text.strip()) for key in document.keys)
    if not (sure >= UNRELATED).any():
        raise AlignmentError(
            f"none of the {spoken} sentences of {document.document.path} is said in {recording}"
            + (f" (the likeliest place has a probability of {sure.max():.2f})" if len(sure) else "")
            + "; give the text of this recording"
        )
    placed: list[PlacedSentence] = []
    warnings: list[str] = []
    for match, probability in sorted(zip(matches, sure.tolist(), strict=True), key=lambda each: each[0].start):
        if probability >= UNRELATED:
            text = document.document.sentences[index[match.sentence]].text
            placed.append(_placed(match, text, probability))
            warnings += _doubts(placed[-1], match)
    located = {sentence.sentence for sentence in placed}
    not_found = [sentence.text for sentence in document.document.sentences if sentence.id not in located]
    if len(warnings) > SHOWN_WARNINGS:
        warnings[SHOWN_WARNINGS:] = [f"and {len(warnings) - SHOWN_WARNINGS} more"]
    return PlacedText(placed, not_found, warnings)


def _placed(match: SentenceMatch, text: str, probability: float) -> PlacedSentence:
    spoken = [word for word in match.words if word.score >= UNHEARD_SCORE]
    written = text.split()
    unread = [word.word for word in match.words if word.score < UNHEARD_SCORE]
    unread = written[: match.lost_before] + unread + written[len(written) - match.lost_after :]
    start, end = match.start, match.end
    if spoken and match.words[0].score < UNHEARD_SCORE:
        start = max(start, spoken[0].start)
    if spoken and match.words[-1].score < UNHEARD_SCORE:
        end = min(end, spoken[-1].end)
    similarity, mean = round(match.similarity, 4), None if match.ctc_mean is None else round(match.ctc_mean, 4)
    return PlacedSentence(
        match.sentence, text, round(start, 3), round(end, 3), similarity, round(probability, 4), mean, spoken, unread
    )


def _doubts(sentence: PlacedSentence, match: SentenceMatch) -> list[str]:
    """Warnings about a sentence that the user should check by listening."""
    time = f"{sentence.start:.2f} s"
    warnings = []
    if sentence.probability < DOUBTFUL:
        warnings.append(f"{time}: probably not what is said here ({sentence.probability:.2f}): {sentence.text[:80]}")
    if sentence.unread:
        warnings.append(f"{time}: not heard, and without times: {_some(sentence.unread)}")
    for word in sentence.words:
        if word.end - word.start > MAX_WORD_SECONDS:
            warnings.append(f"{word.start:.2f} s: {word.word!r} lasts {word.end - word.start:.1f} s; listen to it")
        elif word.end <= word.start:
            warnings.append(f"{word.start:.2f} s: {word.word!r} has no length; listen to it")
    if match.words and not sentence.words:
        warnings.append(f"{time}: no word of it was heard: {sentence.text[:80]}")
    return warnings


def _some(words: Sequence[str]) -> str:
    return " ".join(words[:12]) + (f" and {len(words) - 12} more words" if len(words) > 12 else "")
