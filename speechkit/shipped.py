"""Python outside this package that is loaded by path: shipped recipes and corpora, and users' own recipes.

In a checkout ``recipes/`` and ``data_prep/`` lie beside the package, in a wheel inside it as ``_recipes`` and
``_data_prep``. Nothing here is found through ``sys.path``: a folder of the same name elsewhere is never taken for it.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

PREFIX = "speechkit_folder_"


def shipped_folder(name: str) -> Path:
    """The folder ``recipes`` or ``data_prep`` that belongs to this very package."""
    package = Path(__file__).resolve().parent
    inside = package / f"_{name}"
    return inside if inside.is_dir() else package.parent / name


def load_module(folder: Path, name: str = "") -> ModuleType:
    """Import ``folder/name.py``, or the folder itself, as part of a package whose name is the same in every process.

    The folder becomes a package with or without an ``__init__.py``: its modules import one another, and those of the
    folders beside it, by relative imports. The name depends on the folder's path alone.

    Raises:
        ImportError: if there is no such module.
    """
    folder = folder.resolve()
    outer = PREFIX + hashlib.blake2b(str(folder.parent).encode(), digest_size=6).hexdigest()
    _package(outer, folder.parent)
    part = folder.name.replace(".", "_") or "root"
    inner = f"{outer}.{part}"
    if part != folder.name:  # which the import system would not find by this name
        _package(inner, folder)
    full = f"{inner}.{name}" if name else inner
    if full not in sys.modules:
        importlib.invalidate_caches()  # the folder may be younger than what the import system remembers
    return importlib.import_module(full)


def _package(name: str, folder: Path) -> None:
    if name not in sys.modules:
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        sys.modules[name] = module_from_spec(spec)


def folder_of(module: str) -> Path | None:
    """The folder from which `load_module` took a module of that name; None for any other module."""
    if not module.startswith(PREFIX):
        return None
    return Path(sys.modules[".".join(module.split(".")[:2])].__path__[0])


class LoadFirst:
    """Pickles as the import of a function's module, wherever `load_module` took it from.

    A spawned process finds classes and functions by the names of their modules, which it has not loaded yet. Put this
    before them among the arguments of a process.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        self._module = function.__module__

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        folder = folder_of(self._module)
        return (bool, ()) if folder is None else (load_module, (folder, self._module.split(".", 2)[2]))


def call(_: LoadFirst, function: Callable[..., object], *arguments: object) -> None:
    """Call a function of a recipe: what a process pool may be given as its initializer."""
    function(*arguments)
