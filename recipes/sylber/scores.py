"""Every system's boundaries and tokens against the silver syllables: the work of stage 9."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
import numpy as np

from speechkit.data.records import Utterance
from speechkit.io.atomic import write_json
from speechkit.pipeline import Context
from speechkit.syllables.evaluation import PROTOCOLS, Evaluation, score, tune_shift
from speechkit.syllables.purity import Labelled, Purity, purity
from speechkit.syllables.segments import HOP_SECONDS

from .systems import Choice, Segmented, seconds_of, truth_times
from .tokens import TokenReport, TokenRow


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


def score_systems(context: Context) -> None:
    """Score all systems of stage 7, and the tokens of stage 8."""
    config = context.config
    rows: dict[str, Utterance] = {row.id: row for row in context.read("silver")}
    choices = msgspec.json.decode(context.inputs["choices"].read_bytes(), type=list[Choice])
    found, tuned = _by_system(context, "segments"), _by_system(context, "tuning")
    systems = []
    for choice in choices:
        mine = found[choice.system]
        owners = [rows[one.id].speaker or one.id for one in mine]
        shift = tune_shift(
            [_pair(rows, one) for one in tuned[choice.system]], tolerance_seconds=config.tolerance_seconds
        )
        evaluations = [
            score(
                [_pair(rows, one) for one in mine],
                protocol,
                tolerance_seconds=config.tolerance_seconds,
                shift_seconds=moved,
                groups=owners if len(set(owners)) > 5 else None,
                names=[one.id for one in mine],
                resamples=config.resamples,
                seed=context.seed % 2**32,
            )
            for protocol, moved in (*((protocol, 0.0) for protocol in PROTOCOLS), ("sdhubert", shift))
        ]
        seconds = sum(rows[one.id].duration for one in mine)
        count = sum(len(one.spans) for one in mine)
        systems.append(SystemScores(choice.system, choice.settings, count / seconds, shift, evaluations))
        plain = evaluations[PROTOCOLS.index("plain")].boundaries
        context.say(f"{choice.system}: F1 {plain['f1'].value:.3f}, R-value {plain['r_value'].value:.3f} (plain)")
    tokens = msgspec.json.decode(context.inputs["rates"].read_bytes(), type=TokenReport)
    judged = [one.id for one in found[choices[0].system]]
    truth = sum(len((rows[name].alignment or {})["syllable"]) for name in judged)
    write_json(
        context.output("scores.json"),
        Scores(
            len(judged),
            truth / sum(rows[name].duration for name in judged),
            systems,
            tokens,
            _purities(context, rows, tokens.clusters),
        ),
    )


def _by_system(context: Context, name: str) -> dict[str, list[Segmented]]:
    systems: dict[str, list[Segmented]] = defaultdict(list)
    for one in context.read(name):
        systems[one.system].append(one)
    return systems


def _pair(rows: dict[str, Utterance], one: Segmented) -> tuple[Any, Any]:
    return truth_times((rows[one.id].alignment or {})["syllable"]), seconds_of(one.spans)


def _purities(context: Context, rows: dict[str, Utterance], silence: int) -> list[Purity]:
    items, names = [], []
    for row in context.read("tokens"):
        assert isinstance(row, TokenRow)
        spoken = [token for token in row.tokens if token.token != silence]
        tier = (rows[row.id].alignment or {})["syllable"]
        times = np.array([(token.start, token.end) for token in spoken], np.float64).reshape(-1, 2) * HOP_SECONDS
        items.append(
            Labelled(
                truth_times(tier), [item.symbol.replace("-", " ") for item in tier], times, [t.token for t in spoken]
            )
        )
        names.append(row.id)
    return [purity(items, pairing, names=names) for pairing in ("hungarian", "overlap")]
