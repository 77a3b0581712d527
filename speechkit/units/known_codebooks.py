"""Published codebooks by name, with the URL of their file and their encoder, layer and frame grid.

The files are not part of this package: download one, with its encoder, and give its folder. Files are verified against
the digest in their publisher's loader; without one, the digest of the first load is recorded and later loads are
verified against it. A digest identifies a file; it says nothing about its quality.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from speechkit.encoders.model import Normalization
from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError
from speechkit.io.atomic import write_json
from speechkit.units.codebook import Codebook
from speechkit.units.imported import import_codebook

RECORD_FILE = "known-codebooks.json"
BLOCK_BYTES = 1 << 20
_META = "https://dl.fbaipublicfiles.com"


class KnownCodebook(msgspec.Struct, frozen=True):
    """A published codebook.

    Attributes:
        encoder: hub id of the encoder, for transformers.
        layer: layer of the clustered features, counted from 1.
        clusters: number of units.
        url: of the file.
        sha256: digest of the file in the publisher's loader, if any.
        frames_per_second: of the encoder.
        compat: whether its users have the frame grid of stock transformers and fairseq; else one frame per hop.
        normalization: of waveforms; fairseq does not normalise those of HuBERT's base models.
        used_by: released models with these units.
    """

    encoder: str
    layer: int
    clusters: int
    url: str
    sha256: str | None = None
    frames_per_second: float = 50.0
    compat: bool = True
    normalization: Normalization = "none"
    used_by: str = ""

    @property
    def file(self) -> str:
        """File name to look for: the last parts of the URL."""
        parts = self.url.split("/")
        return parts[-1] if parts[-1] != "km.bin" else "-".join(parts[-3:])


_HUBERT = "facebook/hubert-base-ls960"
_MHUBERT = "slprl/mhubert-base-25hz"
_MHUBERT_FILE = "mhubert_base_25hz_cp_mls_cv_sp_fisher_L11_km500.bin"
_MHUBERT_SHA = "03cc04a9c24fec4285e73e709c485756d8f116aa8e724eac555de6a7cf8d28ad"

# Addresses, layers and digests are those of textlesslib's checkpoint manager (MIT); slamkit's grid is its extractor's.
KNOWN: dict[str, KnownCodebook] = {
    "hubert-base-ls960/6/km50": KnownCodebook(
        _HUBERT,
        6,
        50,
        f"{_META}/textless_nlp/gslm/hubert/km50/km.bin",
        "d01a7d5bc2c54b7b5f25f321ba525b4d230b06e3927f90bad0394198bc89f494",
        used_by="GSLM, textlesslib",
    ),
    "hubert-base-ls960/6/km100": KnownCodebook(
        _HUBERT,
        6,
        100,
        f"{_META}/textless_nlp/gslm/hubert/km100/km.bin",
        "f14a3104615485381fc489701d6761c9abbdbb0d43607cf55518a1e2891023fe",
        used_by="GSLM, textlesslib, unit HiFi-GAN of 100 units",
    ),
    "hubert-base-ls960/6/km200": KnownCodebook(
        _HUBERT,
        6,
        200,
        f"{_META}/textless_nlp/gslm/hubert/km200/km.bin",
        "b3c46c9cdd1707ad852dd53c359aa73942e79d53c432a9a8a419ed046408024b",
        used_by="GSLM, textlesslib",
    ),
    "hubert-base-ls960/6/km500": KnownCodebook(
        _HUBERT,
        6,
        500,
        f"{_META}/textless_nlp/gslm/hubert/km500/km.bin",
        "411c8668e1314751404f58636f935fc73540a6793890435da4a8ffadf157398e",
        used_by="textlesslib",
    ),
    "hubert-base-ls960/9/km500": KnownCodebook(
        _HUBERT,
        9,
        500,
        f"{_META}/hubert/hubert_base_ls960_L9_km500.bin",
        "4450dcbc90aa7d0553306a4b0fafef35c9b3c840468f02969273dfbb9db89a23",
        used_by="textlesslib, the Expresso vocoder of 500 units",
    ),
    "hubert-base-ls960/9/km2000-expresso": KnownCodebook(
        _HUBERT,
        9,
        2000,
        f"{_META}/textless_nlp/expresso/checkpoints/hubert_base_ls960_L9_km2000_expresso.bin",
        "ae73e3cc7ea0426faf43c8bb67fc3846a0f8708232526d045a101836e8c7929f",
        used_by="the Expresso vocoder of 2000 units",
    ),
    "mhubert-25hz/km500": KnownCodebook(
        _MHUBERT,
        11,
        500,
        f"{_META}/textless_nlp/twist/speech_tokenizer/{_MHUBERT_FILE}",
        _MHUBERT_SHA,
        frames_per_second=25.0,
        used_by="TWIST and its vocoder, by textlesslib",
    ),
    "mhubert-25hz/km500-slamkit": KnownCodebook(
        _MHUBERT,
        11,
        500,
        f"{_META}/textless_nlp/twist/speech_tokenizer/{_MHUBERT_FILE}",
        _MHUBERT_SHA,
        frames_per_second=25.0,
        compat=False,
        used_by="models of slamkit, which lays 40 zeros before and behind a waveform",
    ),
}


class _Recorded(msgspec.Struct, frozen=True):
    """Content of ``known-codebooks.json``: the digest of each file at its first load."""

    sha256: dict[str, str]


def known_file(name: str, folder: str | Path | None) -> Path:
    """The file of a published codebook, in a folder or given itself.

    Raises:
        UserError: if there is none, with the address to download it from.
    """
    known = KNOWN[name]
    if folder is None:
        raise UserError(
            f"{name}: its file is not part of this package; download {known.url} and give its folder "
            "(folder=..., --folder)"
        )
    path = Path(folder)
    path = path / known.file if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"{path}: no such file; download {known.url} and save it under this name")
    return path


def known_quantizer(name: str, folder: str | Path | None, encoder: EncoderSpec) -> Codebook:
    """Load a published codebook from its file.

    Args:
        name: a key of `KNOWN`.
        folder: folder of the file, or the file itself.
        encoder: spec of the loaded encoder.

    Raises:
        UserError: if the file is missing, its digest or number of units differs, or the encoder does not fit.
    """
    known, path = KNOWN[name], known_file(name, folder)
    if encoder.frame_rate != known.frames_per_second:
        raise UserError(
            f"{name}: needs {known.frames_per_second:g} frames per second, {encoder.model} has "
            f"{encoder.frame_rate:g}; use {known.encoder}"
        )
    _compare(path, _sha256(path), known)
    codebook = import_codebook(path, encoder)
    if codebook.num_units != known.clusters:
        raise UserError(f"{path}: has {codebook.num_units} units, {name} {known.clusters}; download it again")
    return codebook


def _compare(path: Path, digest: str, known: KnownCodebook) -> None:
    """Verify a file's digest against the published or recorded one; record it if there is neither."""
    if known.sha256 is not None:
        if digest != known.sha256:
            raise UserError(
                f"{path}: digest {digest[:12]}… differs from the published {known.sha256[:12]}…; download {known.url} "
                "again, or import another codebook with speechkit units import"
            )
        return
    record = path.parent / RECORD_FILE
    try:
        recorded = msgspec.json.decode(record.read_bytes(), type=_Recorded).sha256
    except FileNotFoundError:
        recorded = {}
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(f"{record}: cannot be read ({error}); remove it to record the digests again") from error
    if path.name not in recorded:
        write_json(record, _Recorded({**recorded, path.name: digest}))
    elif recorded[path.name] != digest:
        raise UserError(
            f"{path}: digest {digest[:12]}… differs from {recorded[path.name][:12]}… at the first load; download it "
            f"again, or remove {record} to accept the new file"
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()
