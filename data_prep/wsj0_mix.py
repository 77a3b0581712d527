"""WSJ0-2mix and WSJ0-3mix: mixtures of two or three readers of the Wall Street Journal corpus, with their sources.

Layout: ``2speakers/wav8k/min/{tr,cv,tt}/{mix,s1,s2}/<utterance>_<dB>_<utterance>_<dB>.wav``, ``3speakers`` with ``s3``.
The three parts have the names of the scripts that made them: training, validation (of the same speakers) and test.

Licence: that of WSJ0 (LDC93S6A); the mixtures are made at home. Homepage:
https://www.merl.com/research/highlights/deep-clustering
Citation: Hershey, Chen, Le Roux, Watanabe 2016, Deep clustering: discriminative embeddings for segmentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .corpus import Corpus, Item, Request
from .mixture_sets import MixtureSet, chosen, mixture_folders, parts_below, read_set, source_folders, wsj_speakers

NAMES = ("2speakers", "3speakers")


def splits(request: Request) -> list[str]:
    """Every number of speakers, rate, length and part that is there."""
    return [each.name for each in _sets(request.source)]


def read(request: Request, split: str) -> Iterator[Item]:
    """Mixtures sorted by file name."""
    yield from read_set(chosen(_sets(request.source), split), wsj_speakers)


def _sets(source: Path) -> list[MixtureSet]:
    return [
        MixtureSet(f"{name}-{folder.name}", folder, source_folders(part))
        for name, part in parts_below(source, NAMES)
        for folder in mixture_folders(part)
    ]


CORPUS = Corpus(
    name="wsj0_mix",
    title="WSJ0-2mix and WSJ0-3mix",
    licence="LDC, as WSJ0",
    homepage="https://www.merl.com/research/highlights/deep-clustering",
    citation="Hershey et al. 2016",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
