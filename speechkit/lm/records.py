"""Records that the stages of the recipe `unit_lm` exchange. Torch-free."""

from __future__ import annotations

import msgspec

from speechkit.lm.analysis.degeneration import Degeneration
from speechkit.lm.unit_costs import CostSummary, SequenceCost
from speechkit.metrics.bootstrap import Interval
from speechkit.units.acoustic_bpe import AcousticBpe
from speechkit.units.quantizers import UnitSet

PROTOCOL = (
    "Bits are summed over all units of the test recordings, each predicted from those before it in its recording, and "
    "over the end of each recording; the first unit follows the boundary. A network sees at least half its context "
    "before a unit, where the recording has as much. Seconds are those of the frames that the units cover. With "
    "durations: p(durations | units) is added. "
    "Intervals: 95 %, bootstrap over speakers where they are known, else over recordings."
)


class TokenSpec(msgspec.Struct, frozen=True):
    """The tokens that a model is trained on.

    Attributes:
        tokens: token set.
        units: underlying unit set; the same where there are no merges.
        merges: acoustic BPE merges, if any.
    """

    tokens: UnitSet
    units: UnitSet
    merges: AcousticBpe | None = None


class Saving(msgspec.Struct, frozen=True):
    """Relative reduction in bits of the unit model against another model on the same recordings.

    Attributes:
        other: name of the other model.
        share: saved share of its bits, 0 to 1; negative if the other model is better.
        interval: paired confidence interval.
    """

    other: str
    share: float
    interval: Interval


class Costs(msgspec.Struct, frozen=True):
    """Test costs per model (see `UnitLmReport`), and per recording and model."""

    systems: list[CostSummary]
    savings: list[Saving]
    entropy_bits_per_second: float
    recordings: dict[str, list[SequenceCost]]


class Continued(msgspec.Struct, frozen=True):
    """Statistics of continuations beside those of the true speech.

    Attributes:
        test: statistics of the true continuation, of the maximum length of a generated one.
        continued: statistics of the generated continuations.
        prompt_seconds: length of each prompt.
    """

    test: Degeneration
    continued: Degeneration
    prompt_seconds: float


class UnitLmReport(msgspec.Struct, frozen=True):
    """Results of the recipe.

    Attributes:
        systems: bits per second of each model, the unit model last.
        savings: of the unit model against each other model.
        entropy_bits_per_second: unigram entropy of the test times units per second: lower bound for any model that
        ignores context.
        continuations: degeneration statistics.
        protocol: how bits are computed.
    """

    systems: list[CostSummary]
    savings: list[Saving]
    entropy_bits_per_second: float
    continuations: Continued
    protocol: str = PROTOCOL
