"""Finding recipes: by name in ``recipes/`` of the current folder or of speechkit, or by the path of a recipe.py."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from speechkit.errors import SpeechkitError, UserError
from speechkit.pipeline.recipe import Recipe
from speechkit.shipped import load_module, shipped_folder


def load_recipe_module(path: Path) -> ModuleType:
    """Import a recipe.py under a name that is the same in every process; its folder is a package.

    Raises:
        UserError: if there is no such file, or it cannot be imported.
    """
    path = path.resolve()
    if not path.is_file() or path.suffix != ".py" or "." in path.stem:
        raise UserError(f"{path}: no such recipe; a recipe is a Python file, usually recipe.py")
    try:
        return load_module(path.parent, path.stem)
    except SpeechkitError:
        raise
    except Exception as error:
        raise UserError(f"{path}: cannot be imported: {type(error).__name__}: {error}") from error


def recipe_module(name: str, module: str = "recipe") -> ModuleType:
    """A module of a shipped recipe, the same object as in the runner."""
    return load_module(shipped_folder("recipes") / name, module)


def shipped_recipe(name: str) -> Path:
    """The shipped recipe.py of that name, whatever is in the working folder."""
    return shipped_folder("recipes") / name / "recipe.py"


def recipe_folders() -> Iterator[Path]:
    """Recipe folders: ``recipes/`` of the current folder, then the shipped ones."""
    local, shipped = Path.cwd() / "recipes", shipped_folder("recipes")
    if local.is_dir() and local.resolve() != shipped:
        yield local
    yield shipped


def recipe_names() -> dict[str, Path]:
    """Every recipe by name; those of the current folder take precedence."""
    paths: dict[str, Path] = {}
    for folder in recipe_folders():
        for path in sorted(folder.glob("*/recipe.py")):
            paths.setdefault(path.parent.name, path)
    return paths


def find_recipe(name: str) -> Path:
    """The recipe.py of a name, of a recipe's folder or of itself.

    Raises:
        UserError: if there is none; similar names are suggested.
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
        UserError: if the file does not define it.
    """
    recipe = getattr(load_recipe_module(path), "recipe", None)
    if not isinstance(recipe, Recipe):
        raise UserError(f"{path}: defines no `recipe = Recipe(...)`")
    return recipe
