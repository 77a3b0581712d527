"""How trained invariant quantizers are read: what a change of unit costs, and less where it often comes.

Changed sound makes a unit look like another that would not stand there in speech; what the units of clean speech follow
one another with takes most of these back, and units need not last longer for it.

Source: Bourlard and Morgan 1994, Connectionist speech recognition, chapter 7: posteriors meet a language model once
what both say of how frequent a unit is has been taken from one of them. Here it is taken from the bigram.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from speechkit.units.invariant.batches import Read
from speechkit.units.invariant.bigram import estimate_bigram
from speechkit.units.invariant.quantizer import InvariantQuantizer
from speechkit.units.invariant.reclustering import Stopped
from speechkit.units.quantizers import assign_together


def read_with(
    made: Sequence[InvariantQuantizer],
    prices: Sequence[float],
    weights: Sequence[float],
    clean: Sequence[str],
    read: Read,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[InvariantQuantizer]:
    """The quantizers at their prices; those with a weight have a bigram of the units that they give clean speech.

    Args:
        made: of one network.
        prices: one for each.
        weights: one for each.
        clean: names of clean features.
        read: features (T, D) by name.
        should_stop: asked before every item.

    Raises:
        Stopped: if it was asked to.
    """
    priced = [each.at_price(price, 0.0) for each, price in zip(made, prices, strict=True)]
    if not any(weights):
        return priced
    by_item = []
    for name in clean:
        if should_stop():
            raise Stopped
        by_item.append(assign_together(priced, read(name)))
    said = zip(*by_item, strict=True)
    return [
        each.with_bigram(estimate_bigram(units, each.num_units), weight) if weight else each
        for each, weight, units in zip(priced, weights, said, strict=True)
    ]
