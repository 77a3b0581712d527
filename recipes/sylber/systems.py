"""Which segmenters are compared, with which settings each is tried, and their segments: the work of stage 7."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.data.audio import read_cut
from speechkit.data.records import AlignmentItem, Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.io.atomic import write_json
from speechkit.pipeline import Context
from speechkit.pipeline.manifests import manifest_of
from speechkit.syllables.segments import HOP_SECONDS

Float = NDArray[np.float32]
Spans = NDArray[np.int64]
ENCODERS = {"untrained": "encoder", "first": "first", "second": "second"}
"""Systems by encoder, and the input that holds it."""
MERGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9)
NORM_QUANTILES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25)
"""Of the frames' norms; what lies below is silence."""
RATES = (3.6, 4.2, 4.8, 5.4, 6.0)
"""Segments a second of what is not silence."""
ENVELOPE_PROMINENCES = (0.5, 1.0, 2.0, 3.0, 4.0)
ENVELOPE_SMOOTHINGS = (0.06, 0.08, 0.1, 0.14)
ENVELOPE_SILENCES = (25.0, 30.0, 35.0)


class Choice(msgspec.Struct, frozen=True):
    """The settings of a system that were best on the speakers that it is not judged by.

    Attributes:
        system: the encoder and the segmenter, as ``second greedy``.
        segmenter: ``envelope``, or a name of `make_segmenter`.
        settings: of the segmenter.
        tuned_r_value: on the tuning utterances.
    """

    system: str
    segmenter: str
    settings: dict[str, float]
    tuned_r_value: float


class Segmented(msgspec.Struct, frozen=True):
    """The segments that a system finds in an utterance, in frames of 20 ms."""

    id: str
    system: str
    spans: list[tuple[int, int]]


def segmenter_of(choice: Choice) -> Any:
    """What `Choice` stands for; the envelope takes waveforms, all others take frames."""
    from speechkit.syllables.envelope import EnvelopeSegmenter
    from speechkit.syllables.segments import make_segmenter

    if choice.segmenter == "envelope":
        return EnvelopeSegmenter(**choice.settings)
    return make_segmenter(choice.segmenter, **choice.settings)


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
        self.found: dict[str, list[Segmented]] = {"tune": [], "test": []}

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
                    self.found[part].append(Segmented(row.id, choice.system, [(int(a), int(b)) for a, b in spans]))


def segment_test(context: Context) -> None:
    """Choose settings on the tuning speakers, then segment the test speakers with them."""
    comparison = Comparison(
        list(context.read("silver")),
        manifest_of(context.inputs, "truth_manifest").parent,
        context.config.tune_utterances,
        context.say,
    )
    comparison.envelope()
    for encoder, name in ENCODERS.items():
        comparison.encoder(encoder, context.inputs[name], context.device)
    write_json(context.output("choices.json"), comparison.choices)
    context.write("segments.jsonl", comparison.found["test"])
    context.write("tuning.jsonl", comparison.found["tune"])


def r_value(truth: Sequence[Sequence[AlignmentItem]], spans: Sequence[Spans]) -> float:
    """What settings are chosen by: starts and ends on both sides, no shift."""
    from speechkit.syllables.evaluation import score

    items = [(truth_times(tier), seconds_of(found)) for tier, found in zip(truth, spans, strict=True)]
    return score(items, "plain").boundaries["r_value"].value


def truth_times(tier: Sequence[AlignmentItem]) -> NDArray[np.float64]:
    """A tier as (n, 2) seconds."""
    return np.array([(item.start, item.start + item.duration) for item in tier], np.float64).reshape(-1, 2)


def seconds_of(spans: Any) -> NDArray[np.float64]:
    """Frames as seconds (n, 2)."""
    return np.asarray(spans, np.float64).reshape(-1, 2) * HOP_SECONDS


def envelope_trials() -> list[Choice]:
    """All settings of the amplitude envelope that are tried."""
    return [
        Choice(
            "",
            "envelope",
            {"prominence_decibels": prominence, "smoothing_seconds": smoothing, "silence_decibels": silence},
            0.0,
        )
        for prominence in ENVELOPE_PROMINENCES
        for smoothing in ENVELOPE_SMOOTHINGS
        for silence in ENVELOPE_SILENCES
    ]


def norm_thresholds(sample: Sequence[Float]) -> list[float]:
    """Norms under which the given shares of the frames lie; rounded, so that they print as they are."""
    norms = np.concatenate([np.linalg.norm(frames, axis=1) for frames in sample])
    return [round(float(np.quantile(norms, share)), 3) if share else 0.0 for share in NORM_QUANTILES]


def greedy_trials(sample: Sequence[Float]) -> list[Choice]:
    """All settings of Sylber's segmenter that are tried."""
    return [
        Choice("", "greedy", {"norm": norm, "merge": merge}, 0.0)
        for norm in norm_thresholds(sample)
        for merge in MERGES
    ]


def dynamic_trials(sample: Sequence[Float]) -> list[Choice]:
    """All settings of the exact segmentation that are tried."""
    from speechkit.syllables.dynamic import penalty_for_rate

    some = list(sample[:: max(1, len(sample) // 6)])
    trials = []
    for norm in norm_thresholds(sample):
        for rate in RATES:
            try:
                penalty = penalty_for_rate(some, rate, norm=norm)
            except UserError:  # stretches of speech so short that no penalty gives so few segments
                continue
            trials.append(Choice("", "dynamic", {"norm": norm, "penalty": penalty}, 0.0))
    if not trials:
        raise UserError(f"no norm leaves stretches of speech for any of {RATES} segments a second; give more speech")
    return trials
