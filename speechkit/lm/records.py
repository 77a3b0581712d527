"""What the recipe `unit_lm` hands from stage to stage. Torch-free."""

from __future__ import annotations

import msgspec

from speechkit.lm.analysis.degeneration import Degeneration
from speechkit.lm.unit_costs import CostSummary, SequenceCost
from speechkit.metrics.bootstrap import Interval
from speechkit.units.acoustic_bpe import AcousticBpe
from speechkit.units.quantizers import UnitSet

PROTOCOL = (
    "Bits are sums over all units of the test recordings, each foreseen from those before it in its recording, and "
    "over the end of each recording; the first follows the boundary. A network sees at least half its context before "
    "a unit, if there is so much. "
    "Seconds are those of the frames that the units stand for. With durations: p(durations | units) is added. "
    "Intervals: 95 %, bootstrap over speakers where they are named, else over recordings."
)


class TokenSpec(msgspec.Struct, frozen=True):
    """The tokens that a model learns.

    Attributes:
        tokens: themselves.
        units: that they stand for; the same without merges.
        merges: of acoustic BPE, if any.
    """

    tokens: UnitSet
    units: UnitSet
    merges: AcousticBpe | None = None


class Saving(msgspec.Struct, frozen=True):
    """How many of another model's bits the unit model saves on the same recordings.

    Attributes:
        other: its name.
        share: of its bits, 0 to 1; negative if it is better.
        interval: paired.
    """

    other: str
    share: float
    interval: Interval


class Costs(msgspec.Struct, frozen=True):
    """What the test costs by each model; see `UnitLmReport`, and each recording by each."""

    systems: list[CostSummary]
    savings: list[Saving]
    entropy_bits_per_second: float
    recordings: dict[str, list[SequenceCost]]


class Continued(msgspec.Struct, frozen=True):
    """Continuations beside what was really said.

    Attributes:
        test: figures of the same stretch of the recordings, as long as a continuation may be.
        continued: figures of the continuations.
        prompt_seconds: that each follows.
    """

    test: Degeneration
    continued: Degeneration
    prompt_seconds: float


class UnitLmReport(msgspec.Struct, frozen=True):
    """What was measured.

    Attributes:
        systems: by bits a second, those of the unit model last.
        savings: of the unit model, against each other one.
        entropy_bits_per_second: unigram entropy of the test itself times units a second: what no model that ignores
            what came before could go below.
        continuations: how they degenerate.
        protocol: how bits are counted.
    """

    systems: list[CostSummary]
    savings: list[Saving]
    entropy_bits_per_second: float
    continuations: Continued
    protocol: str = PROTOCOL
