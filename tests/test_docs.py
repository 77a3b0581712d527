"""The documentation: pages, links and modules that it names exist, and the site builds without warnings."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [*PAGES, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")), *ROOT.glob("recipes/*/README.md")]


def test_every_page_is_in_the_navigation() -> None:
    listed = [page for entry in yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"] for page in entry.values()]
    assert sorted(listed) == [page.name for page in PAGES]


def test_the_index_links_every_page() -> None:
    linked = re.findall(r"\]\((\w+\.md)\)", (ROOT / "docs/index.md").read_text())
    assert sorted({*linked, "index.md"}) == [page.name for page in PAGES]


def test_every_module_of_the_reference_exists() -> None:
    modules = re.findall(r"^::: (\S+)$", (ROOT / "docs/reference.md").read_text(), re.MULTILINE)
    files = [ROOT / module.replace(".", "/") for module in modules]
    missing = [
        str(file) for file in files if not (file.with_suffix(".py").is_file() or (file / "__init__.py").is_file())
    ]
    assert modules
    assert not missing
    assert len(set(modules)) == len(modules)


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_lead_to_files_and_headings(text: Path) -> None:
    prose = re.sub(r"```.*?```", "", text.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        file = text.parent / name if name else text
        assert file.exists(), target
        if heading:
            assert heading in _anchors(file), target


def _anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as the toc extension of Markdown makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site/reference/index.html").is_file()


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_import_of_the_documentation_exists(text: Path) -> None:
    for module, names in re.findall(r"from (speechkit[\w.]*) import ([\w, ]+)", text.read_text()):
        folder = ROOT / module.replace(".", "/")
        file = folder.with_suffix(".py")
        bound = _bound_names(file if file.is_file() else folder / "__init__.py")
        wanted = {name.split(" as ")[0].strip() for name in names.split(",")}
        assert not {name for name in wanted - bound if not (folder / f"{name}.py").is_file()}, module


def _bound_names(module: Path) -> set[str]:
    """Names that a module defines or imports, or that it lists as strings because it loads them on demand."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
    return names
