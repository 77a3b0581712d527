"""A quantizer whose units stay when speed, pitch, room, noise, voice or line change: a head on an encoder's features.

Source: Gat et al. 2023, Augmentation invariant discrete representation for generative spoken language modeling. The
head (`speechkit.units.invariant.head`) is trained by `speechkit.units.invariant.training`; the encoder stays as it is.

Notation used for array shapes: T frames, D width of the features, W of the head, K units.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError
from speechkit.io.arrays import Float, read_arrays, write_arrays
from speechkit.io.atomic import write_json
from speechkit.io.hashing import digest_bytes
from speechkit.units.codebook import Codebook, read_spec
from speechkit.units.deduplication import deduplicate
from speechkit.units.invariant.bigram import change_costs
from speechkit.units.invariant.config import HeadConfig
from speechkit.units.invariant.head import InvariantHead
from speechkit.units.smoothed import SmoothedCodebook
from speechkit.units.smoothing import best_path

SPEC_FILE, ARRAYS_FILE = "quantizer.json", "quantizer.safetensors"
WINDOW_FRAMES = 1500
CONTEXT_FRAMES = 150
"""Long items go through the head in windows that also hear so many frames before and behind."""
BIGRAM = "bigram"
OWN_ARRAYS = ("leave.", BIGRAM)
"""How the arrays of the last layer and behind it begin; quantizers that were trained together share all others."""
LEAST = np.float32(1e-30)
"""Of a posterior: its logarithm must be a number."""


class InvariantSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="invariant", tag_field="kind"):
    """Identity of an invariant quantizer, for compatibility checks.

    Attributes:
        encoder: encoder, layer and waveform normalisation that the features come from.
        clusters: number of units K.
        head: its shape.
        teacher: digest of the codebook whose units the first round learned.
        rounds: how often a head learned from the one before it, the codebook being the first teacher.
        price: of a change of unit, in nats of the head's posterior; without one, blanks go and the best units stay.
        digest: of all weights and of how they are read; units of one digest are comparable.
        bigram_weight: of the bigram: so many times its logarithm, a change to what often follows costs less.
    """

    encoder: EncoderSpec
    clusters: int
    head: HeadConfig
    teacher: str
    rounds: int
    digest: str
    price: float = 0.0
    bigram_weight: float = 0.0


class InvariantQuantizer:
    """Frames to units by a head, with the interface of `speechkit.units.codebook.Codebook`.

    Args:
        head: trained or not; it is put into evaluation mode.
        encoder: of the features.
        teacher: digest of the codebook that the first round learned from.
        rounds: of training.
        price: of a change of unit.
        bigram: which unit follows which, as `speechkit.units.invariant.bigram.estimate_bigram` gives it (K, K).
        bigram_weight: how much it counts.

    Raises:
        UserError: if the encoder's features are not as wide as the head takes them, weights hold NaN or infinity, the
            bigram has another size, or a weight has no bigram.
    """

    def __init__(
        self,
        head: InvariantHead,
        encoder: EncoderSpec,
        teacher: str,
        rounds: int,
        price: float = 0.0,
        bigram: Float | None = None,
        bigram_weight: float = 0.0,
    ) -> None:
        dim = head.mean.numel()
        if encoder.dim != dim:
            raise UserError(f"the head takes frames {dim} wide, {encoder.model} gives {encoder.dim}; take its encoder")
        clusters = head.leave.out_features - 1
        if bigram is None and bigram_weight:
            raise UserError(f"the bigram's weight is {bigram_weight:g} and it has none; train it with one")
        if bigram is not None and bigram.shape != (clusters, clusters):
            raise UserError(f"the bigram has shape {bigram.shape}; {clusters} units take ({clusters}, {clusters})")
        self.head = head.eval()
        self.bigram = bigram
        arrays = self.arrays()
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise UserError(f"weights {name} of the quantizer hold NaN or infinity; train it again")
        read = (str(price) if price else "") + (f" bigram {bigram_weight}" if bigram_weight else "")
        digest = digest_bytes(_content(arrays) + read.encode())
        self.spec = InvariantSpec(encoder, clusters, head.config, teacher, rounds, digest, price, bigram_weight)

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

        With a price or a bigram, the units of the likeliest path, a change of unit making a path less likely. Without
        them, a blank frame takes the unit of the nearest frame that has one, the earlier one of two; an item of nothing
        but blanks takes the best units.
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
        return digest_bytes(_content({name: arrays[name] for name in arrays if not name.startswith(OWN_ARRAYS)}))

    @cached_property
    def _prices(self) -> float | Float:
        """Of every change of unit, or of each (K, K)."""
        if self.bigram is None or not self.spec.bigram_weight:
            return self.spec.price
        return change_costs(self.bigram, self.spec.price, self.spec.bigram_weight)

    def _best(self, scores: Float) -> NDArray[np.int32]:
        if self.spec.price or self.spec.bigram_weight:
            return best_path(-np.log(np.maximum(_posteriors(scores), LEAST)), self._prices)
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

    def at_price(self, price: float, bigram_weight: float | None = None) -> InvariantQuantizer:
        """The same weights, decoded with another penalty for a change of unit and another bigram weight.

        Raises:
            UserError: if there is a weight and no bigram.
        """
        weight = self.spec.bigram_weight if bigram_weight is None else bigram_weight
        return self._read(self.head, price, self.bigram, weight)

    def with_bigram(self, bigram: Float, weight: float) -> InvariantQuantizer:
        """The same weights, read with a bigram (K, K) too."""
        return self._read(self.head, self.spec.price, bigram, weight)

    def halved(self) -> InvariantQuantizer:
        """One whose weights are rounded to half precision, and lose nothing when they are kept so."""
        bigram = None if self.bigram is None else self.bigram.astype(np.float16).astype(np.float32)
        head = copy.deepcopy(self.head).half().float()
        return self._read(head, self.spec.price, bigram, self.spec.bigram_weight)

    def _read(self, head: InvariantHead, price: float, bigram: Float | None, weight: float) -> InvariantQuantizer:
        spec = self.spec
        return InvariantQuantizer(head, spec.encoder, spec.teacher, spec.rounds, price, bigram, weight)

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
        weights = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items() if name != BIGRAM}
        bigram = np.array(arrays[BIGRAM], np.float32) if BIGRAM in arrays else None
        try:
            if bigram is not None and bigram.shape != (spec.clusters, spec.clusters):
                raise RuntimeError(f"a bigram {bigram.shape}")
            head.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(
                f"{folder}: {arrays_file} does not hold the head that {spec_file} describes; copy both files again"
            ) from error
        found = cls(head, spec.encoder, spec.teacher, spec.rounds, spec.price, bigram, spec.bigram_weight)
        if found.spec != spec:
            raise UserError(f"{folder}: {spec_file} does not describe {arrays_file}; copy both files again")
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All weights by name, and the bigram where there is one."""
        arrays = {name: value.detach().cpu().contiguous().numpy() for name, value in self.head.state_dict().items()}
        return arrays if self.bigram is None else arrays | {BIGRAM: self.bigram}


Quantizer = Codebook | SmoothedCodebook | InvariantQuantizer


def _posteriors(scores: Float) -> Float:
    powers = np.exp(scores[:, :-1] - scores[:, :-1].max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _content(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    return b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays))
