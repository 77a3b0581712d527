"""WSJ0-2mix and WSJ0-3mix: mixtures of two or three speakers of the Wall Street Journal corpus, with sources.

Layout: ``2speakers/wav8k/min/{tr,cv,tt}/{mix,s1,s2}/<utterance>_<dB>_<utterance>_<dB>.wav``, ``3speakers`` with ``s3``.
The parts are named as in the scripts that generated them: training, validation (the same speakers) and test.

Licence: that of WSJ0 (LDC93S6A); the mixtures are generated locally. Homepage:
https://www.merl.com/research/highlights/deep-clustering
Citation: Hershey, Chen, Le Roux, Watanabe 2016, Deep clustering: discriminative embeddings for segmentation.
"""

from __future__ import annotations

from functools import partial

from .mixture_sets import sets_below, wsj_corpus

NAMES = ("2speakers", "3speakers")

CORPUS = wsj_corpus(
    partial(sets_below, roots=NAMES),
    name="wsj0_mix",
    title="WSJ0-2mix and WSJ0-3mix",
    licence="LDC, as WSJ0",
    homepage="https://www.merl.com/research/highlights/deep-clustering",
    citation="Hershey et al. 2016",
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
