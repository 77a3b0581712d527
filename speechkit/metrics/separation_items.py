"""Scores of mixtures under several separators, read from files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from speechkit.errors import UserError
from speechkit.metrics.separated_tracks import LeftOut, OpenMixture, ReferenceMixture, tracks_of
from speechkit.metrics.separation import Pieces, SourceScore, Swaps, swap_window, swaps_of, window_order
from speechkit.metrics.signal_quality import NotMeasuredError, measure
from speechkit.metrics.speaker_leakage import TrackWords

SI_SDR, IMPROVEMENT = "si_sdr", "si_sdr_improvement"
BLOCK_SECONDS = 60
LONGEST_MEASURED_SECONDS = 300


class SourceResult(msgspec.Struct, frozen=True):
    """One source of a mixture with its assigned track.

    Attributes:
        track: index of the system's track; None if there is none left.
        speaker: name, if known.
        leaked_db: of a silent source: energy of its track over that of the mixture.
        values: measures of the track by name, improvements over the mixture too; empty for a silent source.
        before: the same measures of the mixture itself.
        words: recognised words of the track.
    """

    track: int | None
    speaker: str | None = None
    leaked_db: float | None = None
    values: dict[str, float] = {}
    before: dict[str, float] = {}
    words: TrackWords | None = None


class ItemResult(msgspec.Struct, frozen=True):
    """A mixture under one system; ``lone``: only one source is active."""

    id: str
    seconds: float
    lone: bool
    sources: list[SourceResult]
    swaps: Swaps | None = None


class Items(msgspec.Struct, frozen=True):
    """The scored mixtures of each system, the same for all, with omissions and notes."""

    references: list[ReferenceMixture]
    systems: dict[str, list[ItemResult]]
    left_out: list[LeftOut]
    notes: list[str]


def score_items(
    references: Sequence[ReferenceMixture],
    estimates: Mapping[str, dict[str, list[str]]],
    *,
    measures: Sequence[str] = (),
    tolerance_seconds: float = 0.0,
    left_out: Sequence[LeftOut] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Items:
    """Score every mixture under every system; a mixture that cannot be scored for one system is left out for all.

    Args:
        references: the mixtures.
        estimates: of each system, paths of tracks by the mixture's id.
        measures: of `signal_quality`, in addition to SI-SDR; for mixtures of up to five minutes.
        tolerance_seconds: allowed difference in length from the mixture.
        left_out: mixtures that could not be read, reported together with further ones.
        progress: called with the mixtures done and their number.

    Raises:
        UserError: if no mixture is left.
    """
    missing = list(left_out)
    kept: list[ReferenceMixture] = []
    results: dict[str, list[ItemResult]] = {name: [] for name in estimates}
    unmeasured: dict[str, list[str]] = {}
    for done, reference in enumerate(references):
        row: dict[str, ItemResult] = {}
        for name, tracks in estimates.items():
            try:
                paths = tracks_of(tracks, reference)
                if paths is None:
                    raise UserError(f"{name} has no track of it")
                mixture = OpenMixture(reference, paths, tolerance_seconds)
                row[name] = score_item(mixture, measures, unmeasured)
            except UserError as error:
                missing.append(LeftOut(reference.id, name, str(error)))
        if len(row) == len(estimates):
            kept.append(reference)
            for name, result in row.items():
                results[name].append(result)
        if progress is not None:
            progress(done + 1, len(references))
    if not kept:
        raise UserError(f"no mixture could be scored; the first: {missing[0].id}: {missing[0].reason}")
    notes = [
        f"{name.upper()} is missing for {len(why):,} of the scored sources; the first: {why[0]}"
        for name, why in unmeasured.items()
    ]
    for name, tracks in estimates.items():
        taken = {tuple(paths) for reference in references if (paths := tracks_of(tracks, reference)) is not None}
        beyond = sorted({tuple(paths) for paths in tracks.values()} - taken)
        if beyond:
            notes.append(f"{name}: tracks of {len(beyond):,} mixtures without references, such as {beyond[0][0]}")
    return Items(kept, results, missing, notes)


def score_item(mixture: OpenMixture, measures: Sequence[str], unmeasured: dict[str, list[str]]) -> ItemResult:
    """Score one mixture under one system, in memory of one minute unless other measures need the whole.

    Reasons for missing values are added to ``unmeasured``, by measure.

    Raises:
        AudioError: if a file cannot be read to its end, or has NaN samples.
    """
    reference, rate = mixture.reference, mixture.sample_rate
    pieces = Pieces(len(reference.sources), len(mixture.tracks))
    size = swap_window(rate)
    windows: list[dict[int, int] | None] = []
    for mixed, sources, tracks in mixture.blocks(BLOCK_SECONDS * rate // size * size):
        pieces.add(mixed, sources, tracks)
        pieced = [slice(begin, begin + size) for begin in range(0, len(mixed) - size // 2, size)]
        windows += [window_order(sources[:, piece], tracks[:, piece]) for piece in pieced]
    scores = pieces.scores()
    sounding = sum(score.si_sdr_db is not None for score in scores)
    swaps = swaps_of(windows, size / rate) if len(windows) > 1 and len(mixture.tracks) > 1 and sounding > 1 else None
    seconds = mixture.samples / rate
    if seconds > LONGEST_MEASURED_SECONDS:
        why = f"{reference.id}: longer than {LONGEST_MEASURED_SECONDS} s"
        for name in measures:
            unmeasured.setdefault(name, []).extend([why] * sounding)
    signals = mixture.read() if measures and seconds <= LONGEST_MEASURED_SECONDS else None
    speakers = reference.speakers or []
    results = []
    for index, score in enumerate(scores):
        speaker = speakers[index] if index < len(speakers) else None
        if score.si_sdr_db is None:
            results.append(SourceResult(score.track, speaker, score.leaked_db))
            continue
        values, before = _values(score)
        if signals is not None:
            mixed, sources, tracks = signals
            track = mixed if score.track is None else tracks[score.track]
            for name in measures:
                try:
                    unseparated = measure(name, sources[index], mixed, rate)
                    value = unseparated if score.track is None else measure(name, sources[index], track, rate)
                except NotMeasuredError as error:
                    unmeasured.setdefault(name, []).append(f"{reference.id}: {error}")
                    continue
                values |= {name: value, f"{name}_improvement": value - unseparated}
                before[name] = unseparated
        results.append(SourceResult(score.track, speaker, None, values, before))
    return ItemResult(reference.id, seconds, sounding == 1, results, swaps)


def _values(score: SourceScore) -> tuple[dict[str, float], dict[str, float]]:
    assert score.si_sdr_db is not None
    assert score.mixture_db is not None
    gained = score.si_sdr_db - score.mixture_db
    return {SI_SDR: score.si_sdr_db, IMPROVEMENT: gained}, {SI_SDR: score.mixture_db}
