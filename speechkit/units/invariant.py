"""A quantizer whose units stay when speed, pitch, room, noise, voice or line change: a head on an encoder's features.

Source: Gat et al. 2023, Augmentation invariant discrete representation for generative spoken language modeling. The
head is trained by `speechkit.units.invariant_training`. It may begin with copies of the encoder's upper layers, trained
along with it; the encoder itself stays as it is.

Notation used for array shapes: B items, T frames, D width of the features, W of the head, K units.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import ConfigError, UserError
from speechkit.io.arrays import read_arrays, write_arrays
from speechkit.io.atomic import write_json
from speechkit.io.hashing import digest_bytes
from speechkit.training.dropout import Dropout
from speechkit.units.codebook import Codebook, read_spec
from speechkit.units.deduplication import deduplicate
from speechkit.units.smoothed import SmoothedCodebook
from speechkit.units.smoothing import best_path
from speechkit.units.upper_layers import LayerShape, UpperLayers

SPEC_FILE, ARRAYS_FILE = "quantizer.json", "quantizer.safetensors"
WINDOW_FRAMES = 1500
CONTEXT_FRAMES = 150
"""Long items go through the head in windows that also hear so many frames before and behind."""
LAST_LAYER = "leave."
"""How the arrays of it begin; quantizers that were trained together share all others."""
LEAST = np.float32(1e-30)
"""Of a posterior: its logarithm must be a number."""
Float = NDArray[np.float32]


class HeadConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The head's shape.

    Attributes:
        kind: ``linear`` and ``mlp`` look at one frame; ``convolution`` at ``kernel`` frames in every layer;
            ``transformer`` at the whole item, or a window of it.
        width: of hidden layers.
        layers: hidden layers.
        kernel: frames that a convolution sees, odd.
        heads: of the attention.
        dropout: while training.
        upper: of the encoder's layers that come first; None where there are none.
    """

    kind: Literal["linear", "mlp", "convolution", "transformer"] = "convolution"
    width: int = 192
    layers: int = 2
    kernel: int = 13
    heads: int = 4
    dropout: float = 0.1
    upper: LayerShape | None = None

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {getattr(self, name)}, it must be at least 1"
            for name in ("width", "layers", "kernel", "heads")
            if getattr(self, name) < 1
        ]
        if self.kernel % 2 == 0:
            wrong.append(f"kernel is {self.kernel}, it must be odd")
        if self.heads > 0 and self.width % self.heads:
            wrong.append(f"width {self.width} does not divide into {self.heads} heads")
        if not 0 <= self.dropout < 1:
            wrong.append(f"dropout is {self.dropout}, it must lie from 0 to below 1")
        if wrong:
            raise ConfigError("; ".join(wrong))


class InvariantSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="invariant", tag_field="kind"):
    """What units of a quantizer must agree with.

    Attributes:
        encoder: encoder, layer and waveform normalisation that the features come from.
        clusters: number of units K.
        head: its shape.
        teacher: digest of the codebook whose units the first round learned.
        rounds: how often a head learned from the one before it, the codebook being the first teacher.
        price: of a change of unit, in nats of the head's posterior; without one, blanks go and the best units stay.
        digest: of all weights; units of one digest are comparable.
    """

    encoder: EncoderSpec
    clusters: int
    head: HeadConfig
    teacher: str
    rounds: int
    digest: str
    price: float = 0.0


class ConvolutionLayer(nn.Module):
    """What a frame adds to itself after a look at its neighbours: (B, T, W) to (B, T, W)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        width = config.width
        self.norm = nn.LayerNorm(width)
        self.depthwise = nn.Conv1d(width, width, config.kernel, padding=config.kernel // 2, groups=width)
        self.expand = nn.Linear(width, 2 * width)
        self.contract = nn.Linear(2 * width, width)
        self.dropout = Dropout(config.dropout)

    def forward(self, frames: Tensor, padding: Tensor) -> Tensor:
        """Frames behind an item's end count as zero, as those before its beginning do."""
        x = self.norm(frames).masked_fill(padding[..., None], 0.0)
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        x = self.contract(self.dropout(nn.functional.gelu(self.expand(x))))
        added: Tensor = frames + self.dropout(x)
        return added


class TransformerLayer(nn.Module):
    """A convolution that tells neighbours apart, then attention over the item: (B, T, W) to (B, T, W)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.place = ConvolutionLayer(config)
        self.attend = nn.TransformerEncoderLayer(
            config.width, config.heads, 2 * config.width, config.dropout, "gelu", batch_first=True, norm_first=True
        )

    def forward(self, frames: Tensor, padding: Tensor) -> Tensor:
        """Frames behind an item's end are not attended to."""
        attended: Tensor = self.attend(self.place(frames, padding), src_key_padding_mask=padding)
        return attended


class PointwiseLayer(nn.Module):
    """A frame alone: (B, T, W) to (B, T, W)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.width, config.width)
        self.dropout = Dropout(config.dropout)

    def forward(self, frames: Tensor, padding: Tensor) -> Tensor:
        """``padding`` is of no matter."""
        hidden: Tensor = self.dropout(nn.functional.gelu(self.linear(frames)))
        return hidden


class InvariantHead(nn.Module):
    """Features (B, T, D) to scores (B, T, K + 1); the blank is the last.

    Args:
        dim: D.
        clusters: K.
        config: shape.
        mean: of the features (D,), or of what the upper layers make of them, taken off.
        scale: of the same (D,), divided by.
        upper: the layers of ``config.upper``; new ones without it.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        dim: int,
        clusters: int,
        config: HeadConfig,
        mean: Float,
        scale: Float,
        upper: UpperLayers | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        if config.upper is not None and config.upper.width != dim:
            raise UserError(f"the upper layers take frames {config.upper.width} wide, not {dim}; take their encoder")
        self.upper = upper or (UpperLayers(config.upper) if config.upper else None)
        self.register_buffer("mean", torch.from_numpy(np.array(mean, np.float32)))
        self.register_buffer("scale", torch.from_numpy(np.array(scale, np.float32)))
        layer = {"mlp": PointwiseLayer, "convolution": ConvolutionLayer, "transformer": TransformerLayer}
        hidden = 0 if config.kind == "linear" else config.layers
        self.enter = nn.Linear(dim, config.width) if hidden else None
        self.layers = nn.ModuleList(layer[config.kind](config) for _ in range(hidden))
        self.norm = nn.LayerNorm(config.width) if hidden else None
        self.leave = nn.Linear(config.width if hidden else dim, clusters + 1)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Scores; those behind an item's ``lengths`` (B,) are of no meaning."""
        scores: Tensor = self.leave(self.hidden(features, lengths))
        return scores

    def hidden(self, features: Tensor, lengths: Tensor) -> Tensor:
        """What the scores are read from: (B, T, W), or (B, T, D) of a head without hidden layers."""
        padding = torch.arange(features.shape[1], device=features.device) >= lengths.to(features.device)[:, None]
        x = features if self.upper is None else self.upper(features, padding)
        x = (x - self.mean) / self.scale
        if self.enter is not None and self.norm is not None:
            x = self.enter(x)
            for layer in self.layers:
                x = layer(x, padding)
            x = self.norm(x)
        return x


class InvariantQuantizer:
    """Frames to units by a head, with the interface of `speechkit.units.codebook.Codebook`.

    Args:
        head: trained or not; it is put into evaluation mode.
        encoder: of the features.
        teacher: digest of the codebook that the first round learned from.
        rounds: of training.
        price: of a change of unit.
    """

    def __init__(
        self, head: InvariantHead, encoder: EncoderSpec, teacher: str, rounds: int, price: float = 0.0
    ) -> None:
        dim = head.mean.numel()
        if encoder.dim != dim:
            raise UserError(f"the head takes frames {dim} wide, {encoder.model} gives {encoder.dim}; take its encoder")
        self.head = head.eval()
        arrays = self.arrays()
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise UserError(f"weights {name} of the quantizer hold NaN or infinity; train it again")
        content = _content(arrays) + (str(price).encode() if price else b"")
        clusters = head.leave.out_features - 1
        self.spec = InvariantSpec(encoder, clusters, head.config, teacher, rounds, digest_bytes(content), price)

    @property
    def num_units(self) -> int:
        """K."""
        return self.spec.clusters

    def scores(self, features: NDArray[np.floating[Any]]) -> Float:
        """Scores (T, K + 1) of the features (T, D) of an item, the blank last.

        Raises:
            UserError: if their shape is another, or they hold NaN or infinity.
        """
        return self._by_window(features, self.head, self.num_units + 1)

    def hidden(self, features: NDArray[np.floating[Any]]) -> Float:
        """What the scores are read from (T, W); takes and refuses what `scores` does."""
        return self._by_window(features, self.head.hidden, self.head.leave.in_features)

    @torch.inference_mode()
    def _by_window(
        self, features: NDArray[np.floating[Any]], run: Callable[[Tensor, Tensor], Tensor], width: int
    ) -> Float:
        rows = np.asarray(features, np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.spec.encoder.dim:
            raise UserError(
                f"features have shape {rows.shape}, the quantizer takes (frames, {self.spec.encoder.dim}); "
                "use features of its encoder and layer"
            )
        if not (finite := np.isfinite(rows).all(axis=1)).all():
            frame = int(np.flatnonzero(~finite)[0])
            raise UserError(f"frame {frame} of the features holds NaN or infinity; encode the recording again")
        device = self.head.mean.device
        parts = [np.zeros((0, width), np.float32)]
        for begin in range(0, len(rows), WINDOW_FRAMES):
            first, last = max(0, begin - CONTEXT_FRAMES), begin + WINDOW_FRAMES + CONTEXT_FRAMES
            window = torch.from_numpy(rows[first:last])[None].to(device)
            found = run(window, torch.tensor([window.shape[1]]))[0].float().cpu().numpy()
            parts.append(found[begin - first : begin - first + WINDOW_FRAMES])
        return np.concatenate(parts)

    def posteriors(self, features: NDArray[np.floating[Any]]) -> Float:
        """Probabilities (T, K) of the units of each frame, given that it is no blank."""
        return _posteriors(self.scores(features))

    def assign(self, features: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
        """The unit of each frame: (T, D) to (T,).

        With a price, the units of the likeliest path, a change of unit making a path less likely. Without one, a blank
        frame takes the unit of the nearest frame that has one, the earlier one of two; an item of nothing but blanks
        takes the best units.
        """
        return self._best(self.scores(features))

    @torch.inference_mode()
    def assign_hidden(self, hidden: Float) -> NDArray[np.int32]:
        """`assign` from what `hidden` gave (T, W), of this quantizer or of one with the same `network`."""
        leave = self.head.leave
        return self._best(leave(torch.from_numpy(hidden).to(leave.weight.device)).cpu().numpy())

    @cached_property
    def network(self) -> str:
        """Digest of all weights but the last layer's; quantizers that were trained together share it."""
        arrays = self.arrays()
        return digest_bytes(_content({name: arrays[name] for name in arrays if not name.startswith(LAST_LAYER)}))

    def _best(self, scores: Float) -> NDArray[np.int32]:
        if self.spec.price:
            return best_path(-np.log(np.maximum(_posteriors(scores), LEAST)), self.spec.price)
        best = scores.argmax(axis=1)
        spoken = np.flatnonzero(best < self.num_units)
        if not len(spoken):
            return np.asarray(scores[:, :-1].argmax(axis=1), np.int32)
        frames = np.arange(len(best))
        after = np.searchsorted(spoken, frames).clip(max=len(spoken) - 1)
        before = np.maximum(after - 1, 0)
        nearest = np.where(np.abs(spoken[after] - frames) < np.abs(frames - spoken[before]), after, before)
        return np.asarray(best[spoken[nearest]], np.int32)

    def units(self, features: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
        """The units of an item, each run of one unit once."""
        return deduplicate(self.assign(features))[0]

    def check(self, encoder: EncoderSpec, what: str = "the quantizer") -> None:
        """Refuse features of another encoder or layer.

        Raises:
            UserError: naming both and the first field that differs.
        """
        self.spec.encoder.require(encoder, what)

    def at_price(self, price: float) -> InvariantQuantizer:
        """The same weights, read with another price of a change of unit."""
        return InvariantQuantizer(self.head, self.spec.encoder, self.spec.teacher, self.spec.rounds, price)

    def halved(self) -> InvariantQuantizer:
        """One whose weights are rounded to half precision, and lose nothing when they are kept so."""
        spec = self.spec
        return InvariantQuantizer(
            copy.deepcopy(self.head).half().float(), spec.encoder, spec.teacher, spec.rounds, spec.price
        )

    def save(self, folder: Path | str) -> None:
        """Write ``quantizer.safetensors``, then ``quantizer.json``."""
        write_arrays(Path(folder) / ARRAYS_FILE, self.arrays())
        write_json(Path(folder) / SPEC_FILE, self.spec)

    @classmethod
    def load(cls, folder: Path | str) -> InvariantQuantizer:
        """Read what `save` wrote.

        Raises:
            UserError: if a file is missing or damaged, or the arrays are not those of the spec.
        """
        spec: InvariantSpec = read_spec(Path(folder) / SPEC_FILE, InvariantSpec)
        return cls.from_arrays(spec, read_arrays(Path(folder) / ARRAYS_FILE), folder, SPEC_FILE, ARRAYS_FILE)

    @classmethod
    def from_arrays(
        cls,
        spec: InvariantSpec,
        arrays: Mapping[str, NDArray[Any]],
        folder: Path | str,
        spec_file: str,
        arrays_file: str,
    ) -> InvariantQuantizer:
        """A quantizer as ``spec`` describes it, with weights of any precision.

        Raises:
            UserError: naming the folder and the files that they come from, if the arrays are not those of the spec.
        """
        nothing = np.zeros(spec.encoder.dim, np.float32)
        head = InvariantHead(spec.encoder.dim, spec.clusters, spec.head, nothing, nothing)
        try:
            head.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
        except RuntimeError as error:
            raise UserError(
                f"{folder}: {arrays_file} does not hold the head that {spec_file} describes; copy both files again"
            ) from error
        found = cls(head, spec.encoder, spec.teacher, spec.rounds, spec.price)
        if found.spec != spec:
            raise UserError(f"{folder}: {spec_file} does not describe {arrays_file}; copy both files again")
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All weights by name."""
        return {name: value.detach().cpu().contiguous().numpy() for name, value in self.head.state_dict().items()}


Quantizer = Codebook | SmoothedCodebook | InvariantQuantizer


def _posteriors(scores: Float) -> Float:
    powers = np.exp(scores[:, :-1] - scores[:, :-1].max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _content(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    return b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays))
