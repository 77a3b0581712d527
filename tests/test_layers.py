"""The floors of the house: who may import whom, what stays free of torch, and what is never used."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "speechkit"
FILES = sorted(PACKAGE.rglob("*.py"))
OUTSIDE_FILES = sorted(path for name in ("recipes", "data_prep") for path in (ROOT / name).rglob("*.py"))
FLOORS = {
    **dict.fromkeys(("errors", "shipped", "io", "data", "text", "runtime"), 0),
    **dict.fromkeys(("metrics", "nn", "training", "augment", "pipeline"), 1),
    **dict.fromkeys(("asr", "encoders", "mining", "syllables", "units", "lm", "tts", "separation", "slue"), 2),
    **dict.fromkeys(("cli", "report"), 3),
    "__main__": 4,
}
# Rooms of one floor do not know one another, but for these.
MAY_USE = {
    "data": {"io"},
    "io": {"runtime"},
    "cli": {"report"},
    "training": {"pipeline"},
    "mining": {"asr", "separation"},
    "separation": {"encoders"},
    "slue": {"asr", "encoders", "lm"},
    "syllables": {"encoders"},
    "units": {"encoders", "syllables"},
    "tts": {"asr", "encoders", "syllables", "units"},
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
    "asr.refinement",
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
TORCH = {"torch", "torchaudio", "transformers"}
OUTSIDE = ("recipes", "data_prep", "tests", "benchmarks")
VAGUE = {"utils", "helpers", "manager", "base", "misc"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path, *, top_only: bool = False):
    """(module, line) of every import; with ``top_only`` those that run when the module is loaded."""
    package = path.relative_to(ROOT).parent.parts
    pending: list[ast.AST] = [tree(path)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{module}.{alias.name}", node.lineno
        elif top_only and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        elif top_only and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            pending += node.orelse
            continue
        pending += ast.iter_child_nodes(node)


def may_import(room: str, module: str) -> bool:
    """Whether a room may import a module of the project."""
    first, *rest = module.split(".")
    if first in OUTSIDE:
        return False
    if first != "speechkit" or not rest or rest[0] not in FLOORS or room == "__init__":
        return True
    other = rest[0]
    return other == room or FLOORS[other] < FLOORS[room] or other in MAY_USE.get(room, set()) | {"errors", "shipped"}


def test_a_room_imports_only_from_lower_floors():
    rooms = {room_of(path) for path in FILES} - {"__init__"}
    assert rooms <= set(FLOORS), f"rooms without a floor: {rooms - set(FLOORS)}"
    wrong = [
        f"{where(path, line)}: {room_of(path)} imports {module}"
        for path in FILES
        for module, line in imports(path)
        if not may_import(room_of(path), module)
    ]
    wrong += [
        f"{where(path, node.lineno)}: relative import in the package"
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    wrong += [
        f"{where(path, line)}: a recipe or reader imports {module}"
        for path in OUTSIDE_FILES
        for module, line in imports(path)
        if module.split(".")[0] in OUTSIDE and not module.startswith(own_folder(path))
    ]
    assert not wrong, "\n".join(wrong)


def own_folder(path: Path) -> str:
    """The package that a file of recipes may import: its own recipe; that of data_prep: data_prep."""
    parts = path.relative_to(ROOT).parts
    return ".".join(parts[:2]) if parts[0] == "recipes" else parts[0]


def test_torch_free_rooms_never_import_torch_and_others_only_inside_functions():
    wrong = []
    for path in FILES:
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if module.startswith(TORCH_FREE):
            wrong += [(path, line, name) for name, line in imports(path) if name.split(".")[0] in TORCH]
        if module.startswith((*TORCH_FREE, "cli", "mining", "report")):
            wrong += [(path, line, name) for name, line in imports(path, top_only=True) if name.split(".")[0] in HEAVY]
    wrong += [
        (path, line, name)
        for path in OUTSIDE_FILES
        for name, line in imports(path, top_only=True)
        if name.split(".")[0] in HEAVY
    ]
    assert not wrong, "\n".join(f"{where(path, line)}: imports {name}" for path, line, name in wrong)


def test_no_module_needs_itself_to_be_loaded():
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}

    def needed(name: str) -> set[str]:
        modules = (module for module, _ in imports(names[name], top_only=True))
        return {each if each in names else each.rpartition(".")[0] for each in modules} & set(names) - {name}

    left = {name: needed(name) for name in names}
    while ready := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in ready:
            del left[name]
    assert not left, f"import one another: {', '.join(sorted(left))}"


def test_nothing_unpickles_and_nothing_copyleft_is_used():
    wrong = []
    for path in [*FILES, *OUTSIDE_FILES]:
        wrong += [(path, line, name) for name, line in imports(path) if name.split(".")[0] in NEVER | COPYLEFT]
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            pickled = any(each.arg == "allow_pickle" and ast.unparse(each.value) != "False" for each in node.keywords)
            if pickled or called in ("torch.load", "eval", "exec", "yaml.load", "yaml.unsafe_load"):
                wrong.append((path, node.lineno, called))
    assert not wrong, "\n".join(f"{where(path, line)}: {name}" for path, line, name in wrong)


def test_one_function_opens_checkpoints_of_others():
    """Classes of the package may have a `from_pretrained`; those of transformers are called in one place."""
    wrong = []
    for path in [*FILES, *OUTSIDE_FILES]:
        own = {node.name for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)} | {"cls", "super()"}
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("speechkit")):
                own |= {each.asname or each.name for each in node.names}
        attributes = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)]
        wrong += [
            (path, node.lineno, ast.unparse(node))
            for node in attributes
            if node.attr == "from_pretrained" and ast.unparse(node.value) not in own
        ]
    places = {path.relative_to(ROOT).as_posix() for path, _, _ in wrong}
    assert places == {"speechkit/nn/checkpoints.py"}, "\n".join(
        f"{where(path, line)}: {name}" for path, line, name in wrong
    )


def test_a_file_holds_one_idea():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in [*FILES, *OUTSIDE_FILES]}
    recipes = [path for path in lengths if path.is_relative_to(ROOT / "recipes")]
    wrong = [
        f"{path.relative_to(ROOT)} has {lines} lines; split it"
        for path, lines in lengths.items()
        if lines > (300 if path in recipes else 500)
    ]
    if (total := sum(lengths[path] for path in recipes)) > 6000:
        wrong.append(f"recipes have {total} lines together; what computes belongs into a room")
    wrong += [
        str(path.relative_to(ROOT)) for path in lengths if VAGUE & set(path.relative_to(ROOT).with_suffix("").parts)
    ]
    assert not wrong, "\n".join(wrong)


def test_loading_torch_free_rooms_loads_no_torch():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for room in TORCH_FREE
        for path in sorted((PACKAGE / room.replace(".", "/")).rglob("*.py"))
        if path.name != "__init__.py"
    ]
    code = (
        f"import importlib, sys\nfor m in {modules}:\n    importlib.import_module(m)\n"
        "    if 'torch' in sys.modules: sys.exit(m)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
