"""Safe loading of third-party checkpoints, in this one place: no code execution, no path escapes, bounded memory.

A checkpoint is a folder, or a hub id to download, with ``config.json`` and safetensors. Pickles can execute code and
are never read; Python files of a checkpoint are never executed; sizes are validated before allocation.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from speechkit.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
READ_SUFFIXES = (".json", ".safetensors", ".txt", ".txt.gz", ".model")
"""Files downloaded from a repository: configurations, weights and tokenizer vocabularies."""
MOST_JSON_BYTES = 64 * 2**20
"""Above any configuration; tokenizers of 250,000 pieces reach half of it."""
MOST_LAYERS = 4096
MOST_WIDTH = 2**24
SIZE = re.compile("layers|_size$|_dim$|^d_model$|_embeds$|^conv_|_kernel$|_stride$")
SPARE_PARAMETERS = 10**8
"""Parameters a configuration may require beyond four times the stored ones: heads, decoders, upper layers."""
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")

Config = TypeVar("Config", bound=msgspec.Struct)
Network = TypeVar("Network", bound="nn.Module")


@contextmanager
def readable(name: str | Path, described: tuple[str, str]) -> Iterator[None]:
    """Convert exceptions of libraries about a checkpoint's files to a `UserError`.

    Args:
        name: hub id or folder.
        described: kind of checkpoint, and its files.

    Raises:
        UserError: if they cannot be read as a checkpoint.
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        yield
    except UserError:
        raise
    except (
        *(OSError, ValueError, LookupError, TypeError, ImportError, RuntimeError, ArithmeticError, AttributeError),
        *(SafetensorError, StrictDataclassError, msgspec.MsgspecError, RecursionError, MemoryError),
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = reason if len(reason) < 300 else reason[:300] + " …"
        raise UserError(
            f"{name}: cannot be loaded as {described[0]} ({reason}); give a hub id, or a folder with {described[1]}"
        ) from error


def packaged_folder(folder: Path, what: str) -> Path:
    """A folder of a model inside the package.

    Raises:
        UserError: if its weights are missing.
    """
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder}: the weights of the embedded {what} are missing; install the package again")
    return folder


def checkpoint_folder(name: str | Path) -> Path:
    """The folder of a checkpoint, or the local copy of a hub repository, downloaded if necessary.

    Only configurations, safetensors and vocabularies of the repository's top folder are downloaded.

    Raises:
        UserError: if there is neither a folder nor a repository of this name, or a configuration is not a regular file
            or too large.
    """
    folder = Path(name) if Path(name).is_dir() else _fetched(name)
    for path in sorted(folder.glob("*.json")):
        if not path.is_file():
            raise UserError(f"{path}: not a regular file; get the checkpoint again")
        if (size := path.stat().st_size) > MOST_JSON_BYTES:
            raise UserError(f"{path}: has {size >> 20} MB, too large for a configuration; get the checkpoint again")
    return folder


def _fetched(name: str | Path) -> Path:
    folder = Path(name)
    if folder.exists() or not HUB_ID.fullmatch(str(name)):
        raise UserError(f"{name}: neither a folder of a checkpoint nor a hub id; give one of them")
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    patterns = [f"*{suffix}" for suffix in READ_SUFFIXES]
    try:
        return Path(snapshot_download(str(name), allow_patterns=patterns, ignore_patterns="*/*"))
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{name}: not a folder, and not available from the hub ({reason}); give a folder, or download it first"
        ) from error


def check_checkpoint(folder: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Validate a checkpoint folder; returns shape and dtype of all weights by name.

    Raises:
        UserError: if the weights are not safetensors, a shard is outside of the folder, or a file is damaged.
    """
    weights: dict[str, tuple[tuple[int, ...], str]] = {}
    for path in _weight_files(folder):
        weights.update(stored_weights(path))
    return weights


def stored_weights(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of every array in a safetensors file by name, without reading the arrays.

    Raises:
        UserError: if the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            return {name: (tuple(part.get_shape()), str(part.get_dtype())) for name, part in slices.items()}
    except (SafetensorError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path.parent}: {path.name} is missing or damaged ({reason}); get it again") from error


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint: one file, or the shards of its index."""
    index = folder / INDEX
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not index.is_file():
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        problem = f"{pickled[0]} is a pickle, which can execute code" if pickled else f"has no {WEIGHTS}"
        raise UserError(f"{folder}: {problem}; get or save the weights as {WEIGHTS}")
    try:
        shards = msgspec.json.decode(index.read_bytes(), type=_Index).weight_map
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(f"{index}: cannot be read ({error}); get the checkpoint again") from error
    for shard in sorted(set(shards.values())):
        plain = PurePosixPath(shard).name == shard and "\\" not in shard and shard.endswith(".safetensors")
        if not plain or not (folder / shard).is_file():
            raise UserError(
                f"{index}: lists the shard {shard[:80]!r}, which is not a safetensors file of this folder; get the "
                "checkpoint again"
            )
    return [folder / shard for shard in sorted(set(shards.values()))]


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def load_pretrained(kind: Any, name: str | Path, **options: Any) -> Any:
    """Call ``kind.from_pretrained`` of transformers after all safety checks; the only place that calls it.

    Args:
        kind: a class of transformers: a model, a configuration, a tokenizer, a feature extractor.
        name: hub id or folder.
        options: keyword arguments.

    Raises:
        UserError: see `checkpoint_folder`, `check_checkpoint`; and if the configuration's size exceeds the weights.
        Exception: any error of transformers, see `readable`.
    """
    folder = checkpoint_folder(name)
    _refuse_code(folder)
    _check_numbers(folder)
    if options.get("use_safetensors"):
        _check_size(kind, folder, check_checkpoint(folder), options)
    return kind.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True, **options)


def _refuse_code(folder: Path) -> None:
    """Reject a checkpoint that needs its own Python code."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    config = _json(folder / CONFIG)
    if config.get("auto_map") and config.get("model_type") not in CONFIG_MAPPING_NAMES:
        raise UserError(
            f"{folder}: needs Python code of its own ({CONFIG}: auto_map), which is never executed; "
            "give a checkpoint of an architecture in transformers"
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes()) if path.is_file() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: not valid JSON ({' '.join(str(error).split())[:200]}); get the checkpoint again"
        ) from error
    return value if isinstance(value, dict) else {}


def _check_numbers(folder: Path) -> None:
    """Reject implausible sizes in a configuration, before a network is built."""
    for path in sorted(folder.glob("*config.json")):
        stack: list[tuple[str, Any]] = [("", _json(path))]
        while stack:
            field, value = stack.pop()
            most = MOST_LAYERS if "layers" in field else MOST_WIDTH
            if isinstance(value, dict):
                stack.extend((str(key), part) for key, part in value.items())
            elif SIZE.search(field) and isinstance(value, (int, list)):
                number = len(value) if isinstance(value, list) else value
                if number > most:
                    raise UserError(f"{path}: {field} is implausibly large; get the checkpoint again")


def _check_size(kind: Any, folder: Path, weights: Mapping[str, tuple[tuple[int, ...], str]], options: Any) -> None:
    """Reject a configuration with far more parameters than are stored, which would be allocated and initialised."""
    import torch
    from transformers import AutoConfig

    overrides = {key: value for key, value in options.items() if key in ("vocab_size", "num_labels")}
    config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True, **overrides)
    with torch.device("meta"):
        skeleton = kind._from_config(config) if hasattr(kind, "_from_config") else kind.from_config(config)
    required = sum(weight.numel() for weight in skeleton.parameters())
    stored = sum(math.prod(shape) for shape, _ in weights.values())
    if required > 4 * stored + SPARE_PARAMETERS:
        raise UserError(
            f"{folder}: {CONFIG} requires {required:,} weights, but {stored:,} are stored; get the files of one "
            "checkpoint"
        )


def write_network(
    folder: str | Path, config: msgspec.Struct, network: nn.Module, *, half: bool = False, int8: bool = False
) -> None:
    """Write one of the package's networks as ``config.json`` and ``model.safetensors``, atomically.

    Args:
        folder: output folder, created if missing.
        config: configuration of the network.
        network: on any device.
        half: store floating-point weights as float16.
        int8: store large matrices as int8 with scales (`speechkit.nn.int8_weights`), the rest as float16.
    """
    from speechkit.io.atomic import write_bytes
    from speechkit.nn.int8_weights import quantize_weights

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    if int8:
        weights = quantize_weights(weights)
    elif half:
        weights = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    write_tensors(folder / WEIGHTS, weights, {"format": "pt"})
    write_bytes(folder / CONFIG, msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n")


def write_weights(path: Path, network: nn.Module, *, half: bool = False) -> None:
    """Write the weights of a component stored beside a checkpoint of another library, atomically."""
    weights = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    write_tensors(path, {name: value.half() if half else value.float() for name, value in weights.items()})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors of any layout, views of one another too, as a safetensors file, atomically."""
    import torch
    from safetensors.torch import save

    from speechkit.io.atomic import write_bytes

    copies = {name: value.clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    write_bytes(path, save(copies, metadata=metadata))


def read_weights(path: Path, network: nn.Module) -> None:
    """Load weights written by `write_weights` into a network of the same names and shapes, in its precision.

    Raises:
        UserError: if the file is missing or damaged, or the weights do not fit.
    """
    from safetensors.torch import load_file

    stored = {name: shape for name, (shape, _) in stored_weights(path).items()}
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    if differing := [name for name in sorted({*expected, *stored}) if expected.get(name) != stored.get(name)]:
        name = differing[0]
        raise UserError(
            f"{path}: {name} is {stored.get(name, 'missing')}, but {expected.get(name, 'unknown')} by {CONFIG}; get "
            "the files of one checkpoint"
        )
    network.load_state_dict(load_file(path))


@contextmanager
def skip_meta_init() -> Iterator[None]:
    """Context manager that skips normal initialisation of meta tensors, for which PyTorch would load its compiler."""
    from torch.overrides import TorchFunctionMode

    class SkipMetaInit(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            options = kwargs or {}
            if getattr(func, "__name__", "") == "normal_":
                tensor = args[0] if args else options["tensor"]
                if tensor.is_meta:
                    return tensor
            return func(*args, **options)

    with SkipMetaInit():
        yield


def read_network(name: str | Path, config_type: type[Config], make: Callable[[Config], Network], what: str) -> Network:
    """Load a network written by `write_network` from a folder or hub id, in float32, for inference.

    Names and shapes are compared with a network on the meta device before allocation.

    Args:
        name: hub id or folder.
        config_type: type of ``config.json``, whose bounds (``msgspec.Meta``) limit the size of the network.
        make: creates a network from its configuration.
        what: kind of network for errors, such as ``a vocoder``.

    Raises:
        UserError: if a file is missing or damaged, or the weights do not fit the configuration.
    """
    import torch
    from safetensors.torch import load_file

    from speechkit.nn.int8_weights import dequantize_weights, stored_shapes

    described = what, f"{CONFIG} and {WEIGHTS}"
    folder = checkpoint_folder(name)
    with readable(name, described):
        if not (folder / CONFIG).is_file():
            raise UserError(f"{name}: has no {CONFIG}; give the folder of {what}")
        stored = stored_shapes(check_checkpoint(folder))
        config = msgspec.json.decode((folder / CONFIG).read_bytes(), type=config_type)
        with torch.device("meta"), skip_meta_init():
            expected = {key: tuple(value.shape) for key, value in make(config).state_dict().items()}
        if differing := sorted({*expected} ^ {*stored}) or [key for key in expected if expected[key] != stored[key]]:
            key = differing[0]
            raise UserError(
                f"{name}: {key} is {stored.get(key, 'missing')} in {WEIGHTS}, but {expected.get(key, 'unknown')} by "
                f"{CONFIG}; get the files of one checkpoint"
            )
        network = make(config)
        weights: dict[str, Tensor] = {}
        for path in _weight_files(folder):
            weights.update(load_file(path))
        network.load_state_dict(dequantize_weights(weights))
    return network.eval()
