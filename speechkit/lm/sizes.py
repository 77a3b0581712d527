"""Model sizes of unit models, up to those published (GSLM, TWIST, Slam). Imports no torch at module level."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from speechkit.errors import ConfigError

if TYPE_CHECKING:
    from speechkit.nn.sequence.stack import LayerConfig, StackConfig

Size = Literal["tiny", "small", "base"]
SHAPES: dict[Size, tuple[int, int, int, int]] = {
    "tiny": (5, 160, 4, 432),
    "small": (8, 320, 5, 864),
    "base": (18, 768, 12, 2048),
}
"""Layers, width, heads and feed-forward width; with attention 1.6, 10 and 128 million weights, embeddings apart."""


def sized_stack(size: Size, layer: str = "attention", layers: int = 0, dropout: float = 0.0) -> StackConfig:
    """Stack of a named size with one kind of layer; ``layers`` overrides the size's depth unless it is 0.

    Raises:
        ConfigError: if there is no layer of that name.
    """
    from speechkit.nn.sequence.stack import StackConfig

    count, width, heads, feed_width = SHAPES[size]
    return StackConfig(
        layers=(named_layer(layer, heads),) * (layers or count), width=width, feed_width=feed_width, dropout=dropout
    )


def named_layer(name: str, heads: int) -> LayerConfig:
    """Layer configuration by name (``lstm``, ``gru`` or a mixer's name) with default sizes.

    Raises:
        ConfigError: if there is no layer of that name.
    """
    from speechkit.nn.sequence.gated_recurrent import RecurrentConfig
    from speechkit.nn.sequence.stack import MIXERS

    kinds = {str(kind.__struct_config__.tag): kind for kind in MIXERS if kind is not RecurrentConfig}
    if name in ("lstm", "gru"):
        return RecurrentConfig(kind=name)  # type: ignore[arg-type]
    if name not in kinds:
        raise ConfigError(f"layer is {name!r}; choose {', '.join(sorted([*kinds, 'lstm', 'gru']))}")
    kind = kinds[name]
    made: LayerConfig = kind(heads=heads) if "heads" in kind.__struct_fields__ else kind()  # type: ignore[call-arg, assignment]
    return made
