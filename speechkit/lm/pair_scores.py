"""Accuracy on minimal pairs: how often the correct item gets the higher score. Torch-free.

A pair counts 1 if the correct item scores higher, 0.5 at a tie and 0 otherwise; accuracy is the mean over voices, then
over pairs. Both scores found in the literature are reported: the sum of the log-probabilities of units and end, and the
mean over units without the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from speechkit.errors import UserError
from speechkit.io.paths import inside
from speechkit.lm.unit_costs import SequenceCost
from speechkit.metrics.bootstrap import Interval, bootstrap_ratio
from speechkit.units.quantizers import UnitSet
from speechkit.units.sequences import UnitSequence

if TYPE_CHECKING:
    from speechkit.lm.networks import UnitNetwork

GOLD = "gold.csv"
PAIR_PROTOCOL = (
    "A pair counts 1, ½ at a tie, 0; mean over voices, then over pairs; intervals: 95 %, bootstrap over pairs. Sum: "
    "log-probability of all units and of the end; mean: of units alone, over their number. Stories: the whole of four "
    "utterances and an ending is scored."
)


class PairClip(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item of a pair, spoken by one voice.

    Attributes:
        id: of the clip.
        test: name of the test set.
        pair: name of the pair within the set.
        kind: category of the contrast; frequency bands and types for the official sets.
        voice: the speaking voice.
        right: whether this is the correct item.
        text: the text spoken.
        phone_score: log-probability of its phones and their end under a phone n-gram; None where unknown.
        phone_count: number of phones.
    """

    id: str
    test: str
    pair: str
    kind: str
    voice: str
    right: bool
    text: str = ""
    phone_score: float | None = None
    phone_count: int = 0


class PairScore(msgspec.Struct, frozen=True):
    """Accuracy of one system on one test set.

    Attributes:
        test: the set.
        system: the model or baseline.
        pairs: number of pairs scored.
        voices: maximum number of voices per pair.
        by_sum: accuracy, 0 to 1, by the sum including the end.
        sum_interval: its confidence interval over pairs.
        by_mean: accuracy, 0 to 1, by the mean without the end.
        mean_interval: its confidence interval over pairs.
    """

    test: str
    system: str
    pairs: int
    voices: int
    by_sum: float
    sum_interval: Interval
    by_mean: float
    mean_interval: Interval


def outcomes(clips: Sequence[PairClip], scores: Mapping[str, float]) -> tuple[list[str], list[float]]:
    """Sorted pairs and the outcome of each. Voices and pairs in which an item has no score are left out."""
    sides: dict[tuple[str, str], tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for clip in clips:
        if clip.id in scores:
            sides[clip.pair, clip.voice][not clip.right].append(scores[clip.id])
    by_pair: dict[str, list[float]] = defaultdict(list)
    for (pair, _), (right, wrong) in sides.items():
        if right and wrong:
            differences = np.subtract.outer(right, wrong)
            by_pair[pair].append(float(((differences > 0) + 0.5 * (differences == 0)).mean()))
    names = sorted(by_pair)
    return names, [float(np.mean(by_pair[name])) for name in names]


def pair_score(
    test: str, system: str, clips: Sequence[PairClip], by_sum: Mapping[str, float], by_mean: Mapping[str, float]
) -> PairScore:
    """Accuracy of a system on a set, by both scores of each clip.

    Raises:
        UserError: if no pair is complete.
    """
    names, sums = outcomes(clips, by_sum)
    _, means = outcomes(clips, by_mean)
    if not names:
        raise UserError(f"{test}: no pair has scores for both items; synthesize the clips again")
    ones = np.ones(len(names))
    voices = len({clip.voice for clip in clips})
    return PairScore(
        test, system, len(names), voices,
        float(np.mean(sums)), bootstrap_ratio(sums, ones),
        float(np.mean(means)), bootstrap_ratio(means, ones),
    )  # fmt: skip


def sums_and_means(costs: Sequence[SequenceCost]) -> tuple[dict[str, float], dict[str, float]]:
    """Both scores of each recording; higher is likelier."""
    return (
        {cost.id: -cost.unit_nats - cost.end_nats for cost in costs},
        {cost.id: -cost.unit_nats / cost.units for cost in costs},
    )


def story_pairs(
    rows: Sequence[UnitSequence],
    speakers: Sequence[str],
    numbers: Sequence[tuple[str, int]],
    random: np.random.Generator,
) -> tuple[list[PairClip], list[UnitSequence]]:
    """Story pairs: four consecutive utterances with the true next one, or with one from another chapter of the speaker.

    Args:
        rows: utterances in order within each chapter.
        speakers: speaker of each row.
        numbers: chapter and utterance number of each row.
        random: generator that draws the wrong endings.
    """
    by_speaker: dict[str, dict[str, list[tuple[int, UnitSequence]]]] = defaultdict(lambda: defaultdict(list))
    for row, speaker, (chapter, number) in zip(rows, speakers, numbers, strict=True):
        by_speaker[speaker][chapter].append((number, row))
    clips, stories = [], []
    for speaker, chapters in by_speaker.items():
        for chapter, utterances in chapters.items():
            others = [row for name, rest in chapters.items() if name != chapter for _, row in rest]
            begin = 0
            while others and begin + 5 <= len(utterances):
                if utterances[begin + 4][0] - utterances[begin][0] != 4:
                    begin += 1
                    continue
                context = [row for _, row in utterances[begin : begin + 4]]
                endings = utterances[begin + 4][1], others[int(random.integers(len(others)))]
                begin += 5
                for right, ending in zip((True, False), endings, strict=True):
                    name = f"story/{context[0].id}/{'right' if right else 'wrong'}"
                    units = [unit for row in (*context, ending) for unit in row.units]
                    durations = [duration for row in (*context, ending) for duration in row.durations]
                    stories.append(UnitSequence(name, units, durations, ending.codebook))
                    clips.append(
                        PairClip(id=name, test="stories", pair=context[0].id, kind="topic", voice=speaker, right=right)
                    )
    return clips, stories


def evaluate_systems(
    clips: Sequence[PairClip],
    rows: Sequence[UnitSequence],
    networks: Mapping[str, UnitNetwork],
    train: Sequence[UnitSequence],
    units: UnitSet,
    order: int,
    seed: int,
    should_stop: Callable[[], bool],
) -> list[PairScore]:
    """Score every test set with every system.

    Systems are the networks, the first of them with random weights, a unit n-gram, the length alone and, where known, a
    phone n-gram.

    Raises:
        Interrupted: if ``should_stop`` returns true.
    """
    from speechkit.lm.networks import with_random_weights
    from speechkit.lm.ngram_training import estimate
    from speechkit.lm.sequence_bits import unit_words
    from speechkit.lm.table_model import NgramTable
    from speechkit.lm.unit_costs import network_costs, table_costs
    from speechkit.pipeline import Interrupted

    table = NgramTable(estimate(map(unit_words, train), order)[0], units.clusters)
    scored: dict[str, tuple[dict[str, float], dict[str, float]]] = {}
    untrained = {"random weights": with_random_weights(next(iter(networks.values())), seed)}
    for name, network in {**networks, **untrained}.items():
        scored[name] = sums_and_means(list(network_costs(network, rows)))
        if should_stop():
            raise Interrupted
    scored[f"{order}-gram of units"] = sums_and_means(list(table_costs(table, rows, units)))
    negative_lengths = {row.id: -float(len(row.units)) for row in rows}
    scored["length alone"] = negative_lengths, negative_lengths
    with_phones = [clip for clip in clips if clip.phone_score is not None]
    scored["n-gram of phones"] = (
        {clip.id: float(clip.phone_score or 0) for clip in with_phones},
        {clip.id: float(clip.phone_score or 0) / max(1, clip.phone_count) for clip in with_phones},
    )
    results = []
    for test in dict.fromkeys(clip.test for clip in clips):
        test_clips = [clip for clip in clips if clip.test == test]
        for name, (by_sum, by_mean) in scored.items():
            if any(clip.id in by_sum for clip in test_clips):
                results.append(pair_score(test, name, test_clips, by_sum, by_mean))
    return results


def read_gold(folder: Path, test: str) -> list[tuple[PairClip, Path]]:
    """Clips of an official test set: ``gold.csv`` and the files that it names.

    This is the layout of sWUGGY and sBLIMP in ZeroSpeech 2021. Columns: id, filename, voice, correct; optionally
    frequency, or type and subtype. For a set in another layout, add such a table beside its files.

    Raises:
        UserError: if the table is missing or malformed, or names a file outside the folder, naming the line.
    """
    import csv

    path = folder / GOLD
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}); give the folder of a set with its {GOLD}") from error
    clips = []
    for line, row in enumerate(rows, 2):
        values = {name: (row.get(name) or "").strip() for name in ("id", "filename", "voice", "correct")}
        if missing := [name for name, value in values.items() if not value]:
            raise UserError(f"{path}:{line}: {missing[0]} is empty; give id, filename, voice and correct")
        if values["correct"] not in ("0", "1"):
            raise UserError(f"{path}:{line}: correct is {values['correct']!r}; write 0 or 1")
        kind = "/".join(part for name in ("type", "subtype") if (part := row.get(name) or ""))
        name = values["filename"]
        try:
            audio = inside(folder, name if name.endswith((".wav", ".flac")) else f"{name}.wav")
        except UserError as error:
            raise UserError(f"{path}:{line}: {error}") from error
        clip = PairClip(
            id=f"{test}/{name}", test=test, pair=f"{kind}/{values['id']}",
            kind=kind or f"frequency {row.get('frequency') or '?'}", voice=values["voice"],
            right=values["correct"] == "1", text=row.get("transcription") or row.get("word") or "",
        )  # fmt: skip
        clips.append((clip, audio))
    if not clips:
        raise UserError(f"{path}: holds no clip; get the set again")
    return clips
