"""WHAM!: WSJ0-2mix with noise of cafes, bars and streets.

Layout: ``wav8k/min/{tr,cv,tt}/{mix_clean,mix_both,mix_single,s1,s2,noise}/<utterance>_<dB>_<utterance>_<dB>.wav``,
perhaps below ``2speakers_wham`` or ``wham_corpus``. ``mix_both`` has two speakers and noise, ``mix_single`` one.

Licence: noise CC BY-NC 4.0, speech as WSJ0 (LDC93S6A). Homepage: http://wham.whisper.ai
Citation: Wichern et al. 2019, WHAM!: extending speech separation to noisy environments.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .corpus import Corpus, Item, Request
from .mixture_sets import (
    MixtureSet,
    chosen,
    mixture_folders,
    noise_folder,
    parts_below,
    read_set,
    source_folders,
    wsj_speakers,
)

NAMES = ("2speakers_wham", "wham_corpus")


def splits(request: Request) -> list[str]:
    """Every rate, length, part and kind of mixture that is there."""
    return [each.name for each in _sets(request.source)]


def read(request: Request, split: str) -> Iterator[Item]:
    """Mixtures sorted by file name."""
    yield from read_set(chosen(_sets(request.source), split), wsj_speakers)


def _sets(source: Path) -> list[MixtureSet]:
    found = []
    for name, part in parts_below(source, NAMES):
        sources = source_folders(part)
        for folder in mixture_folders(part):
            heard = sources[:1] if folder.name == "mix_single" else sources
            noise = None if folder.name == "mix_clean" else noise_folder(part)
            found.append(MixtureSet(f"{name}-{folder.name}", folder, heard, noise))
    return found


CORPUS = Corpus(
    name="wham",
    title="WHAM!",
    licence="noise CC BY-NC 4.0; speech LDC, as WSJ0",
    homepage="http://wham.whisper.ai",
    citation="Wichern et al. 2019",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
