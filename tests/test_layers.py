"""The floors of the house: who may import whom, what stays free of torch, and what is never used."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "speechkit"
FILES = sorted(PACKAGE.rglob("*.py"))
FLOORS = {
    **dict.fromkeys(("errors", "io", "data", "text", "runtime"), 0),
    **dict.fromkeys(("metrics", "nn", "training", "augment", "pipeline"), 1),
    **dict.fromkeys(("asr", "encoders", "mining", "syllables", "units", "lm", "tts", "separation", "slue"), 2),
    **dict.fromkeys(("cli", "report"), 3),
}
# Rooms of floor 2 do not know one another, but for these.
MAY_USE = {
    "mining": {"asr"},
    "slue": {"asr", "encoders", "lm"},
    "syllables": {"encoders"},
    "units": {"encoders"},
    "tts": {"encoders", "units"},
    "lm": {"encoders", "units"},
    "asr": {"encoders", "lm"},
}
TORCH_FREE = (
    "errors",
    "io",
    "data",
    "text",
    "metrics",
    "pipeline",
    "augment",
    "mining.alignment",
    "mining.refinement",
    "slue.metrics",
)
HEAVY = {
    "torch",
    "torchaudio",
    "transformers",
    "librosa",
    "scipy",
    "onnxruntime",
    "accelerate",
    "ray",
    "lhotse",
    "pyarrow",
}
COPYLEFT = {"fitz", "pymupdf", "unidecode", "phonemizer", "espeakng", "ebooklib", "PyQt5"}
NEVER = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
MAX_LINES = 500


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0].removesuffix(".py")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path, *, top_only: bool = False):
    """(module, line) of every import; with ``top_only`` those that run when the module is loaded."""
    pending: list[ast.AST] = [tree(path)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno
        elif top_only and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        elif top_only and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            pending += node.orelse
            continue
        pending += ast.iter_child_nodes(node)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_lower_floors(path):
    room = room_of(path)
    if room == "__init__":
        return
    for module, line in imports(path):
        parts = module.split(".")
        if parts[0] in ("recipes", "data_prep", "tests", "benchmarks"):
            assert room == "cli", f"{path}:{line}: only commands may import {module}"
        if parts[0] != "speechkit" or len(parts) < 2:
            continue
        other = parts[1]
        if other == room or other not in FLOORS:
            continue
        allowed = FLOORS[other] < FLOORS[room] or other in MAY_USE.get(room, set())
        # data is built on io; a report may be made by commands and commands by nobody.
        allowed = (
            allowed or other == "errors" or (room, other) in {("data", "io"), ("io", "runtime"), ("cli", "report")}
        )
        assert allowed, f"{path.relative_to(ROOT)}:{line}: {room} (floor {FLOORS[room]}) imports {module}"


def test_every_room_has_a_floor():
    rooms = {room_of(path) for path in FILES} - {"__init__"}
    assert rooms <= set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_torch_free_rooms_never_import_torch_and_others_only_inside_functions(path):
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    if module.startswith(TORCH_FREE):
        for name, line in imports(path):
            assert name.split(".")[0] not in {"torch", "torchaudio", "transformers"}, f"{path}:{line}: imports {name}"
    if module.startswith((*TORCH_FREE, "cli", "mining", "report")):
        for name, line in imports(path, top_only=True):
            assert name.split(".")[0] not in HEAVY, f"{path}:{line}: imports {name} when it is loaded"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_unpickles_and_nothing_copyleft_is_used(path):
    for name, line in imports(path):
        assert name.split(".")[0] not in NEVER | COPYLEFT, f"{path}:{line}: imports {name}"
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        assert called not in ("torch.load", "eval", "exec", "yaml.load", "yaml.unsafe_load"), f"{path}:{node.lineno}"
        assert keywords.get("allow_pickle", "False") == "False", f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_holds_one_idea(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{path.relative_to(ROOT)} has {lines} lines; split it"
    assert not {"utils", "helpers", "manager", "base", "misc"} & set(path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("room", [room for room in TORCH_FREE if (PACKAGE / room.replace(".", "/")).is_dir()])
def test_loading_a_torch_free_room_loads_no_torch(room):
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((PACKAGE / room.replace(".", "/")).rglob("*.py"))
        if path.name != "__init__.py"
    ]
    code = f"import importlib, sys\nfor m in {modules}: importlib.import_module(m)\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr[-500:]
