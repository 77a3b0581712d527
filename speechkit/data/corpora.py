"""Prepare manifests of public corpora from Python; ``data_prep/`` has one module per corpus."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from speechkit.shipped import load_module, shipped_folder


def corpora_module(name: str = "") -> ModuleType:
    """Import a module of ``data_prep/``, or the package itself."""
    return load_module(shipped_folder("data_prep"), name)


def load_corpus(name: str) -> Any:
    """Look up a corpus by name, for `prepare`; ``-`` and ``_`` are equivalent.

    Raises:
        UserError: if there is no such corpus, with the known names.
    """
    return corpora_module().load_corpus(name)


def prepare(corpus: Any, *arguments: Any, **settings: Any) -> Any:
    """Write one manifest per split of a corpus; arguments and result as ``prepare`` of ``data_prep/driver.py``."""
    return corpora_module("driver").prepare(corpus, *arguments, **settings)
