"""The one interface of all separators, and how they are configured, saved and loaded.

A family is a file of its own: a record of its configuration, a `Separator`, and configurations by name. It is listed in
`FAMILIES` and registers under the ``model_type`` of its ``config.json``.

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
from speechkit.nn.checkpoints import CONFIG, WEIGHTS, read_network, write_network

FAMILIES = ("mossformer2", "conv_tasnet")
DEPTHS = frozenset({"speakers", "blocks", "memory_layers", "layers", "stacks"})
MOST_DEPTH = 256
"""Of these fields: each counts modules that are made before the weights are looked at."""
MODELS = Path(__file__).parent / "models"
EMBEDDED = "mossformer2-tiny"
"""Which of the models inside the package ``embedded`` stands for."""


class SeparatorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="model_type"):
    """What every separator says of itself; a family adds the sizes of its network.

    Attributes:
        speakers: tracks that come out.
        sample_rate: of what goes in and comes out, in hertz.
    """

    speakers: int = 2
    sample_rate: int = 8_000

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in self.__struct_fields__}
        wrong = [f"{name} is {value}" for name, value in counts.items() if type(value) is int and value < 1]
        if wrong:
            raise ConfigError(f"{self.family} separator: {', '.join(wrong)}; sizes are 1 or more")
        if not MIN_SAMPLE_RATE <= self.sample_rate <= MAX_SAMPLE_RATE:
            rate = f"sample_rate is {self.sample_rate}; give {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}"
            raise ConfigError(f"{self.family} separator: {rate}")
        for name in DEPTHS & counts.keys():
            if type(counts[name]) is int and counts[name] > MOST_DEPTH:
                raise ConfigError(f"{self.family} separator: {name} is {counts[name]}; give {MOST_DEPTH} at most")

    @property
    def family(self) -> str:
        """Name of the family, which is the ``model_type`` of ``config.json``."""
        return str(self.__struct_config__.tag)


class Separator(nn.Module, ABC):
    """A network from a mixture to the tracks of its speakers; an item gives the same alone and in a padded batch."""

    config_type: ClassVar[type[SeparatorConfig]]
    """The record that configures the family."""

    def __init__(self, config: SeparatorConfig):
        super().__init__()
        self.config: Any = config
        self.checkpointing = False
        """Whether training computes parts a second time instead of keeping them: less memory, more time."""

    @abstractmethod
    def forward(self, mixture: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Estimates of the sources, in any order.

        Args:
            mixture: (B, S) at the separator's sample rate; what lies behind an item's end is not looked at.
            lengths: (B,) samples of each item; all S when absent.

        Returns:
            (B, N, S), zero behind each item's end.
        """

    @property
    def speakers(self) -> int:
        """N, the tracks that come out."""
        return int(self.config.speakers)

    @property
    def sample_rate(self) -> int:
        """Of what goes in and comes out, in hertz."""
        return int(self.config.sample_rate)

    @property
    @abstractmethod
    def hop(self) -> int:
        """Samples from one frame of the network to the next."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> None:
        """Write ``config.json`` and ``model.safetensors``.

        Args:
            folder: made if absent.
            half: store float16, in half the space.
        """
        write_network(folder, self.config, self, half=half)

    @classmethod
    def from_pretrained(cls, name: str | Path) -> Separator:
        """The separator of a folder or hub id that `save_pretrained` wrote, in evaluation mode; weights are float32.

        Raises:
            UserError: if it cannot be read, is no separator, or is one of another family than this class.
        """
        separator = read_network(name, _config_type(), new_separator, "a separator")
        if not isinstance(separator, cls):
            raise UserError(f"{name}: is a {separator.config.family} separator, not a {cls.__name__}")
        return separator


S = TypeVar("S", bound=Separator)


@dataclass(frozen=True)
class Family:
    """A kind of separator: its class, and its configurations by name."""

    network: type[Separator]
    sizes: Mapping[str, SeparatorConfig]


_families: dict[str, Family] = {}


def register(sizes: Mapping[str, SeparatorConfig]) -> Callable[[type[S]], type[S]]:
    """Make a class the separator of its family, with configurations by name ("tiny", "large-16k" …)."""

    def registered(network: type[S]) -> type[S]:
        _families[str(network.config_type.__struct_config__.tag)] = Family(network, sizes)
        return network

    return registered


def families() -> dict[str, Family]:
    """All families by name."""
    _import_families()
    return dict(_families)


def configurations() -> dict[str, SeparatorConfig]:
    """All configurations by name: that of the family, a hyphen, and that of the size, as "mossformer2-tiny"."""
    return {f"{name}-{size}": config for name, family in families().items() for size, config in family.sizes.items()}


def separator_config(name: str, **changes: Any) -> SeparatorConfig:
    """A configuration by name, with changes of its fields: ``separator_config("mossformer2-tiny", speakers=3)``.

    Raises:
        ConfigError: if there is no such name or field, or a value cannot be.
    """
    known = configurations()
    if name not in known:
        raise ConfigError(f"{name!r} is no separator's configuration; choose one of {', '.join(known)}")
    try:
        fields = {**msgspec.to_builtins(known[name]), **changes}
        return msgspec.convert(fields, type(known[name]))
    except msgspec.ValidationError as error:
        raise ConfigError(f"separator {name}: {error}") from error


def new_separator(config: SeparatorConfig) -> Separator:
    """An untrained separator; seed torch before."""
    return families()[config.family].network(config)


def load_separator(name: str | Path = "embedded", *, device: str = "auto") -> Separator:
    """A trained separator on a device, in evaluation mode, without gradients.

    Args:
        name: ``embedded``: the small one inside the package, or another one there by its name; else a folder or hub id.
        device: ``auto``, ``cpu``, ``cuda`` …

    Raises:
        UserError: if there is no such separator, or it cannot be loaded.
    """
    from speechkit.runtime import choose_device

    separator = Separator.from_pretrained(checkpoint_name(str(name)))
    return separator.requires_grad_(False).to(choose_device(device))


def checkpoint_name(name: str = "embedded") -> str:
    """The folder inside the package that a name stands for; any other folder or hub id as it is.

    Raises:
        UserError: if the weights inside the package are not there.
    """
    folder = MODELS / (EMBEDDED if name == "embedded" else name)
    inside = folder.parent == MODELS and (folder / CONFIG).is_file()
    if name == "embedded" and not inside:
        raise UserError(f"{folder}: the weights of the embedded separator are not there; install the package again")
    return str(folder) if inside and not Path(name).is_dir() else name


def separator_digest(name: str = "embedded") -> str:
    """What a separator's name stands for: the files of its folder, or the name itself where it names no folder."""
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
    """Any of the families' records, told apart by their ``model_type``."""
    kinds = [family.network.config_type for family in families().values()]
    union: Any = kinds[0]
    for kind in kinds[1:]:
        union = union | kind
    return union
