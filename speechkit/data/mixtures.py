"""Mixtures of speakers and their sources in manifest rows."""

from __future__ import annotations

from pathlib import Path

import msgspec

from speechkit.data.audio import read_cut
from speechkit.data.manifest import audio_path
from speechkit.data.records import Utterance
from speechkit.errors import AudioError, UserError
from speechkit.io.arrays import Float
from speechkit.io.audio import audio_info

FIELD = "mixture"
"""The key in ``custom``."""


class Mixture(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The components of a mixture; lists have an entry per source, in the same order.

    Attributes:
        sources: paths, relative to the folder of the mixture's own audio, so that manifests may move.
        speakers: names.
        gains: factors applied to the recordings to obtain the stored sources.
        noise: path of the noise, relative likewise.
        texts: of the sources.
        overlap: share of the mixture with two or more speakers.
    """

    sources: list[str]
    speakers: list[str] | None = None
    gains: list[float] | None = None
    noise: str | None = None
    texts: list[str] | None = None
    overlap: float | None = None

    def __post_init__(self) -> None:
        for name in ("speakers", "gains", "texts"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.sources):
                raise ValueError(f"{len(self.sources)} sources and {len(values)} {name}; give one for each source")


def mixture_of(row: Utterance, manifest: Path | str) -> Mixture:
    """The sources of a row of a manifest.

    Raises:
        UserError: if the row has none, or invalid ones.
    """
    try:
        return msgspec.convert((row.custom or {})[FIELD], Mixture)
    except KeyError:
        raise UserError(
            f"{manifest}: {row.id!r} has no custom.{FIELD} with its sources; give a manifest of mixtures"
        ) from None
    except msgspec.ValidationError as error:
        raise UserError(f"{manifest}: custom.{FIELD} of {row.id!r} cannot be used ({error}); fix the row") from error


def with_mixture(row: Utterance, mixture: Mixture) -> Utterance:
    """The row with its sources."""
    return msgspec.structs.replace(row, custom={**(row.custom or {}), FIELD: msgspec.to_builtins(mixture)})


def source_paths(row: Utterance, manifest: Path | str) -> list[Path]:
    """Files of the sources of a row of a manifest."""
    folder = audio_path(manifest, row).parent
    return [folder / source for source in mixture_of(row, manifest).sources]


def read_sources(row: Utterance, manifest: Path | str, sample_rate: int) -> list[Float]:
    """The sources (S,) of a row at ``sample_rate``, of the same part and length as its mixture.

    Raises:
        UserError: if the row has none.
        AudioError: if one cannot be read, has another sample rate, or ends before the mixture does.
    """
    waveforms = []
    for path in source_paths(row, manifest):
        own = audio_info(path)
        if own.sample_rate != row.sample_rate:
            raise AudioError(
                f"{path}: has {own.sample_rate} Hz and its mixture {row.sample_rate} Hz; give both of one rate"
            )
        waveforms.append(read_cut(path, row, sample_rate=sample_rate))
    return waveforms
