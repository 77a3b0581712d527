"""Common interface of all separators: configuration, saving and loading.

A family is a module with its configuration, its `Separator` and named sizes. It is listed in `FAMILIES` and registers
under the ``model_type`` of its ``config.json``.

Notation used for tensor shapes: B items, S samples, N speakers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import msgspec
import torch
from torch import Tensor, nn

from speechkit.errors import ConfigError, UserError
from speechkit.io.layout import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from speechkit.nn.checkpoints import CONFIG, WEIGHTS, packaged_folder, read_network, write_network

FAMILIES = ("mossformer2", "conv_tasnet")
DEPTHS = frozenset({"speakers", "blocks", "memory_layers", "layers", "stacks"})
MAX_DEPTH = 256
"""Upper limit of these fields, which count modules that are created before the weights are read."""
MODELS = Path(__file__).parent / "models"
EMBEDDED = "mossformer2-tiny"
"""The model in the package that ``embedded`` refers to."""


class SeparatorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="model_type"):
    """Fields common to all separators; a family adds the sizes of its network.

    Attributes:
        speakers: number of output tracks.
        sample_rate: of mixture and tracks, in hertz.
    """

    speakers: int = 2
    sample_rate: int = 8_000

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in self.__struct_fields__}
        wrong = [f"{name} is {value}" for name, value in counts.items() if type(value) is int and value < 1]
        if wrong:
            raise ConfigError(f"{self.family} separator: {', '.join(wrong)}; give 1 or more")
        if not MIN_SAMPLE_RATE <= self.sample_rate <= MAX_SAMPLE_RATE:
            rate = f"sample_rate is {self.sample_rate}; give {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}"
            raise ConfigError(f"{self.family} separator: {rate}")
        for name in DEPTHS & counts.keys():
            if type(counts[name]) is int and counts[name] > MAX_DEPTH:
                raise ConfigError(f"{self.family} separator: {name} is {counts[name]}; give {MAX_DEPTH} at most")

    @property
    def family(self) -> str:
        """Name of the family, which is the ``model_type`` of ``config.json``."""
        return str(self.__struct_config__.tag)


class Separator(nn.Module, ABC):
    """A network that separates mixtures; an item gives the same tracks alone and in a padded batch."""

    config_type: ClassVar[type[SeparatorConfig]]
    """The record that configures the family."""

    def __init__(self, config: SeparatorConfig):
        super().__init__()
        self.config: Any = config
        self.checkpointing = False
        """Whether training recomputes activations instead of storing them: less memory, more time."""

    @abstractmethod
    def forward(self, mixture: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Estimates of the sources, in any order.

        Args:
            mixture: (B, S) at the separator's sample rate; samples beyond an item's length are ignored.
            lengths: (B,) samples per item; S for all by default.

        Returns:
            (B, N, S), zero beyond each item's length.
        """

    @property
    def speakers(self) -> int:
        """Number of output tracks, N."""
        return int(self.config.speakers)

    @property
    def sample_rate(self) -> int:
        """Sample rate of mixture and tracks, in hertz."""
        return int(self.config.sample_rate)

    @property
    @abstractmethod
    def hop(self) -> int:
        """Samples from one frame of the network to the next."""

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> None:
        """Write ``config.json`` and ``model.safetensors``.

        Args:
            folder: created if absent.
            half: store weights as float16.
        """
        write_network(folder, self.config, self, half=half)

    @classmethod
    def from_pretrained(cls, name: str | Path) -> Separator:
        """Load a separator from a folder or hub id written by `save_pretrained`, as float32 in evaluation mode.

        Raises:
            UserError: if it cannot be read, is no separator, or belongs to another family than this class.
        """
        separator = read_network(name, _config_type(), new_separator, "a separator")
        if not isinstance(separator, cls):
            raise UserError(f"{name}: is a {separator.config.family} separator; give the folder of a {cls.__name__}")
        return separator


S = TypeVar("S", bound=Separator)


@dataclass(frozen=True)
class Family:
    """A family of separators: its class, and its configurations by name."""

    network: type[Separator]
    sizes: Mapping[str, SeparatorConfig]


_families: dict[str, Family] = {}


def register(sizes: Mapping[str, SeparatorConfig]) -> Callable[[type[S]], type[S]]:
    """Register a class as the separator of its family, with configurations by name ("tiny", "large-16k" …)."""

    def registered(network: type[S]) -> type[S]:
        _families[str(network.config_type.__struct_config__.tag)] = Family(network, sizes)
        return network

    return registered


def families() -> dict[str, Family]:
    """All families by name."""
    _import_families()
    return dict(_families)


def configurations() -> dict[str, SeparatorConfig]:
    """All configurations by name, FAMILY-SIZE, such as "mossformer2-tiny"."""
    return {f"{name}-{size}": config for name, family in families().items() for size, config in family.sizes.items()}


def separator_config(name: str, **changes: Any) -> SeparatorConfig:
    """A configuration by name, with changed fields: ``separator_config("mossformer2-tiny", speakers=3)``.

    Raises:
        ConfigError: if there is no such name or field, or a value is out of range.
    """
    known = configurations()
    if name not in known:
        raise ConfigError(f"there is no separator configuration {name!r}; choose one of {', '.join(known)}")
    try:
        fields = {**msgspec.to_builtins(known[name]), **changes}
        return msgspec.convert(fields, type(known[name]))
    except msgspec.ValidationError as error:
        raise ConfigError(f"separator {name}: {error}") from error


def new_separator(config: SeparatorConfig) -> Separator:
    """A randomly initialised separator; seed torch before."""
    return families()[config.family].network(config)


def load_separator(name: str | Path = "embedded", *, device: str = "auto") -> Separator:
    """Load a trained separator on a device, in evaluation mode, without gradients.

    Args:
        name: ``embedded`` or another name for a separator in the package; else a folder or hub id.
        device: ``auto``, ``cpu``, ``cuda`` …

    Raises:
        UserError: if there is no such separator, or it cannot be loaded.
    """
    from speechkit.runtime import choose_device

    separator = Separator.from_pretrained(checkpoint_name(str(name)))
    return separator.requires_grad_(False).to(choose_device(device))


def checkpoint_name(name: str = "embedded") -> str:
    """The folder of a separator in the package by its name; any other folder or hub id unchanged.

    Raises:
        UserError: if the weights of the embedded separator are missing.
    """
    folder = packaged_folder(MODELS / EMBEDDED, "separator") if name == "embedded" else MODELS / name
    inside = folder.parent == MODELS and (folder / CONFIG).is_file()
    return str(folder) if inside and not Path(name).is_dir() else name


def separator_digest(name: str = "embedded") -> str:
    """Digest of a separator: of the files of its folder, or the name itself if it is no folder."""
    from speechkit.io.hashing import digest_file

    folder = Path(checkpoint_name(name))
    if not folder.is_dir():
        return name
    return " ".join(digest_file(folder / file) for file in (CONFIG, WEIGHTS) if (folder / file).is_file())


@cache
def _import_families() -> None:
    for family in FAMILIES:
        import_module(f"speechkit.separation.{family}")


@cache
def _config_type() -> Any:
    """Union of the configurations of all families, distinguished by their ``model_type``."""
    kinds = [family.network.config_type for family in families().values()]
    union: Any = kinds[0]
    for kind in kinds[1:]:
        union = union | kind
    return union
