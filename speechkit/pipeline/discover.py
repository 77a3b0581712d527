"""Finding recipes: by name in ``recipes/`` of the current folder or of the project, or by the path of a recipe.py."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from speechkit.errors import SpeechkitError, UserError
from speechkit.pipeline.recipe import Recipe


def load_recipe_module(path: Path) -> ModuleType:
    """Import a recipe.py under a name that is the same in every process.

    Raises:
        UserError: if there is no such file, or it cannot be imported.
    """
    path = path.resolve()
    name = f"speechkit_recipe_{path.parent.name}_{hashlib.blake2b(str(path).encode(), digest_size=4).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UserError(f"{path}: no such recipe")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs, so that its classes find their own module
    # Recipes of one project may import `recipes.x` and modules beside recipes/.
    project = str(path.parent.parent.parent)
    if path.parent.parent.name == "recipes" and project not in sys.path:
        sys.path.append(project)
    try:
        spec.loader.exec_module(module)
    except SpeechkitError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise UserError(f"{path}: cannot be imported: {type(error).__name__}: {error}") from error
    return module


def recipe_folders() -> Iterator[Path]:
    """Where recipes live: ``recipes/`` of the current folder, then of the project that speechkit comes from."""
    here = Path.cwd() / "recipes"
    home = Path(__file__).resolve().parent.parent.parent / "recipes"
    seen = set()
    for folder in (here, home):
        if folder.is_dir() and folder.resolve() not in seen:
            seen.add(folder.resolve())
            yield folder


def recipe_names() -> dict[str, Path]:
    """Every recipe by name; one of the current folder hides one of the project."""
    found: dict[str, Path] = {}
    for folder in recipe_folders():
        for path in sorted(folder.glob("*/recipe.py")):
            found.setdefault(path.parent.name, path)
    return found


def find_recipe(name: str) -> Path:
    """The recipe.py of a name, of a recipe's folder or of itself.

    Raises:
        UserError: if there is none; close names are offered.
    """
    path = Path(name)
    if path.name == "recipe.py" or "/" in name:
        file = path / "recipe.py" if path.is_dir() else path
        if file.is_file():
            return file
        raise UserError(f"{name}: no such recipe; give a name, a folder with a recipe.py, or a recipe.py")
    names = recipe_names()
    if name in names:
        return names[name]
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else "speechkit list shows them, speechkit new makes one"
    raise UserError(f"no recipe {name!r}; {hint}")


def load_recipe(path: Path) -> Recipe:
    """The object ``recipe`` of a recipe.py.

    Raises:
        UserError: if the file defines none.
    """
    recipe = getattr(load_recipe_module(path), "recipe", None)
    if not isinstance(recipe, Recipe):
        raise UserError(f"{path}: defines no `recipe = Recipe(...)`")
    return recipe
