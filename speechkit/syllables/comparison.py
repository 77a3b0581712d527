"""Comparison of segmenters and encoders: settings tuned on some speakers, segments scored on others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.data.audio import read_cut
from speechkit.data.records import AlignmentItem, Utterance
from speechkit.errors import ConfigError
from speechkit.io.arrays import Float
from speechkit.syllables.evaluation import PROTOCOLS, Evaluation, score, tune_shift
from speechkit.syllables.purity import LabelledSegments, Purity, purity
from speechkit.syllables.segmenters import (
    SegmenterChoice,
    build_segmenter,
    dynamic_trials,
    envelope_trials,
    greedy_trials,
)
from speechkit.syllables.segments import HOP_SECONDS, Boundaries
from speechkit.syllables.tokens import TokenReport, TokenRow


class UtteranceSegments(msgspec.Struct, frozen=True):
    """Segments of an utterance by one system, in frames of 20 ms."""

    id: str
    system: str
    spans: list[tuple[int, int]]


class SegmenterComparison:
    """Tunes the settings of each system on the tuning utterances, and segments tuning and test utterances.

    Args:
        rows: utterances with silver syllables, and their part ("tune" or "test") in ``custom``.
        folder: folder of the manifest; audio paths are relative to it.
        tune_utterances: maximum number of tuning utterances.
        say: receives a message for each tuned system.

    Raises:
        ConfigError: if there are no tuning utterances.
    """

    def __init__(
        self, rows: Sequence[Utterance], folder: Path, tune_utterances: int, say: Callable[[str], None]
    ) -> None:
        parts = {part: [row for row in rows if (row.custom or {}).get("part") == part] for part in ("tune", "test")}
        if not parts["tune"]:
            raise ConfigError("there are no tuning speakers; list only some of the speakers in prepare.test_speakers")
        self._parts = {"tune": parts["tune"][:tune_utterances], "test": parts["test"]}
        self._folder, self._say = folder, say
        self._truth = [(row.alignment or {})["syllable"] for row in self._parts["tune"]]
        self.choices: list[SegmenterChoice] = []
        self.segments: dict[str, list[UtteranceSegments]] = {"tune": [], "test": []}

    def waveforms(self, part: str) -> Iterator[Float]:
        """The waveforms of a part."""
        for row in self._parts[part]:
            yield read_cut(self._folder / row.audio_filepath, row, sample_rate=16_000)

    def compare_envelope(self) -> None:
        """Tune and run the segmenter of the amplitude envelope."""
        self._compare("", self.waveforms, lambda _: {"envelope": envelope_trials()})

    def compare_encoder(self, name: str, folder: Path, device: str) -> None:
        """Tune and run the greedy and the dynamic programming segmenters on the frames of an encoder."""
        from speechkit.encoders import load_encoder

        network = load_encoder(str(folder), device=device)
        self._compare(
            name,
            lambda part: (network.encode(waveform) for waveform in self.waveforms(part)),
            lambda sample: {"greedy": greedy_trials(sample), "dynamic": dynamic_trials(sample)},
        )

    def _compare(
        self,
        name: str,
        read: Callable[[str], Iterator[Float]],
        trials_of: Callable[[list[Float]], dict[str, list[SegmenterChoice]]],
    ) -> None:
        tuning = list(read("tune"))
        chosen = []
        for kind, trials in trials_of(tuning).items():
            values = [
                r_value(self._truth, [build_segmenter(trial).segment(item) for item in tuning]) for trial in trials
            ]
            best = int(np.argmax(values))
            choice = msgspec.structs.replace(
                trials[best], system=f"{name} {kind}".strip(), tuned_r_value=round(values[best], 6)
            )
            chosen.append(choice)
            self._say(f"{choice.system}: {choice.settings}, R-value {values[best]:.3f} on the tuning speakers")
        self.choices += chosen
        for part, items in (("tune", iter(tuning)), ("test", read("test"))):
            for row, item in zip(self._parts[part], items, strict=True):
                for choice in chosen:
                    spans = build_segmenter(choice).segment(item)
                    self.segments[part].append(
                        UtteranceSegments(row.id, choice.system, [(int(a), int(b)) for a, b in spans])
                    )


def r_value(truth: Sequence[Sequence[AlignmentItem]], spans: Sequence[Boundaries]) -> float:
    """R-value under the protocol ``plain``, the tuning criterion."""
    items = [(tier_times(tier), frames_to_seconds(segments)) for tier, segments in zip(truth, spans, strict=True)]
    return score(items, "plain").boundaries["r_value"].value


def tier_times(tier: Sequence[AlignmentItem]) -> NDArray[np.float64]:
    """Times of a tier, (n, 2) in seconds."""
    return np.array([(item.start, item.start + item.duration) for item in tier], np.float64).reshape(-1, 2)


def frames_to_seconds(spans: Any) -> NDArray[np.float64]:
    """Frame spans as seconds (n, 2)."""
    return np.asarray(spans, np.float64).reshape(-1, 2) * HOP_SECONDS


class SegmenterScores(msgspec.Struct, frozen=True):
    """Scores of a system under every protocol.

    Attributes:
        system: name of the system, from stage 7.
        settings: of its segmenter.
        segments_per_second: over the utterances, silence included.
        shift_seconds: best shift on the tuning speakers under ``sdhubert``.
        evaluations: one per protocol without a shift, then ``sdhubert`` with the shift.
    """

    system: str
    settings: dict[str, float]
    segments_per_second: float
    shift_seconds: float
    evaluations: list[Evaluation]


class SyllableScores(msgspec.Struct, frozen=True):
    """Scores of all systems and of the tokens.

    Attributes:
        utterances: number of test utterances.
        syllables_per_second: of the silver reference.
        systems: scores by system, the baseline first.
        tokens: rates of the tokens of stage 8.
        purities: of these tokens, by both pairings, without silence tokens.
    """

    utterances: int
    syllables_per_second: float
    systems: list[SegmenterScores]
    tokens: TokenReport
    purities: list[Purity]


def score_systems(
    rows: Mapping[str, Utterance],
    choices: Sequence[SegmenterChoice],
    segments: Iterable[UtteranceSegments],
    tuning: Iterable[UtteranceSegments],
    *,
    tolerance_seconds: float,
    resamples: int,
    seed: int,
) -> list[SegmenterScores]:
    """Score every system's boundaries against the silver syllables.

    Args:
        rows: utterances with silver syllables, by id.
        choices: the systems.
        segments: segments of the test utterances.
        tuning: segments of the tuning utterances, for the shift.
        tolerance_seconds: maximum distance of matched boundaries.
        resamples: bootstrap draws of the intervals.
        seed: of the bootstrap.
    """
    by_system, tuned = _by_system(segments), _by_system(tuning)
    systems = []
    for choice in choices:
        test_segments = by_system[choice.system]
        speakers = [rows[item.id].speaker or item.id for item in test_segments]
        shift = tune_shift([_pair(rows, item) for item in tuned[choice.system]], tolerance_seconds=tolerance_seconds)
        evaluations = [
            score(
                [_pair(rows, item) for item in test_segments],
                protocol,
                tolerance_seconds=tolerance_seconds,
                shift_seconds=shift_seconds,
                groups=speakers if len(set(speakers)) > 5 else None,
                names=[item.id for item in test_segments],
                resamples=resamples,
                seed=seed,
            )
            for protocol, shift_seconds in (*((protocol, 0.0) for protocol in PROTOCOLS), ("sdhubert", shift))
        ]
        seconds = sum(rows[item.id].duration for item in test_segments)
        count = sum(len(item.spans) for item in test_segments)
        systems.append(SegmenterScores(choice.system, choice.settings, count / seconds, shift, evaluations))
    return systems


def collect_scores(
    rows: Mapping[str, Utterance], systems: Sequence[SegmenterScores], rates: TokenReport, tokens: Iterable[TokenRow]
) -> SyllableScores:
    """Scores of the systems, with the rates and purities of the tokens."""
    tokens = list(tokens)
    utterances = [rows[row.id] for row in tokens]
    return SyllableScores(
        len(utterances),
        sum(len((row.alignment or {})["syllable"]) for row in utterances) / sum(row.duration for row in utterances),
        list(systems),
        rates,
        _purities(rows, tokens, rates.clusters),
    )


def _by_system(segments: Iterable[UtteranceSegments]) -> dict[str, list[UtteranceSegments]]:
    systems: dict[str, list[UtteranceSegments]] = defaultdict(list)
    for one in segments:
        systems[one.system].append(one)
    return systems


def _pair(rows: Mapping[str, Utterance], one: UtteranceSegments) -> tuple[Any, Any]:
    return tier_times((rows[one.id].alignment or {})["syllable"]), frames_to_seconds(one.spans)


def _purities(rows: Mapping[str, Utterance], tokens: Sequence[TokenRow], silence: int) -> list[Purity]:
    items = []
    for row in tokens:
        spoken = [token for token in row.tokens if token.token != silence]
        tier = (rows[row.id].alignment or {})["syllable"]
        syllables = [item.symbol.replace("-", " ") for item in tier]
        times = frames_to_seconds([(token.start, token.end) for token in spoken])
        items.append(LabelledSegments(tier_times(tier), syllables, times, [token.token for token in spoken]))
    return [purity(items, pairing, names=[row.id for row in tokens]) for pairing in ("hungarian", "overlap")]
