"""Invariant quantizer: units that change little with speed, pitch, room, noise, voice and telephone.

A head on the features of a frozen encoder gives posteriors of units, decoded by a Viterbi path. The head
(`speechkit.units.invariant.head`) is trained by `speechkit.units.invariant.training`.
Source: Gat et al. 2023, Augmentation invariant discrete representation for generative spoken language modeling.

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
from speechkit.units.invariant.bigram import switch_costs
from speechkit.units.invariant.config import HeadConfig
from speechkit.units.invariant.head import InvariantHead
from speechkit.units.smoothed import SmoothedCodebook
from speechkit.units.smoothing import best_path

SPEC_FILE, ARRAYS_FILE = "quantizer.json", "quantizer.safetensors"
WINDOW_FRAMES = 1500
CONTEXT_FRAMES = 150
"""Long items go through the head in windows with so many further frames on both sides."""
BIGRAM = "bigram"
STORED_NAMES = {"input_proj.": "enter.", "classifier.": "leave."}
"""Names of layers in files and digests where they differ from those in the code: files of version 0.2 have these."""
OWN_ARRAYS = ("leave.", BIGRAM)
"""Prefixes of the arrays of the classifier and behind it; quantizers that were trained together share all others."""
SMALLEST_POSTERIOR = np.float32(1e-30)
"""Keeps logarithms finite."""


class InvariantSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="invariant", tag_field="kind"):
    """Identity of an invariant quantizer, for compatibility checks.

    Attributes:
        encoder: encoder, layer and waveform normalisation that the features come from.
        clusters: number of units K.
        head: its shape.
        teacher: digest of the codebook whose units the first round learned.
        rounds: number of rounds of training.
        digest: of all weights and of the decoding; units of one digest are comparable.
        switch_penalty: cost in nats of switching unit between frames; without one, blanks are removed and the best
            units stay. ``price`` in files.
        bigram_weight: by so many times the logarithm of the bigram, frequent successors cost less.
    """

    encoder: EncoderSpec
    clusters: int
    head: HeadConfig
    teacher: str
    rounds: int
    digest: str
    switch_penalty: float = msgspec.field(default=0.0, name="price")
    bigram_weight: float = 0.0


class InvariantQuantizer:
    """Frames to units by a head, with the interface of `speechkit.units.codebook.Codebook`.

    Args:
        head: trained or not; it is put into evaluation mode.
        encoder: of the features.
        teacher: digest of the codebook that the first round learned from.
        rounds: of training.
        switch_penalty: cost in nats of switching unit between frames.
        bigram: of units, as `speechkit.units.invariant.bigram.estimate_bigram` gives it (K, K).
        bigram_weight: of the bigram in decoding.

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
        switch_penalty: float = 0.0,
        bigram: Float | None = None,
        bigram_weight: float = 0.0,
    ) -> None:
        dim = head.mean.numel()
        if encoder.dim != dim:
            raise UserError(f"the head takes frames {dim} wide, {encoder.model} gives {encoder.dim}; take its encoder")
        clusters = head.classifier.out_features - 1
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
        decoding = str(switch_penalty) if switch_penalty else ""
        decoding += f" bigram {bigram_weight}" if bigram_weight else ""
        digest = digest_bytes(_content(arrays) + decoding.encode())
        self.spec = InvariantSpec(
            encoder, clusters, head.config, teacher, rounds, digest, switch_penalty, bigram_weight
        )

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
        """Input of the classifier (T, W); takes and refuses what `scores` does."""
        return self._by_window(features, self.head.hidden, self.head.classifier.in_features)

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
            output = run(window, torch.tensor([window.shape[1]]))[0].float().cpu().numpy()
            parts.append(output[begin - first : begin - first + WINDOW_FRAMES])
        return np.concatenate(parts)

    def posteriors(self, features: NDArray[np.floating[Any]]) -> Float:
        """Probabilities (T, K) of the units of each frame, given that it is not blank."""
        return _posteriors(self.scores(features))

    def assign(self, features: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
        """The unit of each frame: (T, D) to (T,).

        With a switch penalty or a bigram, the units of the most likely path under them. Without, a blank frame takes
        the unit of the nearest frame that has one, the earlier of two; an item of blanks alone takes the best units.
        """
        return self._decode(self.scores(features))

    @torch.inference_mode()
    def assign_hidden(self, hidden: Float) -> NDArray[np.int32]:
        """`assign` from what `hidden` gave (T, W), of this quantizer or of one with the same `network`."""
        classifier = self.head.classifier
        return self._decode(classifier(torch.from_numpy(hidden).to(classifier.weight.device)).cpu().numpy())

    @cached_property
    def network(self) -> str:
        """Digest of all weights except the classifier's; quantizers that were trained together share it."""
        arrays = self.arrays()
        return digest_bytes(_content({name: arrays[name] for name in arrays if not name.startswith(OWN_ARRAYS)}))

    @cached_property
    def _switch_costs(self) -> float | Float:
        """In nats: one for all pairs of units, or (K, K)."""
        if self.bigram is None or not self.spec.bigram_weight:
            return self.spec.switch_penalty
        return switch_costs(self.bigram, self.spec.switch_penalty, self.spec.bigram_weight)

    def _decode(self, scores: Float) -> NDArray[np.int32]:
        if self.spec.switch_penalty or self.spec.bigram_weight:
            return best_path(-np.log(np.maximum(_posteriors(scores), SMALLEST_POSTERIOR)), self._switch_costs)
        best = scores.argmax(axis=1)
        not_blank = np.flatnonzero(best < self.num_units)
        if not len(not_blank):
            return np.asarray(scores[:, :-1].argmax(axis=1), np.int32)
        frames = np.arange(len(best))
        after = np.searchsorted(not_blank, frames).clip(max=len(not_blank) - 1)
        before = np.maximum(after - 1, 0)
        nearest = np.where(np.abs(not_blank[after] - frames) < np.abs(frames - not_blank[before]), after, before)
        return np.asarray(best[not_blank[nearest]], np.int32)

    def units(self, features: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
        """Deduplicated units of an item."""
        return deduplicate(self.assign(features))[0]

    def check(self, encoder: EncoderSpec, what: str = "the quantizer") -> None:
        """Refuse features of another encoder or layer.

        Raises:
            UserError: naming both and the first field that differs.
        """
        self.spec.encoder.require(encoder, what)

    def with_penalty(self, switch_penalty: float, bigram_weight: float | None = None) -> InvariantQuantizer:
        """The same weights, decoded with another switch penalty and, where given, another bigram weight.

        Raises:
            UserError: if there is a weight and no bigram.
        """
        weight = self.spec.bigram_weight if bigram_weight is None else bigram_weight
        return self._decoded(self.head, switch_penalty, self.bigram, weight)

    def with_bigram(self, bigram: Float, weight: float) -> InvariantQuantizer:
        """The same weights, decoded with a bigram (K, K) too."""
        return self._decoded(self.head, self.spec.switch_penalty, bigram, weight)

    def halved(self) -> InvariantQuantizer:
        """The weights rounded to half precision, so that storing them as float16 loses nothing."""
        bigram = None if self.bigram is None else self.bigram.astype(np.float16).astype(np.float32)
        head = copy.deepcopy(self.head).half().float()
        return self._decoded(head, self.spec.switch_penalty, bigram, self.spec.bigram_weight)

    def _decoded(
        self, head: InvariantHead, switch_penalty: float, bigram: Float | None, weight: float
    ) -> InvariantQuantizer:
        spec = self.spec
        return InvariantQuantizer(head, spec.encoder, spec.teacher, spec.rounds, switch_penalty, bigram, weight)

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
        zeros = np.zeros(spec.encoder.dim, np.float32)
        head = InvariantHead(spec.encoder.dim, spec.clusters, spec.head, zeros, zeros)
        stored = {stored: name for name, stored in STORED_NAMES.items()}
        weights = {
            _renamed(name, stored): torch.from_numpy(np.array(array))
            for name, array in arrays.items()
            if name != BIGRAM
        }
        bigram = np.array(arrays[BIGRAM], np.float32) if BIGRAM in arrays else None
        try:
            if bigram is not None and bigram.shape != (spec.clusters, spec.clusters):
                raise RuntimeError(f"a bigram {bigram.shape}")
            head.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(
                f"{folder}: {arrays_file} does not hold the head that {spec_file} describes; copy both files again"
            ) from error
        quantizer = cls(head, spec.encoder, spec.teacher, spec.rounds, spec.switch_penalty, bigram, spec.bigram_weight)
        if quantizer.spec != spec:
            raise UserError(f"{folder}: {spec_file} does not describe {arrays_file}; copy both files again")
        return quantizer

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All weights by their names in files, and the bigram where there is one."""
        arrays = {
            _renamed(name, STORED_NAMES): value.detach().cpu().contiguous().numpy()
            for name, value in self.head.state_dict().items()
        }
        return arrays if self.bigram is None else arrays | {BIGRAM: self.bigram}


Quantizer = Codebook | SmoothedCodebook | InvariantQuantizer


def _posteriors(scores: Float) -> Float:
    powers = np.exp(scores[:, :-1] - scores[:, :-1].max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _renamed(name: str, prefixes: Mapping[str, str]) -> str:
    for prefix, other in prefixes.items():
        if name.startswith(prefix):
            return other + name.removeprefix(prefix)
    return name


def _content(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    return b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays))
