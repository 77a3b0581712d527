"""What the code imports is what the package declares, and the install lines name what is there."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import speechkit
from speechkit import errors

ROOT = Path(__file__).resolve().parent.parent
OURS = {"speechkit", "recipes", "data_prep", "scripts", "benchmarks"}


def table() -> dict[str, list[str]]:
    """Declared distributions by extra, "" for those of every installation."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    for name, block in re.findall(r"^(\S+) = \[(.*?)\](?=\s*(?:#.*)?$)", text, re.MULTILINE | re.DOTALL):
        libraries = re.findall(r'"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?(?:[<>=~!][^"]*)?"', block)
        found["" if name == "dependencies" else name] = [library.lower().replace("_", "-") for library in libraries]
    return found


def imported() -> dict[str, str]:
    """Each module from outside that the package imports, with a file that does."""
    modules: dict[str, str] = {}
    for path in (path for name in ("speechkit", "recipes", "data_prep") for path in (ROOT / name).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("require"):
                names = [argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)]
            for name in names:
                modules.setdefault(name.split(".")[0], str(path.relative_to(ROOT)))
    return {name: path for name, path in modules.items() if name not in sys.stdlib_module_names | OURS}


def test_every_library_that_is_imported_is_declared():
    declared = table()
    users = {extra: libraries for extra, libraries in declared.items() if extra not in ("test", "dev", "docs", "bench")}
    known = {library for libraries in users.values() for library in libraries}
    distributions = packages_distributions()
    wrong = []
    for module, path in imported().items():
        names = {name.lower().replace("_", "-") for name in distributions.get(module, [module])}
        if not names & known:
            wrong.append(f"{path} imports {module} of {sorted(names)}, which pyproject.toml does not declare")
        elif module in errors.EXTRA_OF and not names & set(users[errors.EXTRA_OF[module]]):
            wrong.append(f"errors.EXTRA_OF says that the extra {errors.EXTRA_OF[module]} brings {module}")
        elif module not in errors.EXTRA_OF and not names & set(users[""]):
            wrong.append(f"{path} imports {module}, which only an extra brings; name it in errors.EXTRA_OF")
    assert not wrong, "\n".join(wrong)


def test_nothing_of_a_user_needs_torchaudio():
    assert "torchaudio" not in imported()
    assert "torchaudio" not in table()[""]


def test_the_version_stands_in_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+", speechkit.__version__)
    assert f"\nversion: {speechkit.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


@pytest.mark.parametrize("extra", ["", *sorted(set(errors.EXTRA_OF.values()))])
def test_an_install_line_never_names_the_project_of_another_on_the_index(extra, monkeypatch, tmp_path):
    line = errors.install_line(extra)
    assert line.startswith("pip install -e '/")
    assert (f"[{extra}]" in line) is bool(extra)
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "site-packages" / "speechkit" / "errors.py"))
    wanted = ["torch>=2.11", "ray>=2.40; extra == 'ray'", "pypdfium2>=4.30 ; extra == 'ocr'", "a-b>=1; extra == 'dev'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: wanted)
    line = errors.install_line(extra)
    assert line == "pip install " + {"": "'torch>=2.11'", "ray": "'ray>=2.40'", "ocr": "'pypdfium2>=4.30'"}.get(
        extra, ""
    )
