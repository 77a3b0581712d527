"""Prepare manifests from public corpora as downloaded: one module per corpus.

`load_corpus` looks up a module by corpus name; ``python -m data_prep.librispeech SRC OUT`` and
``speechkit prepare librispeech SRC --out OUT`` run it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .corpus import Corpus

CORPORA = (
    "librispeech",
    "ljspeech",
    "common_voice",
    "speechocean762",
    "shrutilipi",
    "fleurs",
    "kathbath",
    "mucs",
    "aishell1",
    "tedlium3",
    "earnings21",
    "earnings22",
    "slue_voxpopuli",
    "slue_voxceleb",
    "slue_hvb",
    "slue_sqa_5",
    "slue_ted",
    "slue_vp_nel",
    "librimix",
    "wsj0_mix",
    "wham",
    "whamr",
    "mixture_folder",
    "audio_text_folder",
    "audio_labels",
    "recordings_documents",
)


def load_corpus(name: str) -> Corpus:
    """Look up a corpus by name; ``-`` and ``_`` are equivalent.

    Raises:
        UserError: if there is no such corpus, with the known names.
    """
    from speechkit.errors import UserError

    known = name.replace("-", "_").lower()
    if known not in CORPORA:
        raise UserError(f"corpus {name!r} is not known; choose one of {', '.join(CORPORA)}")
    corpus: Corpus = importlib.import_module(f".{known}", __name__).CORPUS
    return corpus
