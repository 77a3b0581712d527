"""A CTC recogniser with beam search and optional language models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechkit.asr.beam import BeamConfig, BeamText, beam_search, rescore
from speechkit.asr.ctc_recognizer import CtcRecognizer
from speechkit.asr.hypothesis import Emissions, Hypothesis, RecognizerSpec
from speechkit.errors import UserError
from speechkit.io.arrays import true_runs
from speechkit.io.hashing import digest_file
from speechkit.lm.ngram import NgramModel
from speechkit.lm.text_scorer import model_identity, text_scorer

SEGMENT_SECONDS = 30.0
"""Longer recordings are decoded in segments, cut where the blank is most probable, to bound memory."""


class BeamRecognizer:
    """Beam search over the emissions of a `CtcRecognizer`.

    Args:
        recognizer: CTC recogniser.
        config: width and weights.
        model_path: file of the n-gram model, in the recogniser's alphabet; None: no model.
        rescoring: a larger model that rescores the n-best list: ARPA file, hub id or folder.
        device: device of that model.

    Raises:
        UserError: if the width is not positive, or the model cannot be read or has another alphabet.
    """

    def __init__(
        self,
        recognizer: CtcRecognizer,
        config: BeamConfig,
        model_path: str | Path | None = None,
        rescoring: str | None = None,
        device: str = "cpu",
    ):
        if config.beam < 1:
            raise UserError(f"beam is {config.beam}; give 1 or more")
        self._recognizer, self._config = recognizer, config
        self._model = None if model_path is None else NgramModel.read(model_path)
        model = "none" if model_path is None else digest_file(model_path)
        self._larger = None if rescoring is None else text_scorer(rescoring, device)
        spec = recognizer.spec
        search = f"beam {config.beam}, lm {model}, weight {config.weight:g}, bonus {config.bonus:g}"
        if config.groups > 1:
            search += f", {config.groups} groups, diversity {config.diversity:g}"
        if rescoring is not None:
            search += f", rescored by {model_identity(rescoring)}"
        self.spec: RecognizerSpec = replace(spec, model=f"{spec.model} ({search})")
        """The recogniser's spec, extended by the search settings and the language model's digest."""
        if self._model is not None:
            words = (word for word in self._model.words if not word.startswith("<"))
            letters = {letter for word in words for letter in word if letter.isalpha()}
            if not letters & {letter for symbol in recognizer.vocabulary for letter in symbol}:
                raise UserError(
                    f"{model_path}: shares no letter with the recogniser; build it from text in the same case"
                )

    def recognize(
        self,
        path: str,
        speech: list[tuple[int, int]] | None = None,
        *,
        channel: int | None = None,
        advance: Callable[[float], None] | None = None,
    ) -> Hypothesis:
        """The best text; characters take the times of matching greedy characters, others are interpolated."""
        return self.recognize_nbest(path, 1, speech, channel=channel, advance=advance)[0]

    def recognize_nbest(
        self,
        path: str,
        count: int,
        speech: list[tuple[int, int]] | None = None,
        *,
        channel: int | None = None,
        advance: Callable[[float], None] | None = None,
    ) -> tuple[Hypothesis, list[BeamText]]:
        """The best text with its times, and the ``count`` best texts of the recording, best first.

        For a recording of several segments, hypotheses are combined and their scores added.
        """
        greedy = self._recognizer.recognize(path, speech, channel=channel, advance=advance)
        emissions = greedy.emissions
        assert emissions is not None, "a CTC recogniser gives its emissions"
        joined = [BeamText("", 0.0, 0.0, 0.0)]
        timed: list[Hypothesis] = []
        for begin, end in segments(emissions):
            candidates = beam_search(
                emissions.log_probs[begin:end],
                emissions.vocabulary,
                blank=emissions.blank,
                silent=self._recognizer.silent,
                model=self._model,
                config=self._config,
                best=count if self._larger is None else self._config.beam,
            )
            if self._larger is not None:
                candidates = rescore(candidates, self._larger, weight=self._config.weight, bonus=self._config.bonus)
            joined = _joined(joined, candidates[:count], count)
            # Segment by segment: the cost of matching two texts grows with the square of their lengths.
            timed.append(_timed(candidates[0].text, greedy, begin * emissions.hop_seconds, end * emissions.hop_seconds))
        return _chained([part for part in timed if part.text], emissions), joined


def _joined(left: list[BeamText], right: list[BeamText], count: int) -> list[BeamText]:
    """The best ``count`` distinct concatenations of a left and a right text."""
    pairs: dict[str, BeamText] = {}
    for first in left:
        for second in right:
            text = " ".join(filter(None, (first.text, second.text)))
            score = first.score + second.score
            if text not in pairs or score > pairs[text].score:
                pairs[text] = BeamText(text, score, first.sound + second.sound, first.language + second.language)
    return sorted(pairs.values(), key=lambda candidate: (-candidate.score, candidate.text))[:count]


def segments(emissions: Emissions) -> list[tuple[int, int]]:
    """Frames (begin, end) of segments of at most SEGMENT_SECONDS, cut in the last half at the longest run of blanks."""
    longest = max(2, round(SEGMENT_SECONDS / emissions.hop_seconds))
    frames = len(emissions.log_probs)
    bounds, begin = [], 0
    while frames - begin > longest:
        blank = emissions.log_probs[begin + longest // 2 : begin + longest, emissions.blank].astype(np.float32)
        starts, ends = true_runs(blank > -0.1).T
        cut = longest - longest // 2
        if len(starts):
            run = int((ends - starts).argmax())
            cut = max(1, int(starts[run] + ends[run]) // 2)
        bounds.append((begin, begin + longest // 2 + cut))
        begin = bounds[-1][1]
    return [*bounds, (begin, frames)] if frames > begin else bounds


def _timed(text: str, greedy: Hypothesis, begin: float, end: float) -> Hypothesis:
    """Times of the text of a segment, in seconds: those of matching greedy characters, interpolated for the others."""
    first, last = np.searchsorted(greedy.starts, [begin, end]).tolist()
    positions: list[int] = []
    indices: list[int] = []
    for block in SequenceMatcher(None, text, greedy.text[first:last], autojunk=False).get_matching_blocks():
        positions += range(block.a, block.a + block.size)
        indices += range(first + block.b, first + block.b + block.size)
    if not indices:  # nothing to go by but the segment itself
        length = len(text)
        return Hypothesis(text, np.full(length, begin), np.full(length, end), np.zeros(length, np.float32))
    starts, ends, scores = (
        np.interp(np.arange(len(text)), positions, column[indices])
        for column in (greedy.starts, greedy.ends, greedy.scores)
    )
    return Hypothesis(text, starts, np.maximum(starts, ends), scores.astype(np.float32))


def _chained(parts: list[Hypothesis], emissions: Emissions) -> Hypothesis:
    """Hypotheses of consecutive segments with a space between two, which has the time of the gap."""
    starts: list[NDArray[np.float64]] = [np.zeros(0)]
    ends: list[NDArray[np.float64]] = [np.zeros(0)]
    scores: list[NDArray[np.float32]] = [np.zeros(0, np.float32)]
    for number, part in enumerate(parts):
        if number:
            gap = parts[number - 1].ends[-1:]
            starts.append(gap)
            ends.append(np.maximum(gap, part.starts[:1]))
            scores.append(np.zeros(1, np.float32))
        starts.append(part.starts)
        ends.append(part.ends)
        scores.append(part.scores)
    text = " ".join(part.text for part in parts)
    return Hypothesis(text, np.concatenate(starts), np.concatenate(ends), np.concatenate(scores), emissions)
