"""Stage 3: clean and changed versions of every recording, encoded once and stored by layer."""

from __future__ import annotations

import shutil
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from speechkit.errors import AudioError, UserError
from speechkit.pipeline import Context, Interrupted
from speechkit.pipeline.manifests import manifest_of

from .stages import CLEAN

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from speechkit.augment.perturbations import Perturbation
    from speechkit.data.records import Utterance

    from .config import FeaturesConfig

NOISES = {"train": "noises", "test": "test_noises"}
"""The input that holds the noises of each part."""
SHARD_BYTES = 32 << 20
"""Of a layer's features; an interruption costs the work on the last shard."""
WAITING = 4
"""Recordings that each process is given ahead."""
Version = tuple[int, str, "NDArray[np.float32]"]
"""A layer, the name of a version and its frames (T, D)."""


class Encoding:
    """What is done to a recording of a part, in this process or another.

    Args:
        config: of the stage.
        part: ``train`` or ``test``.
        inputs: of the stage.
        seed: of the changes.
        device: to encode on.
    """

    def __init__(self, config: FeaturesConfig, part: str, inputs: dict[str, Path], seed: int, device: str) -> None:
        from speechkit.encoders import load_encoder
        from speechkit.units.ued_measurement import read_noises

        self._config, self._seed = config, seed
        self._manifest = manifest_of(inputs, f"{part}_manifest")
        compared, learned = layers_of(config)
        self._encoder = load_encoder(config.encoder, layer=max(compared), device=device)
        self.spec = self._encoder.spec
        self._changes: list[tuple[Perturbation, int]] = [(kind, 0) for kind in config.test_kinds]
        self._kept, self._below = compared, self._encoder
        if part == "train":  # nothing is compared under these changes: what is learned from is enough
            drawings: dict[Any, int] = msgspec.structs.asdict(config.versions)
            self._changes = [(kind, number) for kind, count in drawings.items() for number in range(count)]
            self._kept = learned
            if max(learned) < max(compared):
                self._below = load_encoder(config.encoder, layer=max(learned), device=device)
        self._noises = read_noises(inputs.get(NOISES[part]))

    def names(self, row: Utterance) -> list[tuple[int, str]]:
        """Layer and name of all versions of a recording."""
        clean = [(layer, f"{row.id}#{CLEAN}") for layer in layers_of(self._config)[0]]
        return clean + [(layer, f"{row.id}#{kind}-{number}") for kind, number in self._changes for layer in self._kept]

    def __call__(self, row: Utterance) -> list[Version] | str:
        """All versions of a recording by layer, or why it cannot be read."""
        from speechkit.augment.perturbations import perturb
        from speechkit.data.audio import read_waveform

        try:
            waveform = read_waveform(row, self._manifest)
        except AudioError as error:
            return str(error)
        states = self._encoder.encode_layers(waveform)
        found: list[Version] = [(layer, f"{row.id}#{CLEAN}", states[layer]) for layer in layers_of(self._config)[0]]
        for kind, number in self._changes:
            drawn = f"{number} {row.id}"
            changed = perturb(waveform, kind, drawn, config=self._config.strength, noises=self._noises, seed=self._seed)
            states = self._below.encode_layers(changed)
            found += [(layer, f"{row.id}#{kind}-{number}", states[layer]) for layer in self._kept]
        return found


def layers_of(config: FeaturesConfig) -> tuple[list[int], list[int]]:
    """Those that are kept, and among them those that heads learn from."""
    learned = config.layers if config.begin_layer is None else (config.begin_layer,)
    return sorted({*config.layers, *learned}), sorted(learned)


def encode(context: Context) -> None:
    """Encode both parts; what an interrupted run has put on the disk stays.

    Raises:
        UserError: if nothing of a part can be read.
    """
    for part in NOISES:
        manifest_of(context.inputs, f"{part}_manifest")
    rows = {part: list(context.read(part)) for part in NOISES}
    done, total = 0, sum(map(len, rows.values()))
    for part, known in rows.items():
        task = (context.config, part, dict(context.inputs), context.seed, context.device)
        encoding = Encoding(*task)
        with _Writers(context, encoding.spec, part) as writers:
            left = [row for row in known if not all(name in writers[layer] for layer, name in encoding.names(row))]
            done += len(known) - len(left)
            unread: list[str] = []
            for row, found in zip(left, _answers(encoding, task, left, context.config.processes), strict=True):
                if isinstance(found, str):
                    context.drop(row.id, "unreadable_audio", found)
                    unread.append(found)
                else:
                    for layer, name, frames in found:
                        writers[layer].add(name, frames)
                done += 1
                context.progress.update(done, total)
                if context.interrupted:
                    raise Interrupted
            # Committed, it would be fresh for ever, mended audio or not.
            if len(unread) == len(known):
                raise UserError(f"none of the {len(known)} {part} recordings can be read; the first: {unread[0]}")
    shutil.move(context.scratch / "features", context.output("features"))


def _answers(
    encoding: Encoding, task: tuple[Any, ...], rows: Sequence[Utterance], processes: int
) -> Iterator[list[Version] | str]:
    """In the order of the rows; with several processes each has the threads that this one has."""
    if processes == 1:
        yield from map(encoding, rows)
        return
    import multiprocessing

    import torch

    from speechkit.shipped import LoadFirst, call

    settings = (LoadFirst(_begin), _begin, task, torch.get_num_threads())
    # Spawned, never forked: a fork after torch has started its threads deadlocks.
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), call, settings)
    waiting: deque[Future[list[Version] | str]] = deque()
    try:
        for row in rows:
            waiting.append(pool.submit(_do, row))
            if len(waiting) > WAITING * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise UserError(
            "a process of features.processes died, perhaps for want of memory; run again with fewer"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_own: list[Encoding] = []
"""The encoding of this process, if it is one of several."""


def _begin(task: tuple[Any, ...], threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    from speechkit.runtime import limit_threads

    limit_threads(threads)
    _own.append(Encoding(*task))


def _do(row: Utterance) -> list[Version] | str:
    return _own[0](row)


class _Writers:
    """One store a layer, all closed together."""

    def __init__(self, context: Context, spec: Any, part: str) -> None:
        from speechkit.encoders.store import FeatureWriter

        self._stack = ExitStack()
        self._writers = {
            layer: FeatureWriter(
                context.scratch / "features" / part / f"layer-{layer}",
                msgspec.structs.replace(spec, layer=str(layer)),
                context.config.dtype,
                SHARD_BYTES,
                resume=True,
            )
            for layer in layers_of(context.config)[0]
        }

    def __enter__(self) -> dict[int, Any]:
        return {layer: self._stack.enter_context(writer) for layer, writer in self._writers.items()}

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)
