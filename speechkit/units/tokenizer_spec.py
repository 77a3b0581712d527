"""Identity of a tokenizer, stored beside every manifest of its units."""

from __future__ import annotations

import msgspec

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError
from speechkit.io.hashing import digest_obj


class TokenizerSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Identity of a tokenizer, for compatibility checks.

    Attributes:
        name: display name.
        quantizer: kind of quantizer.
        encoder: encoder, layer, grid and hop of the frames.
        codebooks: digests of the codebooks; several for a stacked quantizer.
        clusters: number of units of each codebook.
        deduplicated: whether runs of a unit are merged, with durations.
        bpe: digest of the acoustic BPE merges, if any.
        tokens: number of acoustic BPE tokens.
    """

    name: str
    quantizer: str
    encoder: EncoderSpec
    codebooks: list[str]
    clusters: list[int]
    deduplicated: bool = True
    bpe: str | None = None
    tokens: int | None = None

    @property
    def digest(self) -> str:
        """Digest of the merges, the codebook, or all codebooks; units with the same digest are comparable."""
        if self.bpe is not None:
            return self.bpe
        return self.codebooks[0] if len(self.codebooks) == 1 else digest_obj(self.codebooks)

    @property
    def num_units(self) -> int:
        """Vocabulary size; units of several codebooks are numbered consecutively."""
        return self.tokens if self.tokens is not None else sum(self.clusters)

    @property
    def frames_per_second(self) -> float:
        """Frame rate of the encoder."""
        return self.encoder.frame_rate

    def require(self, other: TokenizerSpec, what: str) -> None:
        """Reject units of another tokenizer.

        Raises:
            UserError: naming the first thing that differs.
        """
        self.encoder.require(other.encoder, what)
        if self.digest != other.digest:
            raise UserError(
                f"{what} has a vocabulary of {self.num_units} units ({self.digest[:12]}), the units one of "
                f"{other.num_units} ({other.digest[:12]}); encode the speech again with {self.name}"
            )
