"""Networks in a folder of their own: ``config.json`` and ``model.safetensors``, as the hub has them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import torch
from torch import nn

from speechkit.errors import ConfigError, UserError

if TYPE_CHECKING:
    from typing_extensions import Self

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


class Pretrained(nn.Module):
    """A network that is rebuilt from the record ``config``, which has a ``model_type``, and its weights.

    Attributes:
        config: all that rebuilds the network; the one argument of the constructor.
        config_type: its class.
    """

    config_type: ClassVar[type[msgspec.Struct]]
    config: Any

    def save_pretrained(self, folder: str | Path, half: bool = False) -> None:
        """Write `config.json` and `model.safetensors`, the weights as float16 if ``half``."""
        from safetensors.torch import save

        from speechkit.io.atomic import write_bytes

        folder = Path(folder)
        weights = {
            name: (value.half() if half and value.is_floating_point() else value).detach().cpu().contiguous()
            for name, value in self.state_dict().items()
        }
        write_bytes(folder / WEIGHTS_FILE, save(weights))
        write_bytes(folder / CONFIG_FILE, msgspec.json.format(msgspec.json.encode(self.config), indent=2) + b"\n")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read a folder that `save_pretrained` wrote; weights become float32.

        Raises:
            UserError: if a file is missing or damaged, is of another kind of network, or the weights are not those of
                the configuration.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = Path(folder)
        try:
            network = cls(msgspec.json.decode((folder / CONFIG_FILE).read_bytes(), type=cls.config_type))
            weights = load_file(folder / WEIGHTS_FILE)
            network.load_state_dict(
                {name: value.float() if value.dtype == torch.float16 else value for name, value in weights.items()}
            )
        except (OSError, ValueError, RuntimeError, ConfigError, msgspec.DecodeError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{folder}: holds no whole {cls.__name__} ({reason}); copy or train it again") from error
        return network.eval()
