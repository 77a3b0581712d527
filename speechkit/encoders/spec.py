"""What a codebook, a segmenter or a probe must agree with: the encoder that its features came from."""

from __future__ import annotations

import msgspec

from speechkit.errors import UserError

SAMPLE_RATE = 16_000
HOP_SAMPLES = 320


class EncoderSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An encoder and the layer that was taken from it.

    Attributes:
        model: family and name, for people.
        weights: digest of all weights and settings; features of one digest are comparable.
        layer: "0" to the number of layers (0 is the input of the first), or "weighted:DIGEST" of a weighted sum.
        normalization: what is done to a waveform before it enters.
        dim: width of a frame.
        sample_rate: in hertz.
        hop: samples from one frame to the next.
    """

    model: str
    weights: str
    layer: str
    normalization: str
    dim: int
    sample_rate: int = SAMPLE_RATE
    hop: int = HOP_SAMPLES

    def require(self, other: EncoderSpec, what: str) -> None:
        """Refuse features of another encoder.

        Args:
            other: where the features at hand came from.
            what: what was made from features of this encoder, as "the codebook units.safetensors".

        Raises:
            UserError: naming both sides, and the first field that differs.
        """
        for field in ("weights", "layer", "normalization", "dim", "sample_rate", "hop"):
            wanted, found = getattr(self, field), getattr(other, field)
            if wanted != found:
                raise UserError(
                    f"{what} was made with {self.model} layer {self.layer}, the features come from {other.model} layer "
                    f"{other.layer}: {field} is {wanted!r} there and {found!r} here; use features of the same encoder"
                )
