"""Speech tokenizer: waveforms or files to units with durations, and back to frame-level units.

Combines an encoder and any quantizer (k-means, smoothed, residual, product, invariant, syllables), optionally followed
by acoustic BPE.

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
from speechkit.units.quantizers import PREFIX, open_quantizer, unit_sets
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
        units: (N,), or (N, Q) for a stacked quantizer of Q codebooks.
        durations: (N,) in frames.
        unit_durations: durations of the units inside acoustic BPE tokens; None for units.
    """

    units: Numbers
    durations: Numbers
    unit_durations: Numbers | None = None

    def __len__(self) -> int:
        return len(self.units)


class SpeechTokenizer:
    """Encodes speech to units and decodes units to frame level; batches, files, streams and waveforms agree.

    Args:
        encoder: encoder of the quantizer's features.
        quantizer: any quantizer of `speechkit.units`.
        name: display name.
        deduplicate: merge runs of a unit into one with a duration; else one unit per frame. Adjacent syllables with the
            same unit are not merged.
        bpe: acoustic BPE merges, for tokens instead of units.

    Raises:
        UserError: if encoder, quantizer and merges are incompatible, naming what differs.
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
                raise ConfigError(f"{name}: acoustic BPE needs deduplicated units; leave deduplicate on")
            if self.spec.codebooks != [bpe.codebook]:
                raise UserError(f"{name}: the merges are of another codebook; learn merges of its units")
        self._frame_wise = isinstance(quantizer, Codebook | StackedQuantizer)

    @property
    def num_units(self) -> int:
        """Vocabulary size: number of units, or of tokens."""
        return self.spec.num_units

    def __call__(self, audio: Float | str | Path, sample_rate: int | None = None) -> Units:
        """See `encode`."""
        return self.encode(audio, sample_rate)

    def encode(self, audio: Float | str | Path, sample_rate: int | None = None) -> Units:
        """Units of a waveform (S,) in [-1, 1], or of an audio file of any format, rate and length.

        Args:
            audio: waveform or path.
            sample_rate: of the waveform; default: the encoder's.

        Raises:
            AudioError: if the audio cannot be read, or is not finite.
        """
        if isinstance(audio, str | Path):
            return self._encode_blocks(stream_audio(audio, sample_rate=self.encoder.spec.sample_rate))
        return self._encode_blocks([self._resample(audio, sample_rate)])

    def encode_batch(self, waveforms: Sequence[Float], sample_rate: int | None = None) -> list[Units]:
        """Units of each waveform, equal to those of `encode`; short waveforms are encoded in a batch.

        Raises:
            AudioError: if a waveform is not finite, or has several channels, with its index in the batch.
        """
        resampled = [self._resample(waveform, sample_rate) for waveform in waveforms]
        short = [index for index, waveform in enumerate(resampled) if len(waveform) <= self.encoder.most_at_once()]
        frames = dict(zip(short, self.encoder.encode_batch([resampled[index] for index in short]), strict=True))
        return [
            self._quantize([frames[index]], self._powers(waveform))
            if index in frames
            else self._encode_blocks([waveform])
            for index, waveform in enumerate(resampled)
        ]

    def stream(self, blocks: Iterable[Float]) -> Iterator[Units]:
        """Yield units of a waveform in blocks of any length, as soon as they are final.

        Concatenated they equal the result of `encode`. If a quantizer or acoustic BPE needs the whole recording, all
        units are yielded at its end.
        """
        if not self._frame_wise or self.bpe is not None:
            yield self._encode_blocks(blocks)
            return
        pending = np.zeros((0, len(self.spec.codebooks)), np.int32)
        for frames in self.encoder.stream(blocks):
            pending = np.concatenate([pending, self._assign(frames)])
            last = 0
            if self.spec.deduplicated and len(pending):  # the last run may continue
                differs = np.flatnonzero((pending[1:] != pending[:-1]).any(axis=1))
                last = len(pending) - (int(differs[-1]) + 1 if len(differs) else 0)
            final, pending = pending[: len(pending) - last], pending[len(pending) - last :]
            if len(final):
                yield self._runs(final)
        if len(pending):
            yield self._runs(pending)

    def decode(self, units: Units) -> Numbers:
        """Frame-level units (T,), or (T, Q), by repeating units for their durations.

        Raises:
            UserError: if units and durations are inconsistent, or a unit is out of range.
        """
        runs, durations = units.units, units.durations
        if self.bpe is not None:
            if units.unit_durations is None:
                raise UserError("the tokens have no durations of their units (unit_durations); encode the speech again")
            runs, durations = np.asarray(self.bpe.decode(runs.tolist()), np.int32), units.unit_durations
        if len(runs) != len(durations) or (len(durations) and int(durations.min()) < 1):
            raise UserError(f"{len(runs)} units but {len(durations)} durations; give each unit one of at least 1 frame")
        table = runs if runs.ndim == 2 else runs[:, None]
        if table.shape[1] != len(self.spec.clusters):
            raise UserError(
                f"units have {table.shape[1]} codebooks, {self.spec.name} {len(self.spec.clusters)}; use its own units"
            )
        if ((table < 0) | (table >= np.asarray(self.spec.clusters))).any():
            raise UserError(f"a unit is out of range; {self.spec.name} has {self.spec.clusters} units")
        return np.repeat(runs, durations, axis=0)

    def save(self, folder: Path | str, encoder: str) -> None:
        """Write quantizer, merges and spec; ``encoder`` is the name or folder for `load_tokenizer`."""
        folder = Path(folder)
        self.quantizer.save(folder / QUANTIZER_FOLDER)
        if self.bpe is not None:
            self.bpe.save(folder / MERGES_FILE)
        write_json(folder / FOLDER_FILE, _Folder(encoder, self.spec))

    def _resample(self, waveform: Float, sample_rate: int | None) -> Float:
        from speechkit.io.audio import resample

        rate = self.encoder.spec.sample_rate
        if sample_rate is None or sample_rate == rate:
            return waveform
        return resample(np.asarray(waveform, np.float32), sample_rate, rate)

    def _encode_blocks(self, blocks: Iterable[Float]) -> Units:
        """Units of a waveform given in blocks."""
        powers: Powers = []
        if isinstance(self.quantizer, SyllableQuantizer):
            blocks = self.quantizer.collect_powers(blocks, powers)
        return self._quantize(self.encoder.stream(blocks), powers)

    def _powers(self, waveform: Float) -> Powers:
        powers: Powers = []
        if isinstance(self.quantizer, SyllableQuantizer):
            for _ in self.quantizer.collect_powers([waveform], powers):
                pass
        return powers

    def _quantize(self, pieces: Iterable[Float], powers: Powers) -> Units:
        """Units of a recording's frames, given in pieces; ``powers`` are complete after the last piece."""
        if self._frame_wise:
            return self._runs(np.concatenate([self._assign(piece) for piece in pieces]))
        frames = np.concatenate(list(pieces))
        if isinstance(self.quantizer, SyllableQuantizer):
            return self._to_units(*self.quantizer.tokens(frames, powers))
        return self._runs(self._assign(frames))

    def _assign(self, frames: Float) -> Numbers:
        """Frames (T, D) to units (T, Q)."""
        return np.asarray(self.quantizer.assign(frames), np.int32).reshape(len(frames), len(self.spec.codebooks))

    def _runs(self, frame_units: Numbers) -> Units:
        """Units of frame-level units (T, Q), deduplicated if the spec says so."""
        table, durations = frame_units, np.ones(len(frame_units), np.int32)
        if self.spec.deduplicated and len(frame_units):
            begins = np.concatenate([[0], np.flatnonzero((frame_units[1:] != frame_units[:-1]).any(axis=1)) + 1])
            table, durations = frame_units[begins], np.diff(np.append(begins, len(frame_units))).astype(np.int32)
        return self._to_units(table[:, 0] if len(self.spec.codebooks) == 1 else table, durations)

    def _to_units(self, units: Numbers, durations: Numbers) -> Units:
        """Units with durations in the form of the spec: deduplicated, frame by frame, or as tokens."""
        if not self.spec.deduplicated and len(units):
            units, durations = np.repeat(units, durations, axis=0), np.ones(int(durations.sum()), np.int32)
        if self.bpe is None:
            return Units(units, durations)
        tokens = np.asarray(self.bpe.encode(units), np.int32)
        ends = np.cumsum([0, *(self.bpe.sizes()[token] for token in tokens)])
        return Units(tokens, np.diff(np.cumsum([0, *durations])[ends]).astype(np.int32), durations)


class _Folder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of ``tokenizer.json``."""

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
    """The spec of a quantizer's units; ``encoder`` defaults to the one recorded by the quantizer.

    Raises:
        UserError: if no encoder is given or recorded.
    """
    encoder = encoder or encoder_of(quantizer)
    if encoder is None:
        raise UserError(f"{name}: does not record its encoder; give it when you import the codebook")
    sets = unit_sets(quantizer)
    digests, clusters = [unit_set.digest for unit_set in sets], [unit_set.clusters for unit_set in sets]
    merges = (None, None) if bpe is None else (bpe.digest, bpe.num_tokens)
    return TokenizerSpec(name, _kind(quantizer), encoder, digests, clusters, deduplicate, *merges)


def encoder_of(quantizer: AnyQuantizer) -> EncoderSpec | None:
    """The encoder recorded by a quantizer, if any."""
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
    """Load a tokenizer by name or folder.

    Args:
        name: ``embedded-50`` to ``embedded-500``, shipped with the package; a published codebook of
            `speechkit.units.known_codebooks` such as ``hubert-base-ls960/9/km500``; or the folder of a codebook, a
            quantizer or a saved tokenizer.
        encoder: folder or hub id of the encoder, needed for the folder of a codebook, which records the encoder's
            identity but not its location.
        folder: folder of the file of a published codebook.
        bpe: merges written by ``speechkit units bpe``, for tokens instead of units.
        deduplicate: see `SpeechTokenizer`; default: on.
        device: ``auto``, ``cpu``, ``cuda`` …
        dtype: of the encoder, see `speechkit.encoders.load_encoder`.

    Raises:
        UserError: if there is no such tokenizer, or its parts are incompatible, naming what differs.
    """
    from speechkit.encoders.load import load_encoder
    from speechkit.units.known_codebooks import KNOWN, known_file, known_quantizer

    path = Path(name)
    saved: _Folder | None = None
    if str(name) in KNOWN and not path.is_dir():
        known = KNOWN[str(name)]
        known_file(str(name), folder)  # is missing more often than the encoder, which may be a download
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
    if folder is not None:
        raise UserError(
            f"{name}: is no published codebook, whose file a folder would hold; leave {folder} out, or give one of "
            f"{', '.join(KNOWN)}"
        )
    if (path / FOLDER_FILE).is_file():
        saved = read_spec(path / FOLDER_FILE, _Folder)
        path = path / QUANTIZER_FOLDER
        bpe = bpe or (Path(name) / MERGES_FILE if saved.spec.bpe else None)
        deduplicate = saved.spec.deduplicated if deduplicate is None else deduplicate
    if not path.is_dir() and not str(path).startswith(PREFIX):
        raise UserError(
            f"{name}: no such folder or name; give the folder of a quantizer, embedded-50 to embedded-500, or one of "
            f"{', '.join(KNOWN)}"
        )
    quantizer = open_quantizer(path)
    encoder_spec = tokenizer_spec(str(name), quantizer).encoder
    source = str(encoder or (saved.encoder if saved else _builtin_encoder(encoder_spec, name)))
    loaded = load_encoder(
        source,
        layer=_layer(encoder_spec, name, source),
        device=device,
        dtype=dtype,
        compat=bool(encoder_spec.compat),
        normalization=_normalization(encoder_spec, source),
    )
    merges = None if bpe is None else AcousticBpe.load(bpe)
    return SpeechTokenizer(
        loaded,
        quantizer,
        saved.spec.name if saved else str(name),
        deduplicate=deduplicate is not False,
        bpe=merges,
    )


def _builtin_encoder(spec: EncoderSpec, name: str | Path) -> str:
    """The name of a built-in encoder.

    Raises:
        UserError: if the encoder is not built in.
    """
    if spec.model in ("log-mel", "mfcc"):
        return spec.model
    if spec.model == "wav2vec2 small":
        return "embedded"
    raise UserError(
        f"{name}: needs the encoder {spec.model}, layer {spec.layer}; give its folder or hub id "
        "(encoder=..., --encoder)"
    )


def _layer(spec: EncoderSpec, name: str | Path, source: str) -> int | None:
    if source in ("log-mel", "mfcc"):
        return None
    if not spec.layer.isdigit():
        raise UserError(f"{name}: uses the layers {spec.layer}; a tokenizer needs a quantizer of a single layer")
    return int(spec.layer)


def _normalization(spec: EncoderSpec, source: str) -> Literal["none", "standardised"] | None:
    if source in ("log-mel", "mfcc"):  # they have one of their own
        return None
    return spec.normalization if spec.normalization in ("none", "standardised") else None  # type: ignore[return-value]


def _kind(quantizer: Any) -> str:
    if isinstance(quantizer, StackedQuantizer):
        return quantizer.way
    kinds = {"Codebook": "codebook", "SmoothedCodebook": "smoothed", "SyllableQuantizer": "syllables"}
    return kinds.get(type(quantizer).__name__, "invariant")
