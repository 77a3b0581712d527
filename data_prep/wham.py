"""WHAM!: WSJ0-2mix with ambient noise from cafes, bars and streets.

Layout: ``wav8k/min/{tr,cv,tt}/{mix_clean,mix_both,mix_single,s1,s2,noise}/<utterance>_<dB>_<utterance>_<dB>.wav``,
optionally below ``2speakers_wham`` or ``wham_corpus``. ``mix_both`` has two speakers and noise, ``mix_single`` one.

Licence: noise CC BY-NC 4.0, speech as WSJ0 (LDC93S6A). Homepage: http://wham.whisper.ai
Citation: Wichern et al. 2019, WHAM!: extending speech separation to noisy environments.
"""

from __future__ import annotations

from functools import partial

from .mixture_sets import sets_below, wsj_corpus

NAMES = ("2speakers_wham", "wham_corpus")

CORPUS = wsj_corpus(
    partial(sets_below, roots=NAMES),
    name="wham",
    title="WHAM!",
    licence="noise CC BY-NC 4.0; speech LDC, as WSJ0",
    homepage="http://wham.whisper.ai",
    citation="Wichern et al. 2019",
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
