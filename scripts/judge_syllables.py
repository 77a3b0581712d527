"""Score segmenters on recordings with texts: those of a plain install, or the systems of a finished recipe.

    python scripts/judge_syllables.py MANIFEST.jsonl --lang en [--limit 200] [--rates TRAIN.jsonl]
    python scripts/judge_syllables.py MANIFEST.jsonl --lang de --exp EXP

Without --exp the systems are those of `speechkit syllables` with default settings, and as the floor a boundary every
200 ms, independent of the audio. EXP is the folder of the recipe sylber, with stages 4 to 7 done.

The reference is silver: phones by a forced aligner, syllables by maximal onset. For languages other than English it is
rough: letters are mapped to English phones by rule and aligned with an English acoustic model. The script also
prints measures without alignment: the ratio of segments to written nuclei, and their correlation over utterances. With
--rates it prints tokens and bits per second, with k-means of segment means of the speech in TRAIN under the encoder in
the package.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from speechkit.data.audio import read_waveform
from speechkit.data.manifest import read_manifest
from speechkit.data.records import Utterance
from speechkit.encoders import load_encoder
from speechkit.encoders.encoder import Encoder
from speechkit.errors import AlignmentError, SpeechkitError, UserError
from speechkit.io.arrays import Float
from speechkit.pipeline import outputs
from speechkit.pipeline.discover import recipe_module
from speechkit.runtime import item_seed
from speechkit.syllables.comparison import frames_to_seconds, tier_times
from speechkit.syllables.envelope import EnvelopeSegmenter
from speechkit.syllables.evaluation import Score, score
from speechkit.syllables.recordings import thresholds_from_recordings
from speechkit.syllables.segmenters import (
    ENCODER,
    SegmenterChoice,
    build_segmenter,
    make_segmenter,
    packaged_settings,
)
from speechkit.syllables.segments import Boundaries, Segmenter, segment_means
from speechkit.syllables.silver_alignment import PhoneAligner, align_silver
from speechkit.syllables.syllabification import is_vowel
from speechkit.syllables.tokens import add_silence_tokens, token_rates
from speechkit.text import get_normalizer
from speechkit.text.rough_pronunciation import rough_phones
from speechkit.units.kmeans import KMeansConfig, train_kmeans

METRONOME_FRAMES = 10
CLUSTERS = 500
Cut = Callable[[Float, Float], Boundaries]
"""Segments of a waveform (S,) with its frames (T, D) by the encoder inside the package, in frames."""


def metronome(waveform: Float, frames: Float) -> Boundaries:
    """A segment every 200 ms."""
    begins = np.arange(0, len(frames), METRONOME_FRAMES)
    return np.stack([begins, np.minimum(begins + METRONOME_FRAMES, len(frames))], axis=1)


def of_waveforms(segmenter: EnvelopeSegmenter) -> Cut:
    """Adapt a segmenter of waveforms."""
    return lambda waveform, frames: segmenter.segment(waveform)


def of_frames(segmenter: Segmenter, ready: Callable[[Float], Any] = lambda frames: frames) -> Cut:
    """Adapt a segmenter of frames, preprocessed by ``ready``."""
    return lambda waveform, frames: segmenter.segment(ready(frames))


def of_encoder(segmenter: Segmenter, encoder: Encoder) -> Cut:
    """Adapt a segmenter that uses frames of its own encoder."""
    return lambda waveform, frames: segmenter.segment(encoder.encode(waveform))


def plain_systems(encoder: Encoder, manifest: Path, rate: float = 5.0) -> dict[str, Cut]:
    """The segmenters of `speechkit syllables`.

    They cut waveforms, frames of the encoder trained for syllables with the settings of the package, and frames of
    ``encoder`` with thresholds estimated from a manifest.
    """
    thresholds = thresholds_from_recordings(encoder, [manifest], rate)
    segmenters: dict[str, Any] = {
        "greedy": make_segmenter("greedy", norm=thresholds.norm, merge=thresholds.merge),
        "dynamic": make_segmenter("dynamic", norm=thresholds.norm, penalty=thresholds.penalty),
    }
    peaks = make_segmenter("peaks")
    systems: dict[str, Cut] = {"metronome": metronome, "envelope": of_waveforms(EnvelopeSegmenter())}
    trained = load_encoder(ENCODER)
    for name in ("dynamic", "greedy"):
        systems[f"{name}, {ENCODER}"] = of_encoder(make_segmenter(name, **packaged_settings(name)), trained)
    systems |= {name: of_frames(segmenter, thresholds.centred) for name, segmenter in segmenters.items()}
    return {**systems, "peaks": of_frames(peaks)}


def recipe_systems(exp: Path, device: str) -> dict[str, Cut]:
    """The systems of a finished recipe, each with its encoder."""
    recipe = recipe_module("sylber").recipe
    choices = msgspec.json.decode(
        (outputs(recipe, exp, "segment") / "choices.json").read_bytes(), type=list[SegmenterChoice]
    )
    folders = {
        "untrained": outputs(recipe, exp, "seeds") / "encoder",
        "first": outputs(recipe, exp, "train1") / "model",
        "second": outputs(recipe, exp, "train2") / "model",
    }
    encoders = {name: load_encoder(str(folder), device=device) for name, folder in folders.items()}
    systems: dict[str, Cut] = {"metronome": metronome}
    for choice in choices:
        segmenter, encoder = build_segmenter(choice), encoders.get(choice.system.split()[0])
        systems[choice.system] = of_waveforms(segmenter) if encoder is None else of_encoder(segmenter, encoder)
    return systems


class Judge:
    """Recordings with their silver syllables.

    Args:
        encoder: whose frames systems may cut.
        manifest: of recordings with texts.
        lang: of the texts.
        limit: recordings, drawn.

    Raises:
        UserError: if none of them can be aligned.
    """

    def __init__(self, encoder: Encoder, manifest: Path, lang: str, limit: int) -> None:
        aligner = PhoneAligner(lang)
        normalizer = get_normalizer("simple")
        self.rows: list[Utterance] = []
        self.waveforms: list[Float] = []
        self.truth: list[Any] = []
        self.nuclei: list[int] = []
        failed = 0
        for row in sorted(read_manifest(manifest), key=lambda row: item_seed(0, row.id))[:limit]:
            words = normalizer.normalize(row.text or "").text.split()
            waveform = read_waveform(row, manifest)
            try:
                silver = align_silver(aligner, waveform, words)
            except AlignmentError:
                failed += 1
                continue
            self.rows.append(row)
            self.waveforms.append(waveform)
            self.truth.append(tier_times(silver.syllable))
            if lang == "en":
                self.nuclei.append(sum(is_vowel(phone.symbol) for phone in silver.phone))
            else:
                self.nuclei.append(sum(is_vowel(phone) for word in words for phone in rough_phones(word, lang)))
        if not self.truth:
            raise UserError(f"{manifest}: no utterance could be aligned; is the language {lang}?")
        self.frames = [encoder.encode(waveform) for waveform in self.waveforms]
        self.seconds = sum(map(len, self.waveforms)) / 16_000
        speakers = {row.speaker for row in self.rows}
        print(
            f"{len(self.truth)} utterances of {len(speakers)} speakers, {self.seconds / 60:.1f} minutes, "
            f"{failed} not aligned\n"
        )

    def score(self, name: str, spans: Sequence[Boundaries], more: str) -> str:
        """A row of the table."""
        items = [(wanted, frames_to_seconds(cut)) for wanted, cut in zip(self.truth, spans, strict=True)]
        plain = score(items, "plain", names=[row.id for row in self.rows], resamples=1000)
        counts = np.array([len(cut) for cut in spans], np.float64)
        correlation = np.corrcoef(counts, self.nuclei)[0, 1] if counts.std() and np.std(self.nuclei) else 0.0
        boundaries = plain.boundaries
        return (
            f"| {name} | {_percent(boundaries['f1'])} | {_percent(boundaries['r_value'])} "
            f"| {_percent(plain.tokens['f1'])} | {counts.sum() / sum(self.nuclei):.2f} | {correlation:.2f}{more} |"
        )


def _percent(score: Score) -> str:
    interval = score.interval
    return f"{100 * score.value:.1f}" + (f" ({100 * interval.low:.1f}–{100 * interval.high:.1f})" if interval else "")


def rates(
    judge: Judge, cut: Cut, spans: Sequence[Boundaries], encoder: Encoder, train: Sequence[tuple[Float, Float]]
) -> str:
    """Two cells: tokens and bits a second of the judged speech; ``train`` are waveforms with their frames."""
    held = [segment_means(frames, _within(cut(waveform, frames), len(frames))) for waveform, frames in train]
    settings = KMeansConfig(clusters=CLUSTERS, normalization="unit-length")
    codebook = train_kmeans(lambda: held, settings, encoder.spec).codebook
    tokens = []
    for frames, cut_spans in zip(judge.frames, spans, strict=True):
        inside = _within(cut_spans, len(frames))
        labels = codebook.assign(segment_means(frames, inside)) if len(inside) else np.zeros(0, np.int32)
        tokens.append(add_silence_tokens(labels, inside, len(frames), CLUSTERS))
    rates_of_tokens = token_rates(tokens, judge.seconds, CLUSTERS)
    return f" | {rates_of_tokens.per_second:.2f} | {rates_of_tokens.bits_per_second:.1f}"


def _drawn(encoder: Encoder, manifest: Path, limit: int) -> list[tuple[Float, Float]]:
    rows = sorted(read_manifest(manifest), key=lambda row: item_seed(0, row.id))[:limit]
    waveforms = [read_waveform(row, manifest) for row in rows]
    return [(waveform, encoder.encode(waveform)) for waveform in waveforms]


def _within(cut: Boundaries, frames: int) -> Boundaries:
    short = np.minimum(cut, frames)
    return short[short[:, 0] < short[:, 1]]


def main() -> int:
    """Print a table of the systems."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--exp", type=Path, help="folder of the recipe sylber; else what a plain install has")
    parser.add_argument("--lang", choices=["en", "de", "hi"], required=True)
    parser.add_argument("--limit", type=int, default=100, help="utterances, drawn")
    parser.add_argument("--rates", type=Path, metavar="TRAIN", help="speech to cluster segments of")
    parser.add_argument("--train-limit", type=int, default=250, help="utterances of TRAIN, drawn")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    try:
        systems = {} if arguments.exp is None else recipe_systems(arguments.exp, arguments.device)
        encoder = load_encoder("embedded", device=arguments.device)
        systems = systems or plain_systems(encoder, arguments.manifest)
        judge = Judge(encoder, arguments.manifest, arguments.lang, arguments.limit)
        train = [] if arguments.rates is None else _drawn(encoder, arguments.rates, arguments.train_limit)
        titles = ["system", "F1", "R-value", "token F1", "segments/nuclei", "correlation"]
        titles += ["tokens/s", "bits/s"] if arguments.rates else []
        print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
        for name, cut in systems.items():
            spans = [cut(*each) for each in zip(judge.waveforms, judge.frames, strict=True)]
            more = rates(judge, cut, spans, encoder, train) if arguments.rates else ""
            print(judge.score(name, spans, more), flush=True)
    except SpeechkitError as error:
        print(f"judge_syllables: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
