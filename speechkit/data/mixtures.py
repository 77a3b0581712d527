"""Speech mixtures and their sources in manifest rows."""

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
    """Components of a mixture; lists have one entry per source, in the same order.

    Attributes:
        sources: source paths, relative to the folder of the mixture's audio, so that manifests can be moved.
        speakers: speaker names.
        gains: factors applied to the recordings to obtain the stored sources.
        noise: path of the noise, also relative to that folder.
        texts: transcripts of the sources.
        overlap: fraction of the mixture in which two or more speakers are active.
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
                raise ValueError(f"{len(self.sources)} sources have {len(values)} {name}; give one for each source")


def mixture_of(row: Utterance, manifest: Path | str) -> Mixture:
    """The mixture of a manifest row.

    Raises:
        UserError: if the row has none, or an invalid one.
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
    """The row with ``mixture`` stored in it."""
    return msgspec.structs.replace(row, custom={**(row.custom or {}), FIELD: msgspec.to_builtins(mixture)})


def source_paths(row: Utterance, manifest: Path | str) -> list[Path]:
    """Paths of the source files of a manifest row."""
    folder = audio_path(manifest, row).parent
    return [folder / source for source in mixture_of(row, manifest).sources]


def read_sources(row: Utterance, manifest: Path | str, sample_rate: int) -> list[Float]:
    """Read the sources (S,) of a row at ``sample_rate``, time-aligned with its mixture and of equal length.

    Raises:
        UserError: if the row has none.
        AudioError: if one cannot be read, has another sample rate, or ends before the mixture does.
    """
    waveforms = []
    for path in source_paths(row, manifest):
        header = audio_info(path)
        if header.sample_rate != row.sample_rate:
            raise AudioError(
                f"{path}: has {header.sample_rate} Hz, but its mixture {row.sample_rate} Hz; give both the same rate"
            )
        waveforms.append(read_cut(path, row, sample_rate=sample_rate))
    return waveforms
