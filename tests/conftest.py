"""What every test may use: real speech where it is present, things made once a run, compiled kernels that are kept."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".test_cache"
STARTS_SLOWLY = {"ray_cluster", "tab"}  # a cluster, a browser
MOST_WORKERS = 16  # each holds torch and transformers: about 1.5 GB


# No test is about time, and on a machine under load every example may take long.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    with contextlib.suppress(OSError):  # in a checkout that cannot be written, numba chooses a folder itself
        folder = Path(os.environ.get("NUMBA_CACHE_DIR") or kernel_cache(CACHE / "numba"))
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["NUMBA_CACHE_DIR"] = str(folder)
        if "PYTEST_XDIST_WORKER" in os.environ:
            compile_each_kernel_once(folder)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """With ``-n auto``: a worker for every core that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that share a fixture of their module, or Ray, on one worker; mark those that start slowly."""
    for item in items:
        definitions = getattr(item, "_fixtureinfo", None)
        scopes = {each[-1].scope for each in definitions.name2fixturedefs.values()} if definitions else set()
        slow = STARTS_SLOWLY.intersection(getattr(item, "fixturenames", ()))
        if slow:
            item.add_marker(pytest.mark.slow)
        if "ray_cluster" in slow:
            item.add_marker(pytest.mark.xdist_group("ray"))
        elif "module" in scopes and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


def kernel_cache(parent: Path) -> Path:
    """The folder of the compiled kernels, named after their sources: numba itself sees no change in a called file."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted((ROOT / "speechkit").rglob("*.py")):
        content = path.read_bytes()
        if b"numba" in content or b"@compiled" in content:
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + content + b"\0")
    folder = parent / digest.hexdigest()
    if not folder.is_dir() and parent.is_dir():
        for old in sorted(parent.iterdir(), key=lambda path: path.stat().st_mtime)[:-2]:
            shutil.rmtree(old, ignore_errors=True)
    return folder


def compile_each_kernel_once(folder: Path) -> None:
    """Of several workers that need a kernel, one compiles it; the others wait and load what it wrote to ``folder``."""
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.dispatcher import Dispatcher

    compile_it, under_way = Dispatcher.compile, set()

    def compile_or_load(self: Any, signature: Any) -> Any:
        name = f"{self.py_func.__module__}.{self.py_func.__qualname__}"
        with global_compiler_lock:  # numba takes it too: in this order no two threads wait for each other
            if not name.startswith("speechkit.") or name in under_way:  # numba's own, or it calls itself
                return compile_it(self, signature)
            under_way.add(name)
            try:
                with locked(folder / f"{name}.lock"):
                    return compile_it(self, signature)
            finally:
                under_way.discard(name)

    Dispatcher.compile = compile_or_load


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``path`` against every other process that does the same."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real corpora named by SPEECHKIT_DATA; a test that needs it is skipped where it is absent."""
    default = ROOT / ".." / "shared" / "data"
    folder = Path(os.environ.get("SPEECHKIT_DATA", default)).resolve()
    if not folder.is_dir():
        pytest.skip(f"no corpora at {folder}; set SPEECHKIT_DATA to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """A function of a name and of what fills an empty folder, to the filled folder: made once for all workers.

    The folder is shared: a test that changes something in it works on a copy.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def folder_of(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = base / "made-once" / name, base / "made-once" / f"{name}.done"
        folder.parent.mkdir(exist_ok=True)
        with locked(folder.with_name(f"{name}.lock")):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def tiny_checkpoint(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """The folder of a wav2vec 2.0 network of two layers with random weights."""

    def make(folder: Path) -> None:
        import torch
        from transformers import Wav2Vec2Model

        from speechkit.encoders.families.waveform import WaveformEncoder
        from speechkit.encoders.pretraining.sizes import sized_config

        torch.manual_seed(0)
        WaveformEncoder(Wav2Vec2Model(sized_config("tiny"))).save(folder)

    return made_once("tiny-checkpoint", make)


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    """A small real Ray cluster of two CPUs, started with patience: a machine under load may need minutes for it.

    It ends with its module, so that its threads are not beside the native code of every later test.
    """
    ray = pytest.importorskip("ray")
    from speechkit.pipeline.backends.ray_cluster import start_cluster

    start_cluster(ray, 2)
    yield
    ray.shutdown()
