"""Thresholds of the segmenters, estimated from the data and stored with the encoder that they belong to."""

from __future__ import annotations

from pathlib import Path

import msgspec

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError
from speechkit.io.atomic import write_json


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where speech begins and a syllable ends, for the frames of one encoder.

    Attributes:
        encoder: that the frames came from; constants do not carry over to another.
        norm: a frame of at least this L2 norm is speech.
        merge: a frame with at least this cosine to a segment's mean belongs to it; -1 to 1.
        penalty: what a further segment costs in `DynamicSegmenter`, in units of squared norm; None if not estimated.
        norm_separation: how far apart the two kinds of norms lie, in deviations; under 2 the kinds overlap.
        merge_separation: the same of the cosines.
        frames: how many the estimate rests on.
    """

    encoder: EncoderSpec
    norm: float
    merge: float
    penalty: float | None = None
    norm_separation: float | None = None
    merge_separation: float | None = None
    frames: int = 0

    def save(self, path: str | Path) -> None:
        """Write JSON."""
        write_json(path, self)

    @classmethod
    def load(cls, path: str | Path, encoder: EncoderSpec | None = None) -> Thresholds:
        """Read what `save` wrote, for features of ``encoder``.

        Raises:
            UserError: if the file is missing or something else, or belongs to another encoder.
        """
        try:
            found = msgspec.json.decode(Path(path).read_bytes(), type=cls)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read ({error.strerror}); write it with speechkit syllables thresholds"
            ) from error
        except msgspec.DecodeError as error:
            raise UserError(f"{path}: holds no thresholds ({error}); write it again") from error
        if encoder is not None:
            found.encoder.require(encoder, f"the thresholds {path}")
        return found
