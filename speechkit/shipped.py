"""Python outside this package that is loaded by path: shipped recipes and corpora, and users' own recipes.

In a checkout ``recipes/`` and ``data_prep/`` are next to the package, in a wheel inside it as ``_recipes`` and
``_data_prep``. ``sys.path`` is not searched, so that a folder of the same name elsewhere is never used instead.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable
from functools import partial
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

from speechkit.errors import UserError

PREFIX = "speechkit_folder_"


def shipped_folder(name: str) -> Path:
    """The folder ``recipes`` or ``data_prep`` of this installation."""
    package = Path(__file__).resolve().parent
    inside = package / f"_{name}"
    return inside if inside.is_dir() else package.parent / name


def load_module(folder: Path, name: str = "") -> ModuleType:
    """Import ``folder/name.py``, or the folder itself, as part of a package whose name is the same in every process.

    The folder becomes a package with or without an ``__init__.py``: its modules import one another, and modules of
    neighbouring folders, by relative imports. The name depends only on the folder's path.

    Raises:
        ImportError: if there is no such module.
    """
    folder = folder.resolve()
    outer = PREFIX + hashlib.blake2b(str(folder.parent).encode(), digest_size=6).hexdigest()
    _package(outer, folder.parent)
    part = folder.name.replace(".", "_") or "root"
    inner = f"{outer}.{part}"
    if part != folder.name:  # the import system would not find it by this name
        _package(inner, folder)
    full = f"{inner}.{name}" if name else inner
    if full not in sys.modules:
        importlib.invalidate_caches()  # the folder may be newer than the import system's cache
        project = str(folder.parent.parent)
        if folder.parent.name == "recipes" and folder.parent != shipped_folder("recipes") and project not in sys.path:
            sys.path.append(project)  # a project's recipes may import modules next to recipes/
    return importlib.import_module(full)


def _package(name: str, folder: Path) -> None:
    if name not in sys.modules:
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        sys.modules[name] = module_from_spec(spec)


def type_name(type_: type) -> str:
    """The name by which `find_type` finds a class in another process, on another machine with the same folders.

    Raises:
        UserError: if it is defined inside a function, where it cannot be looked up.
    """
    if "<" in type_.__qualname__:
        raise UserError(
            f"{type_.__module__}.{type_.__qualname__} is defined inside a function, so other processes cannot find it; "
            "move it to the top level of its module, or use --backend inline"
        )
    folder, module = _origin(type_.__module__)
    return f"{folder or ''}:{module}:{type_.__qualname__}"


def find_type(name: str) -> Any:
    """The class that `type_name` named; its module is loaded."""
    folder, module_name, qualified = name.rsplit(":", 2)
    module = load_module(Path(folder), module_name) if folder else importlib.import_module(module_name)
    return attrgetter(qualified)(module)


class LoadFirst:
    """Pickles as the import of a function's module, and those of functions bound to it by `functools.partial`.

    A spawned process looks classes and functions up in modules that it has not loaded yet. Put this before them in the
    arguments of a process.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        self._modules = [_origin(module) for module in _modules(function)]

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return _load_all, ([(folder, name) for folder, name in self._modules if folder is not None],)


def _load_all(modules: list[tuple[Path, str]]) -> None:
    for folder, name in modules:
        load_module(folder, name)


def _modules(function: Callable[..., object]) -> list[str]:
    """Modules of a function and of the functions bound to it."""
    if not isinstance(function, partial):
        return [function.__module__]
    return [name for each in (function.func, *function.args) if callable(each) for name in _modules(each)]


def _origin(module: str) -> tuple[Path | None, str]:
    """The folder and the name that `load_module` was given; no folder for an ordinary module."""
    if not module.startswith(PREFIX):
        return None, module
    outer, inner, name = module.split(".", 2)
    return Path(sys.modules[f"{outer}.{inner}"].__path__[0]), name


def call(_: LoadFirst, function: Callable[..., object], *arguments: object) -> None:
    """Call a function of a recipe; usable as the initializer of a process pool."""
    function(*arguments)
