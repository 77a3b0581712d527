"""Segmenters and encoders compared: settings chosen on some speakers, scores of the segments on others."""

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
from speechkit.syllables.purity import Labelled, Purity, purity
from speechkit.syllables.segmenters import Choice, dynamic_trials, envelope_trials, greedy_trials, segmenter_of
from speechkit.syllables.segments import HOP_SECONDS, Boundaries
from speechkit.syllables.tokens import TokenReport, TokenRow


class Segmented(msgspec.Struct, frozen=True):
    """The segments that a system finds in an utterance, in frames of 20 ms."""

    id: str
    system: str
    spans: list[tuple[int, int]]


class Comparison:
    """Settings chosen on the tuning utterances, and what they give there and on the test utterances.

    Args:
        rows: utterances with silver syllables and their part in ``custom``.
        folder: of the manifest that the audio paths are relative to.
        tune_utterances: most of them to choose by.
        say: told of every choice.

    Raises:
        ConfigError: if there is nothing to choose by.
    """

    def __init__(
        self, rows: Sequence[Utterance], folder: Path, tune_utterances: int, say: Callable[[str], None]
    ) -> None:
        parts = {part: [row for row in rows if (row.custom or {}).get("part") == part] for part in ("tune", "test")}
        if not parts["tune"]:
            raise ConfigError("there are no speakers to choose settings by; name some of them in prepare.test_speakers")
        self._parts = {"tune": parts["tune"][:tune_utterances], "test": parts["test"]}
        self._folder, self._say = folder, say
        self._truth = [(row.alignment or {})["syllable"] for row in self._parts["tune"]]
        self.choices: list[Choice] = []
        self.segments: dict[str, list[Segmented]] = {"tune": [], "test": []}

    def waveforms(self, part: str) -> Iterator[Float]:
        """The recordings of a part."""
        for row in self._parts[part]:
            yield read_cut(self._folder / row.audio_filepath, row, sample_rate=16_000)

    def envelope(self) -> None:
        """Judge the amplitude envelope."""
        self._compare("", self.waveforms, lambda _: {"envelope": envelope_trials()})

    def encoder(self, name: str, folder: Path, device: str) -> None:
        """Judge the frames of an encoder, cut by Sylber's rule and by the exact one."""
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
        trials_of: Callable[[list[Float]], dict[str, list[Choice]]],
    ) -> None:
        tuning = list(read("tune"))
        chosen = []
        for kind, trials in trials_of(tuning).items():
            values = [r_value(self._truth, [segmenter_of(trial).segment(item) for item in tuning]) for trial in trials]
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
                    spans = segmenter_of(choice).segment(item)
                    self.segments[part].append(Segmented(row.id, choice.system, [(int(a), int(b)) for a, b in spans]))


def r_value(truth: Sequence[Sequence[AlignmentItem]], spans: Sequence[Boundaries]) -> float:
    """What settings are chosen by: starts and ends on both sides, no shift."""
    items = [(truth_times(tier), seconds_of(found)) for tier, found in zip(truth, spans, strict=True)]
    return score(items, "plain").boundaries["r_value"].value


def truth_times(tier: Sequence[AlignmentItem]) -> NDArray[np.float64]:
    """A tier as (n, 2) seconds."""
    return np.array([(item.start, item.start + item.duration) for item in tier], np.float64).reshape(-1, 2)


def seconds_of(spans: Any) -> NDArray[np.float64]:
    """Frames as seconds (n, 2)."""
    return np.asarray(spans, np.float64).reshape(-1, 2) * HOP_SECONDS


class SystemScores(msgspec.Struct, frozen=True):
    """A system under every protocol.

    Attributes:
        system: as stage 7 names it.
        settings: of its segmenter.
        segments_per_second: over the utterances, silence included.
        shift_seconds: best for the tuning speakers under ``sdhubert``.
        evaluations: one a protocol without shift, then ``sdhubert`` with it.
    """

    system: str
    settings: dict[str, float]
    segments_per_second: float
    shift_seconds: float
    evaluations: list[Evaluation]


class Scores(msgspec.Struct, frozen=True):
    """All of them.

    Attributes:
        utterances: judged.
        syllables_per_second: of the silver truth.
        systems: the baseline first.
        tokens: rates of the tokens of stage 8.
        purities: of these tokens, by both pairings; silence tokens are left out.
    """

    utterances: int
    syllables_per_second: float
    systems: list[SystemScores]
    tokens: TokenReport
    purities: list[Purity]


def score_systems(
    rows: Mapping[str, Utterance],
    choices: Sequence[Choice],
    segments: Iterable[Segmented],
    tuning: Iterable[Segmented],
    *,
    tolerance_seconds: float,
    resamples: int,
    seed: int,
) -> list[SystemScores]:
    """Every system's boundaries against the silver syllables.

    Args:
        rows: utterances with silver syllables by id.
        choices: the systems.
        segments: of the test utterances.
        tuning: of the tuning utterances, on which the shift is chosen.
        tolerance_seconds: how far a boundary may lie from the true one.
        resamples: bootstrap draws of the intervals.
        seed: of these draws.
    """
    by_system, tuned = _by_system(segments), _by_system(tuning)
    systems = []
    for choice in choices:
        mine = by_system[choice.system]
        owners = [rows[one.id].speaker or one.id for one in mine]
        shift = tune_shift([_pair(rows, one) for one in tuned[choice.system]], tolerance_seconds=tolerance_seconds)
        evaluations = [
            score(
                [_pair(rows, one) for one in mine],
                protocol,
                tolerance_seconds=tolerance_seconds,
                shift_seconds=moved,
                groups=owners if len(set(owners)) > 5 else None,
                names=[one.id for one in mine],
                resamples=resamples,
                seed=seed,
            )
            for protocol, moved in (*((protocol, 0.0) for protocol in PROTOCOLS), ("sdhubert", shift))
        ]
        seconds = sum(rows[one.id].duration for one in mine)
        count = sum(len(one.spans) for one in mine)
        systems.append(SystemScores(choice.system, choice.settings, count / seconds, shift, evaluations))
    return systems


def all_scores(
    rows: Mapping[str, Utterance], systems: Sequence[SystemScores], rates: TokenReport, tokens: Iterable[TokenRow]
) -> Scores:
    """The scores of the systems beside those of the tokens of the utterances that were judged."""
    tokens = list(tokens)
    judged = [rows[row.id] for row in tokens]
    return Scores(
        len(judged),
        sum(len((row.alignment or {})["syllable"]) for row in judged) / sum(row.duration for row in judged),
        list(systems),
        rates,
        _purities(rows, tokens, rates.clusters),
    )


def _by_system(segments: Iterable[Segmented]) -> dict[str, list[Segmented]]:
    systems: dict[str, list[Segmented]] = defaultdict(list)
    for one in segments:
        systems[one.system].append(one)
    return systems


def _pair(rows: Mapping[str, Utterance], one: Segmented) -> tuple[Any, Any]:
    return truth_times((rows[one.id].alignment or {})["syllable"]), seconds_of(one.spans)


def _purities(rows: Mapping[str, Utterance], tokens: Sequence[TokenRow], silence: int) -> list[Purity]:
    items = []
    for row in tokens:
        spoken = [token for token in row.tokens if token.token != silence]
        tier = (rows[row.id].alignment or {})["syllable"]
        syllables = [item.symbol.replace("-", " ") for item in tier]
        times = seconds_of([(token.start, token.end) for token in spoken])
        items.append(Labelled(truth_times(tier), syllables, times, [token.token for token in spoken]))
    return [purity(items, pairing, names=[row.id for row in tokens]) for pairing in ("hungarian", "overlap")]
