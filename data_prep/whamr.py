"""WHAMR!: WSJ0-2mix with noise and simulated reverberation.

Layout: ``wav8k/min/{tr,cv,tt}/{mix_both_reverb,mix_clean_anechoic,…}/NAME.wav`` beside ``s1_anechoic``, ``s1_reverb``
and so on, optionally below ``whamr_corpus``. As in the paper, the sources of every mixture are anechoic; a reverberant
mixture has a second split, whose name ends in ``-to_reverb``, with reverberant sources.

Licence: noise CC BY-NC 4.0, speech as WSJ0 (LDC93S6A). Homepage: http://wham.whisper.ai
Citation: Maciejewski, Wichern, McQuinn, Le Roux 2020, WHAMR!: noisy and reverberant single-channel speech separation.
"""

from __future__ import annotations

from pathlib import Path

from .mixture_sets import MixtureSet, mixture_folders, noise_folder, parts_below, source_folders, wsj_corpus

NAMES = ("whamr_corpus", "2speakers_whamr")


def _sets(source: Path) -> list[MixtureSet]:
    sets = []
    for name, part in parts_below(source, NAMES):
        for folder in mixture_folders(part):
            endings = (
                {"_anechoic": "", "_reverb": "-to_reverb"} if folder.name.endswith("_reverb") else {"_anechoic": ""}
            )
            for ending, behind in endings.items():
                sources = source_folders(part, ending)
                active = sources[:1] if folder.name.startswith("mix_single") else sources
                noise = None if folder.name.startswith("mix_clean") else noise_folder(part)
                if sources:
                    sets.append(MixtureSet(f"{name}-{folder.name}{behind}", folder, active, noise))
    return sets


CORPUS = wsj_corpus(
    _sets,
    name="whamr",
    title="WHAMR!",
    licence="noise CC BY-NC 4.0; speech LDC, as WSJ0",
    homepage="http://wham.whisper.ai",
    citation="Maciejewski et al. 2020",
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
