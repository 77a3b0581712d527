"""Any folder of mixtures with sources, in one of three layouts.

    flat                 NAME_mix.wav, NAME_source1.wav, NAME_source2.wav
    a folder a speaker   mix/NAME.wav, s1/NAME.wav, s2/NAME.wav
    a folder a mixture   NAME/mix.wav, NAME/s1.wav, NAME/s2.wav

`speechkit.data.track_folders` documents the accepted names. Source files may be peak-normalised, so that the mixture is
not their sum: gains are unknown, and SI-SDR does not need them.
"""

from __future__ import annotations

from collections.abc import Iterator

from speechkit.data.mixtures import Mixture
from speechkit.data.track_folders import find_tracks
from speechkit.io.paths import safe_id

from .corpus import Clip, Corpus, Item, LeftOut, Request


def splits(request: Request) -> list[str]:
    """A single split, ``all``."""
    find_tracks(request.source)
    return ["all"]


def read(request: Request, split: str) -> Iterator[Item]:
    """Mixtures sorted by name; those without sources, and sources without a mixture, are left out."""
    for name, tracks in find_tracks(request.source).items():
        if tracks.mixture is None:
            yield LeftOut(name, "audio_missing", f"{request.source}: {name!r} has no mixture, only its sources")
        elif not tracks.sources:
            yield LeftOut(name, "audio_missing", f"{tracks.mixture}: has no sources beside it")
        else:
            sources = [str(path) for path in tracks.numbered()]
            noise = None if tracks.noise is None else str(tracks.noise)
            mixture = Mixture(sources=sources, noise=noise)
            yield Clip(safe_id(name), tracks.mixture, None, lang=request.lang, mixture=mixture)


CORPUS = Corpus(
    name="mixture_folder",
    title="a folder of mixtures with their sources",
    licence="that of its files",
    homepage="none",
    citation="its makers",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
