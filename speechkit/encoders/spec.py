"""Specification of an encoder, which codebooks, segmenters and probes must match."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from speechkit.errors import UserError
from speechkit.io.layout import MAX_SAMPLE_RATE

STOCK = ", stock padding"
"""Suffix of ``normalization`` in old specs of ``compat`` encoders."""

MAX_WIDTH = 1 << 20
"""Upper bound of the frame width, to limit memory for hostile files."""


class EncoderSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An encoder and one of its layers.

    Attributes:
        model: family and name, for display.
        weights: digest of all weights and settings; features of one digest are comparable.
        layer: "0" to the number of layers (0 is the input of the first), or "weighted:DIGEST" of a weighted sum; of a
            store of several layers see `layers_spec`.
        normalization: normalisation of the input waveform.
        dim: width of a frame.
        sample_rate: in hertz.
        hop: samples from one frame to the next.
        compat: whether frames are on the grid of stock transformers; omitted if false.
    """

    model: str
    weights: str
    layer: str
    normalization: str
    dim: Annotated[int, msgspec.Meta(ge=1, le=MAX_WIDTH)]
    sample_rate: Annotated[int, msgspec.Meta(ge=1, le=MAX_SAMPLE_RATE)] = 16_000
    hop: Annotated[int, msgspec.Meta(ge=1, le=MAX_SAMPLE_RATE)] = 320
    compat: bool | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        compat = bool(self.compat) or self.normalization.endswith(STOCK)
        msgspec.structs.force_setattr(self, "compat", compat or msgspec.UNSET)
        msgspec.structs.force_setattr(self, "normalization", self.normalization.removesuffix(STOCK))

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop

    def require_rates(self, what: str, frame_rate: float | None = None, sample_rate: int = 16_000) -> None:
        """Check that the encoder has supported rates.

        Args:
            what: consumer of the frames, such as "segmenters".
            frame_rate: frames per second; None: any.
            sample_rate: of the input audio.

        Raises:
            UserError: naming both rates.
        """
        if self.sample_rate != sample_rate:
            raise UserError(
                f"{self.model} takes audio at {self.sample_rate} Hz and {what} use {sample_rate} Hz; choose another"
            )
        if frame_rate is not None and self.frame_rate != frame_rate:
            raise UserError(
                f"{self.model} gives {self.frame_rate:g} frames per second and {what} need {frame_rate:g}; choose "
                "another encoder"
            )

    def require(self, other: EncoderSpec, what: str) -> None:
        """Check that features are of this encoder and layer.

        Args:
            other: spec of the given features.
            what: artefact made from features of this encoder, such as "the codebook units.safetensors".

        Raises:
            UserError: naming both encoders, and the first difference.
        """
        for field in ("weights", "layer", "normalization", "compat", "dim", "sample_rate", "hop"):
            expected, actual = getattr(self, field) or False, getattr(other, field) or False
            if expected != actual:
                raise UserError(
                    f"{what} was made with {self.model} layer {self.layer}, the features come from {other.model} layer "
                    f"{other.layer}: {field} is {expected!r} there and {actual!r} here; "
                    "use features of the same encoder"
                )


def layers_spec(spec: EncoderSpec, layers: Sequence[int]) -> EncoderSpec:
    """The spec of a store with these layers of an encoder; ``spec`` is of any layer."""
    first = list(layers) == list(range(len(layers)))
    return msgspec.structs.replace(
        spec, layer=f"all:{len(layers)}" if first else ",".join(map(str, layers)), dim=len(layers) * spec.dim
    )


def stored_layers(spec: EncoderSpec) -> tuple[int, ...]:
    """The layers of a store with this spec; none for a weighted sum."""
    kind, _, count = spec.layer.partition(":")
    if kind == "all" and count.isdigit():
        return tuple(range(int(count)))
    numbers = spec.layer.split(",")
    return tuple(map(int, numbers)) if all(number.isdigit() for number in numbers) else ()
