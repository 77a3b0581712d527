"""The encoder in standard units and what stage 1 takes for syllables: the work of stage 4."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.io.atomic import write_json
from speechkit.pipeline import Context
from speechkit.pipeline.manifests import manifest_of

from .manifests import most_dropped

Float = NDArray[np.float32]
Spans = NDArray[np.int64]
ABOVE_ZERO = 1e-6
"""A norm that only frames set to zero do not reach."""


class Seeds(msgspec.Struct, frozen=True):
    """How stage 1 cuts speech; see `SeedsConfig`. ``penalty`` is of ``dynamic``, found on the training speech."""

    segmenter: Literal["dynamic", "envelope", "tier"]
    shortest: int
    longest: int
    silence_db: float
    silence_frames: int
    penalty: float | None = None

    def speech_runs(self, waveform: Float) -> Spans:
        """Stretches (n, 2) of frames near the level of the recording's loud ones, short silences filled.

        Digital silence is no speech, and does not count when the loud ones are looked for.
        """
        from speechkit.syllables.envelope import FLOOR_DECIBELS, LOUD_SHARE, frame_levels

        levels = frame_levels(waveform)
        heard = levels > FLOOR_DECIBELS
        if not heard.any():
            return np.zeros((0, 2), np.int64)
        loud = heard & (levels >= np.quantile(levels[heard], LOUD_SHARE) - self.silence_db)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], loud, [False]]).astype(np.int8))).reshape(-1, 2)
        merged: list[list[int]] = []
        for start, end in edges.tolist():
            if merged and start - merged[-1][1] < self.silence_frames:
                merged[-1][1] = end
            else:
                merged.append([start, end])
        return np.array(merged, np.int64).reshape(-1, 2)

    def settings(self, rows: Sequence[Utterance], manifest: Path) -> dict[str, Any]:
        """What `SelfSegmentation` needs to take these segments of the rows of a manifest."""
        from speechkit.data.audio import read_waveform
        from speechkit.syllables.dynamic import DynamicSegmenter
        from speechkit.syllables.envelope import EnvelopeSegmenter

        if self.segmenter == "dynamic":
            assert self.penalty is not None
            segmenter = DynamicSegmenter(self.penalty, self.shortest, self.longest, norm=ABOVE_ZERO)
            return {"online": lambda _: segmenter, "speech": self.speech_runs}
        if self.segmenter == "tier":
            return {"stored": lambda item: tier_spans(rows[item])}
        envelope = EnvelopeSegmenter(silence_decibels=self.silence_db)

        @lru_cache(4096)
        def spans(item: int) -> Spans:
            return envelope.segment(read_waveform(rows[item], manifest))

        return {"stored": spans}


def tier_spans(row: Utterance) -> Spans:
    """The tier ``syllable`` of a row, in frames of 20 ms.

    Raises:
        UserError: if it has none, or its segments overlap or run backwards.
    """
    from speechkit.syllables.segments import Segment, in_frames

    tier = (row.alignment or {}).get("syllable")
    if tier is None:
        raise UserError(f"{row.id} has no tier 'syllable'; write one, or choose another seeds.segmenter")
    try:
        return in_frames(Segment(item.start, item.start + item.duration) for item in tier)
    except UserError as error:
        raise UserError(f"{row.id}: tier 'syllable': {error}") from error


def make_seeds(context: Context) -> None:
    """Write the encoder, cut to its layers and in standard units, and how stage 1 is to cut speech.

    Raises:
        UserError: if stages 2 and 3 left nothing to choose by or to judge by, or a row lacks the tier to be learnt.
    """
    from speechkit.encoders import load_encoder
    from speechkit.encoders.load import checkpoint_name
    from speechkit.encoders.pretraining.batches import WaveformBatches
    from speechkit.syllables.syllable_encoder import SyllableEncoder

    config = context.config
    manifest = manifest_of(context.inputs, "train_manifest")
    _require_truth(context)
    rows = list(context.read("train"))
    if config.segmenter == "tier":
        for row in (*rows, *context.read("dev")):
            tier_spans(row)
    encoder = SyllableEncoder(checkpoint_name(config.encoder), config.layers).to(context.device)
    batches = WaveformBatches(rows, manifest, 40.0, 10.0, context.seed % 2**32)
    encoder.standardise(batches(number) for number in range(config.standardising_batches))
    folder = context.output("encoder")
    encoder.save(folder)
    seeds = Seeds(config.segmenter, config.shortest, config.longest, config.silence_db, config.silence_frames)
    if config.segmenter == "dynamic":
        every = max(1, len(rows) // config.measured_items)
        network = load_encoder(str(folder), device=context.device)
        penalty = rate_penalty(seeds, rows[::every], manifest, network.encode, config.rate)
        context.say(f"a further segment costs {penalty:.1f}")
        seeds = msgspec.structs.replace(seeds, penalty=penalty)
    write_json(context.output("seeds.json"), seeds)


def _require_truth(context: Context) -> None:
    """Hours of training are for nothing where nothing is left to judge them by."""
    left = {(row.custom or {}).get("part") for row in context.read("silver")}
    for part, whom in (("test", "the test speakers"), ("tune", "the other speakers, to choose settings by,")):
        if part not in left:
            reasons = Counter(drop.reason for name in ("words_drops", "silver_drops") for drop in context.read(name))
            raise UserError(f"no utterance of {whom} is left after stages 2 and 3, {most_dropped(reasons)}")


def rate_penalty(
    seeds: Seeds, rows: Sequence[Utterance], manifest: Path, encode: Callable[[Float], Float], rate: float
) -> float:
    """The duration penalty at which the speech of some recordings has a rate of segments a second."""
    from speechkit.data.audio import read_waveform
    from speechkit.syllables.dynamic import penalty_for_rate

    stretches = []
    for row in rows:
        waveform = read_waveform(row, manifest)
        frames = encode(waveform)
        stretches += [frames[start:end] for start, end in seeds.speech_runs(waveform) if start < min(end, len(frames))]
    return penalty_for_rate(stretches, rate, shortest=seeds.shortest, longest=seeds.longest)
