"""One tokenizer: a waveform or a file to units with durations, and back to the unit of every frame.

It combines an encoder and any quantizer (k-means, smoothed, residual, product, invariant, syllables), optionally
followed by acoustic BPE.

Notation used for array shapes: S samples, T frames, N units, Q codebooks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import ConfigError, UserError
from speechkit.io.arrays import Float
from speechkit.io.atomic import write_json
from speechkit.io.audio import stream_audio
from speechkit.units.acoustic_bpe import AcousticBpe
from speechkit.units.codebook import Codebook, read_spec
from speechkit.units.quantizers import open_quantizer, unit_sets
from speechkit.units.stacked import StackedQuantizer
from speechkit.units.syllable_quantizer import SyllableQuantizer
from speechkit.units.tokenizer_spec import TokenizerSpec

if TYPE_CHECKING:
    from speechkit.encoders.encoder import Encoder
    from speechkit.units.quantizers import AnyQuantizer

FOLDER_FILE, MERGES_FILE, QUANTIZER_FOLDER = "tokenizer.json", "bpe.json", "quantizer"
DEFAULT = "embedded-100"
Numbers = NDArray[np.int32]
Powers = list[NDArray[np.float64]]


class Units(msgspec.Struct, frozen=True):
    """Units of a recording.

    Attributes:
        units: (N,), or (N, Q) for several codebooks that encode a frame jointly.
        durations: (N,) in frames.
        unit_durations: frames of the units that tokens of acoustic BPE stand for; None where there are no tokens.
    """

    units: Numbers
    durations: Numbers
    unit_durations: Numbers | None = None

    def __len__(self) -> int:
        return len(self.units)


class SpeechTokenizer:
    """Speech to units and units to frame-level units; a batch, a file, a stream and a waveform give the same result.

    Args:
        encoder: of the quantizer's features.
        quantizer: any quantizer of `speechkit.units`.
        name: display name.
        deduplicate: whether runs of a unit are merged into one with a duration; else one unit per frame. Consecutive
        syllables with the same unit are not merged.
        bpe: merges of the quantizer's units, for tokens instead of them.

    Raises:
        UserError: if encoder, quantizer and merges do not belong together, naming what differs.
    """

    def __init__(
        self,
        encoder: Encoder,
        quantizer: AnyQuantizer,
        name: str = "units",
        *,
        deduplicate: bool = True,
        bpe: AcousticBpe | None = None,
    ):
        quantizer.check(encoder.spec, name)
        self.encoder, self.quantizer, self.bpe = encoder, quantizer, bpe
        self.spec = tokenizer_spec(name, quantizer, encoder.spec, deduplicate=deduplicate, bpe=bpe)
        if bpe is not None:
            if not deduplicate:
                raise ConfigError(f"{name}: acoustic BPE joins deduplicated units; leave deduplicate on")
            if self.spec.codebooks != [bpe.codebook]:
                raise UserError(f"{name}: the merges join units of another codebook; learn merges of its units")
        self._by_frame = isinstance(quantizer, Codebook | StackedQuantizer)

    @property
    def num_units(self) -> int:
        """Number of distinct units, or of tokens."""
        return self.spec.num_units

    def __call__(self, audio: Float | str | Path, sample_rate: int | None = None) -> Units:
        """See `encode`."""
        return self.encode(audio, sample_rate)

    def encode(self, audio: Float | str | Path, sample_rate: int | None = None) -> Units:
        """The units of a waveform (S,) in [-1, 1], or of an audio file of any format, rate and length.

        Args:
            audio: waveform or path.
            sample_rate: of the waveform, the encoder's when absent.

        Raises:
            AudioError: if the audio cannot be read, or is not finite.
        """
        if isinstance(audio, str | Path):
            return self._of_blocks(stream_audio(audio, sample_rate=self.encoder.spec.sample_rate))
        return self._of_blocks([self._at_its_rate(audio, sample_rate)])

    def encode_batch(self, waveforms: Sequence[Float], sample_rate: int | None = None) -> list[Units]:
        """The units of each waveform, as if it were alone; short ones go through the encoder together.

        Raises:
            AudioError: if a waveform is not finite, or has several channels, with its place in the batch.
        """
        ready = [self._at_its_rate(waveform, sample_rate) for waveform in waveforms]
        short = [place for place, waveform in enumerate(ready) if len(waveform) <= self.encoder.most_at_once()]
        frames = dict(zip(short, self.encoder.encode_batch([ready[place] for place in short]), strict=True))
        return [
            self._of_pieces([frames[place]], self._powers(waveform)) if place in frames else self._of_blocks([waveform])
            for place, waveform in enumerate(ready)
        ]

    def stream(self, blocks: Iterable[Float]) -> Iterator[Units]:
        """Yield units of samples that arrive in blocks of any length, as soon as they are final.

        Concatenated they equal the result of `encode`. Where a quantizer or acoustic BPE needs the whole recording, all
        units are yielded at its end.
        """
        if not self._by_frame or self.bpe is not None:
            yield self._of_blocks(blocks)
            return
        pieces = self.encoder.stream(blocks)
        held = np.zeros((0, len(self.spec.codebooks)), np.int32)
        for piece in pieces:
            held = np.concatenate([held, self._named(piece)])
            last = 0
            if self.spec.deduplicated and len(held):  # the last run may continue
                differs = np.flatnonzero((held[1:] != held[:-1]).any(axis=1))
                last = len(held) - (int(differs[-1]) + 1 if len(differs) else 0)
            done, held = held[: len(held) - last], held[len(held) - last :]
            if len(done):
                yield self._runs(done)
        if len(held):
            yield self._runs(held)

    def decode(self, units: Units) -> Numbers:
        """Frame-level units (T,), or (T, Q), by repeating units for their durations.

        Raises:
            UserError: if units and durations do not belong together, or a unit is out of range.
        """
        runs, durations = units.units, units.durations
        if self.bpe is not None:
            if units.unit_durations is None:
                raise UserError("the tokens do not say how long their units last; give what encode gave")
            runs, durations = np.asarray(self.bpe.decode(runs.tolist()), np.int32), units.unit_durations
        if len(runs) != len(durations) or (len(durations) and int(durations.min()) < 1):
            raise UserError(f"{len(runs)} units have {len(durations)} durations; give each one of a frame or more")
        table = runs if runs.ndim == 2 else runs[:, None]
        if table.shape[1] != len(self.spec.clusters):
            raise UserError(f"units are of {table.shape[1]} codebooks, {self.spec.name} has {len(self.spec.clusters)}")
        if ((table < 0) | (table >= np.asarray(self.spec.clusters))).any():
            raise UserError(f"a unit is out of range; {self.spec.name} has {self.spec.clusters}")
        return np.repeat(runs, durations, axis=0)

    def save(self, folder: Path | str, encoder: str) -> None:
        """Write quantizer, merges and spec; ``encoder`` is the name by which `load_tokenizer` will load the encoder."""
        folder = Path(folder)
        self.quantizer.save(folder / QUANTIZER_FOLDER)
        if self.bpe is not None:
            self.bpe.save(folder / MERGES_FILE)
        write_json(folder / FOLDER_FILE, _Folder(encoder, self.spec))

    def _at_its_rate(self, waveform: Float, sample_rate: int | None) -> Float:
        from speechkit.io.audio import resample

        rate = self.encoder.spec.sample_rate
        if sample_rate is None or sample_rate == rate:
            return waveform
        return resample(np.asarray(waveform, np.float32), sample_rate, rate)

    def _of_blocks(self, blocks: Iterable[Float]) -> Units:
        """Units of a waveform, which comes in blocks."""
        powers: Powers = []
        if isinstance(self.quantizer, SyllableQuantizer):
            blocks = self.quantizer.listen(blocks, powers)
        return self._of_pieces(self.encoder.stream(blocks), powers)

    def _powers(self, waveform: Float) -> Powers:
        powers: Powers = []
        if isinstance(self.quantizer, SyllableQuantizer):
            for _ in self.quantizer.listen([waveform], powers):
                pass
        return powers

    def _of_pieces(self, pieces: Iterable[Float], powers: Powers) -> Units:
        """Units of the frames of a recording, which come in pieces; ``powers`` are full when the pieces end."""
        if self._by_frame:
            return self._runs(np.concatenate([self._named(piece) for piece in pieces]))
        frames = np.concatenate(list(pieces))
        if isinstance(self.quantizer, SyllableQuantizer):
            return self._of_runs(*self.quantizer.tokens(frames, powers))
        return self._runs(self._named(frames))

    def _named(self, frames: Float) -> Numbers:
        """Frames (T, D) to (T, Q)."""
        return np.asarray(self.quantizer.assign(frames), np.int32).reshape(len(frames), len(self.spec.codebooks))

    def _runs(self, named: Numbers) -> Units:
        table, durations = named, np.ones(len(named), np.int32)
        if self.spec.deduplicated and len(named):
            begins = np.concatenate([[0], np.flatnonzero((named[1:] != named[:-1]).any(axis=1)) + 1])
            table, durations = named[begins], np.diff(np.append(begins, len(named))).astype(np.int32)
        return self._of_runs(table[:, 0] if len(self.spec.codebooks) == 1 else table, durations)

    def _of_runs(self, units: Numbers, durations: Numbers) -> Units:
        """Units with their durations, as the spec says: one by one for every frame, or as tokens."""
        if not self.spec.deduplicated and len(units):
            units, durations = np.repeat(units, durations, axis=0), np.ones(int(durations.sum()), np.int32)
        if self.bpe is None:
            return Units(units, durations)
        tokens = np.asarray(self.bpe.encode(units), np.int32)
        ends = np.cumsum([0, *(self.bpe.sizes()[token] for token in tokens)])
        return Units(tokens, np.diff(np.cumsum([0, *durations])[ends]).astype(np.int32), durations)


class _Folder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``tokenizer.json`` of a folder holds."""

    encoder: str
    spec: TokenizerSpec


def tokenizer_spec(
    name: str,
    quantizer: AnyQuantizer,
    encoder: EncoderSpec | None = None,
    *,
    deduplicate: bool = True,
    bpe: AcousticBpe | None = None,
) -> TokenizerSpec:
    """The spec of a quantizer's units; ``encoder`` is the one it says that it was made with, where it is not given.

    Raises:
        UserError: if it says none.
    """
    encoder = encoder or encoder_of(quantizer)
    if encoder is None:
        raise UserError(f"{name}: does not say which encoder it was made with; name it when you import the codebook")
    sets = unit_sets(quantizer)
    digests, clusters = [each.digest for each in sets], [each.clusters for each in sets]
    merges = (None, None) if bpe is None else (bpe.digest, bpe.num_tokens)
    return TokenizerSpec(name, _kind(quantizer), encoder, digests, clusters, deduplicate, *merges)


def encoder_of(quantizer: AnyQuantizer) -> EncoderSpec | None:
    """Of the features that a quantizer was made with, where it says so."""
    return quantizer.encoder if isinstance(quantizer, StackedQuantizer) else quantizer.spec.encoder


def load_tokenizer(
    name: str | Path = DEFAULT,
    *,
    encoder: str | Path | None = None,
    folder: str | Path | None = None,
    bpe: str | Path | None = None,
    deduplicate: bool | None = None,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16"] = "auto",
) -> SpeechTokenizer:
    """A tokenizer by name or folder.

    Args:
        name: ``embedded-50`` to ``embedded-500`` inside the package; a published codebook of
            `speechkit.units.known_codebooks` such as ``hubert-base-ls960/9/km500``; or the folder of a codebook, a
            quantizer or a saved tokenizer.
        encoder: folder or hub id of the encoder, where ``name`` does not say it: the folder of a codebook knows what
            its encoder must be, and not where it lies.
        folder: where the file of a published codebook lies.
        bpe: the merges that ``speechkit units bpe`` wrote, for tokens instead of units.
        deduplicate: see `SpeechTokenizer`; on when absent.
        device: ``auto``, ``cpu``, ``cuda`` …
        dtype: of the encoder, see `speechkit.encoders.load_encoder`.

    Raises:
        UserError: if there is none, or its parts do not belong together, saying what differs.
    """
    from speechkit.encoders.load import load_encoder
    from speechkit.units.known_codebooks import KNOWN, known_quantizer

    path = Path(name)
    saved: _Folder | None = None
    if str(name) in KNOWN and not path.is_dir():
        known = KNOWN[str(name)]
        loaded = load_encoder(
            str(encoder or known.encoder),
            layer=known.layer,
            device=device,
            dtype=dtype,
            compat=known.compat,
            normalization=known.normalization,
        )
        merges = None if bpe is None else AcousticBpe.load(bpe)
        quantizer: AnyQuantizer = known_quantizer(str(name), folder, loaded.spec)
        return SpeechTokenizer(loaded, quantizer, str(name), deduplicate=deduplicate is not False, bpe=merges)
    if (path / FOLDER_FILE).is_file():
        saved = read_spec(path / FOLDER_FILE, _Folder)
        path = path / QUANTIZER_FOLDER
        bpe = bpe or (Path(name) / MERGES_FILE if saved.spec.bpe else None)
        deduplicate = saved.spec.deduplicated if deduplicate is None else deduplicate
    quantizer = open_quantizer(path)
    wanted = tokenizer_spec(str(name), quantizer).encoder
    source = str(encoder or (saved.encoder if saved else _encoder_of(wanted, name)))
    loaded = load_encoder(
        source,
        layer=_layer(wanted, name, source),
        device=device,
        dtype=dtype,
        compat=bool(wanted.compat),
        normalization=wanted.normalization if wanted.normalization in ("none", "standardised") else None,  # type: ignore[arg-type]
    )
    merges = None if bpe is None else AcousticBpe.load(bpe)
    return SpeechTokenizer(
        loaded,
        quantizer,
        saved.spec.name if saved else str(name),
        deduplicate=deduplicate is not False,
        bpe=merges,
    )


def _encoder_of(spec: EncoderSpec, name: str | Path) -> str:
    """The name of an encoder that needs no folder.

    Raises:
        UserError: if it is another.
    """
    if spec.model in ("log-mel", "mfcc"):
        return spec.model
    if spec.model == "wav2vec2 small":
        return "embedded"
    raise UserError(
        f"{name}: was made with {spec.model}, layer {spec.layer}; give the folder or hub id of that encoder "
        "(encoder=..., --encoder)"
    )


def _layer(spec: EncoderSpec, name: str | Path, source: str) -> int | None:
    if source in ("log-mel", "mfcc"):
        return None
    if not spec.layer.isdigit():
        raise UserError(f"{name}: was made with the layers {spec.layer}; a tokenizer takes one layer of its encoder")
    return int(spec.layer)


def _kind(quantizer: Any) -> str:
    if isinstance(quantizer, StackedQuantizer):
        return quantizer.way
    kinds = {"Codebook": "codebook", "SmoothedCodebook": "smoothed", "SyllableQuantizer": "syllables"}
    return kinds.get(type(quantizer).__name__, "invariant")
