"""Public corpora as downloaded, turned into manifests, from Python; ``data_prep/`` has one module per corpus."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from speechkit.shipped import load_module, shipped_folder


def corpora_module(name: str = "") -> ModuleType:
    """A module of ``data_prep/``, or that package itself."""
    return load_module(shipped_folder("data_prep"), name)


def load_corpus(name: str) -> Any:
    """The corpus of that name, for `prepare`; ``-`` and ``_`` are the same.

    Raises:
        UserError: if there is no such corpus, known names are listed.
    """
    return corpora_module().load_corpus(name)


def prepare(corpus: Any, *arguments: Any, **settings: Any) -> Any:
    """Write one manifest per split of a corpus; arguments and result are those of ``data_prep/driver.py``."""
    return corpora_module("driver").prepare(corpus, *arguments, **settings)
