"""Safe loading of third-party checkpoints, in this one place: no code execution, no path escapes, bounded memory.

A checkpoint is a folder, or a hub id that becomes one, with ``config.json`` and safetensors. Pickles can run code and
are never read; Python files of a checkpoint are never run; sizes are compared before memory is taken.
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
"""What is fetched of a repository: configurations, weights and the vocabularies of tokenizers."""
MOST_JSON_BYTES = 64 * 2**20
"""No configuration is larger; tokenizers of a quarter of a million pieces are, at most, half of it."""
MOST_LAYERS = 4096
MOST_WIDTH = 2**24
SIZE = re.compile("layers|_size$|_dim$|^d_model$|_embeds$|^conv_|_kernel$|_stride$")
SPARE_PARAMETERS = 10**8
"""So many weights more than four times the stored ones may a configuration ask for: heads, decoders, upper layers."""
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")

Config = TypeVar("Config", bound=msgspec.Struct)
Network = TypeVar("Network", bound="nn.Module")


@contextmanager
def readable(name: str | Path, described: tuple[str, str]) -> Iterator[None]:
    """Turn whatever a library raises over a checkpoint's files into one sentence.

    Args:
        name: hub id or folder.
        described: what is asked for, and the files that it has.

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


def checkpoint_folder(name: str | Path) -> Path:
    """The folder of a checkpoint: itself, or what is fetched of a hub id (or was before, without a network).

    Of a repository only configurations, safetensors and vocabularies of its top folder are fetched.

    Raises:
        UserError: if there is neither a folder nor a repository of that name, or a configuration is no plain file, or
            larger than any.
    """
    folder = Path(name) if Path(name).is_dir() else _fetched(name)
    for path in sorted(folder.glob("*.json")):
        if not path.is_file():
            raise UserError(f"{path}: is no file that can be read to its end; get the checkpoint again")
        if (size := path.stat().st_size) > MOST_JSON_BYTES:
            raise UserError(f"{path}: has {size >> 20} MB, more than any configuration; get the checkpoint again")
    return folder


def _fetched(name: str | Path) -> Path:
    folder = Path(name)
    if folder.exists() or not HUB_ID.fullmatch(str(name)):
        raise UserError(f"{name}: is no folder of a checkpoint and no hub id; give one of them")
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    patterns = [f"*{suffix}" for suffix in READ_SUFFIXES]
    try:
        return Path(snapshot_download(str(name), allow_patterns=patterns, ignore_patterns="*/*"))
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{name}: is no folder, and could not be fetched from the hub ({reason}); give a folder, or connect once"
        ) from error


def check_checkpoint(folder: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Validate a checkpoint folder, and return the names of all weights with shape and type.

    Raises:
        UserError: if the weights are no safetensors, a shard is no plain file of this folder, or a file is damaged.
    """
    weights: dict[str, tuple[tuple[int, ...], str]] = {}
    for path in _weight_files(folder):
        weights.update(stored_weights(path))
    return weights


def stored_weights(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type of every array in a safetensors file, by name; the arrays themselves are not read.

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
    """The safetensors of a checkpoint: one file, or the shards that its index names."""
    index = folder / INDEX
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not index.is_file():
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        has = f"{pickled[0]} is no safetensors file and can run code" if pickled else f"has no {WEIGHTS}"
        raise UserError(f"{folder}: {has}; get or save the weights as {WEIGHTS}")
    try:
        shards = msgspec.json.decode(index.read_bytes(), type=_Index).weight_map
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(f"{index}: cannot be read ({error}); get the checkpoint again") from error
    for shard in sorted(set(shards.values())):
        plain = PurePosixPath(shard).name == shard and "\\" not in shard and shard.endswith(".safetensors")
        if not plain or not (folder / shard).is_file():
            raise UserError(
                f"{index}: names the shard {shard[:80]!r}, which is no safetensors file of this folder; get the "
                "checkpoint again"
            )
    return [folder / shard for shard in sorted(set(shards.values()))]


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def load_pretrained(kind: Any, name: str | Path, **options: Any) -> Any:
    """What ``kind.from_pretrained`` of transformers makes of a checkpoint; the one place where it is called.

    Args:
        kind: a class of transformers: a model, a configuration, a tokenizer, a feature extractor.
        name: hub id or folder.
        options: for it.

    Raises:
        UserError: see `checkpoint_folder`, `check_checkpoint`; and if a model has other sizes than its weights.
        Exception: whatever transformers raises, for `readable`.
    """
    folder = checkpoint_folder(name)
    _refuse_code(folder)
    _check_numbers(folder)
    if options.get("use_safetensors"):
        _check_size(kind, folder, check_checkpoint(folder), options)
    return kind.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True, **options)


def _refuse_code(folder: Path) -> None:
    """Refuse a checkpoint that brings a Python class which transformers does not have."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    config = _json(folder / CONFIG)
    if config.get("auto_map") and config.get("model_type") not in CONFIG_MAPPING_NAMES:
        raise UserError(
            f"{folder}: needs Python code of its own ({CONFIG}: auto_map), which is never run; "
            "give a checkpoint of an architecture that transformers has"
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes()) if path.is_file() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: is no JSON ({' '.join(str(error).split())[:200]}); get the checkpoint again"
        ) from error
    return value if isinstance(value, dict) else {}


def _check_numbers(folder: Path) -> None:
    """Refuse implausible sizes in a configuration, with which building the network would not finish."""
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
                    raise UserError(f"{path}: {field} is more than any model has; get the checkpoint again")


def _check_size(kind: Any, folder: Path, weights: Mapping[str, tuple[tuple[int, ...], str]], options: Any) -> None:
    """Refuse a configuration that asks for far more memory than its weights take: they would be drawn."""
    import torch
    from transformers import AutoConfig

    changed = {key: value for key, value in options.items() if key in ("vocab_size", "num_labels")}
    config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True, **changed)
    with torch.device("meta"):
        skeleton = kind._from_config(config) if hasattr(kind, "_from_config") else kind.from_config(config)
    asked = sum(weight.numel() for weight in skeleton.parameters())
    stored = sum(math.prod(shape) for shape, _ in weights.values())
    if asked > 4 * stored + SPARE_PARAMETERS:
        raise UserError(
            f"{folder}: {CONFIG} asks for {asked:,} weights where {stored:,} are stored; get the files of one "
            "checkpoint"
        )


def write_network(
    folder: str | Path, config: msgspec.Struct, network: nn.Module, *, half: bool = False, int8: bool = False
) -> None:
    """Write a network of the package's own as ``config.json`` and ``model.safetensors``, atomically.

    Args:
        folder: made where it is missing.
        config: what the network is made from.
        network: on any device.
        half: store floating-point weights as float16.
        int8: store large matrices as int8 with scales (`speechkit.nn.int8_weights`), the rest as float16.
    """
    import torch
    from safetensors.torch import save

    from speechkit.io.atomic import write_bytes
    from speechkit.nn.int8_weights import quantize_weights

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    if int8:
        weights = quantize_weights(weights)
    elif half:
        weights = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    weights = {name: value.clone(memory_format=torch.contiguous_format) for name, value in weights.items()}
    write_bytes(folder / WEIGHTS, save(weights, metadata={"format": "pt"}))
    write_bytes(folder / CONFIG, msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n")


def write_weights(path: Path, network: nn.Module, *, half: bool = False) -> None:
    """Write the weights of a part that stands beside a checkpoint of another library, atomically."""
    import torch
    from safetensors.torch import save

    from speechkit.io.atomic import write_bytes

    weights = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    stored = {name: value.half() if half else value.float() for name, value in weights.items()}
    write_bytes(
        path,
        save({name: value.clone(memory_format=torch.contiguous_format) for name, value in stored.items()}),
    )


def read_weights(path: Path, network: nn.Module) -> None:
    """Load what `write_weights` wrote into a network of the same names and shapes, in its own precision.

    Raises:
        UserError: if the file is missing or damaged, or holds other weights.
    """
    from safetensors.torch import load_file

    stored = {name: shape for name, (shape, _) in stored_weights(path).items()}
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    if differing := [name for name in sorted({*wanted, *stored}) if wanted.get(name) != stored.get(name)]:
        name = differing[0]
        raise UserError(
            f"{path}: {name} is {stored.get(name, 'missing')} and by {CONFIG} {wanted.get(name, 'unknown')}; get the "
            "files of one checkpoint"
        )
    network.load_state_dict(load_file(path))


@contextmanager
def undrawn() -> Iterator[None]:
    """Inside the block, tensors without memory stay as they are where normal numbers would be drawn into them.

    PyTorch has no such drawing: it loads its compiler for it, which takes seconds.
    """
    from torch.overrides import TorchFunctionMode

    class Undrawn(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            options = kwargs or {}
            if getattr(func, "__name__", "") == "normal_":
                tensor = args[0] if args else options["tensor"]
                if tensor.is_meta:
                    return tensor
            return func(*args, **options)

    with Undrawn():
        yield


def read_network(name: str | Path, config_type: type[Config], make: Callable[[Config], Network], what: str) -> Network:
    """A network of the package's own from a folder or hub id that `write_network` filled, in float32, for inference.

    Names and shapes are compared with a network that has no memory before one is made.

    Args:
        name: hub id or folder.
        config_type: of ``config.json``; bounds of its fields (``msgspec.Meta``) are what keeps a hostile one small.
        make: a network with drawn weights from its configuration.
        what: for errors: ``a vocoder``.

    Raises:
        UserError: if a file is missing or damaged, or the weights are not those of the configuration.
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
        with torch.device("meta"), undrawn():
            wanted = {key: tuple(value.shape) for key, value in make(config).state_dict().items()}
        if differing := sorted({*wanted} ^ {*stored}) or [key for key in wanted if wanted[key] != stored[key]]:
            key = differing[0]
            raise UserError(
                f"{name}: {key} is {stored.get(key, 'missing')} in {WEIGHTS} and {wanted.get(key, 'unknown')} by "
                f"{CONFIG}; get the files of one checkpoint"
            )
        network = make(config)
        weights: dict[str, Tensor] = {}
        for path in _weight_files(folder):
            weights.update(load_file(path))
        network.load_state_dict(dequantize_weights(weights))
    return network.eval()
