"""Choose a recogniser by name."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from speechkit.asr.hypothesis import Hypothesis, Recognizer, RecognizerSpec
from speechkit.errors import UserError, require

DEFAULT_BEAM = 16
"""Width of the beam where the embedded recogniser is searched with its words."""


def transcribe(audio: Path | str, recognizer: str | Recognizer = "auto", lang: str = "en") -> Hypothesis:
    """Transcribe one recording of any length, with the time of each character.

    The embedded recogniser decodes by beam search with its words, as `speechkit transcribe` does.

    Args:
        audio: the file.
        recognizer: a name for `load_recognizer`, or a loaded recogniser, which is faster for several recordings.
        lang: language of the recording, if a name is given.

    Raises:
        UserError: if the recogniser cannot be loaded.
        AudioError: if the recording cannot be read.
    """
    if not isinstance(recognizer, str):
        return recognizer.recognize(str(audio))
    loaded = load_recognizer(recognizer, lang)
    words = default_words(recognizer, lang)
    if words is not None:
        loaded = with_beam(loaded, DEFAULT_BEAM, words)
    return loaded.recognize(str(audio))


def default_words(recognizer: str, lang: str) -> Path | None:
    """The n-gram model that transcription with a named recogniser takes by default: the embedded one's."""
    from speechkit.asr.embedded import embedded_words

    return embedded_words(lang) if recognizer in ("auto", "embedded") else None


def load_recognizer(name_or_path: str = "auto", lang: str = "en", device: str = "auto", **options: Any) -> Recognizer:
    """Load a recogniser by name.

    Args:
        name_or_path: ``embedded`` (also ``auto``) for the model in the package; the folder of a speechkit or Hugging
            Face CTC model, or a hub id; ``faster-whisper:MODEL`` with a name or folder; ``words:FILE`` with a CTM or
            JSON file, or a folder with one per recording.
        lang: language of the recordings.
        device: ``auto``, ``cpu``, ``cuda`` …
        options: of CTC models: ``window_seconds`` (20), ``context_seconds`` (2), ``margin_seconds`` (0.2) and
            ``batch_size``; of faster-whisper: ``beam_size`` (5).

    Raises:
        UserError: if there is no such recogniser or option, or it cannot be loaded.
    """
    if name_or_path.startswith("words:"):
        from speechkit.asr.words import WordsRecognizer

        _only(options, set(), "words")
        return WordsRecognizer(name_or_path.removeprefix("words:"), lang)

    from speechkit.runtime import choose_device

    chosen = choose_device(device)
    if name_or_path.startswith("faster-whisper:"):
        from speechkit.asr.whisper import WhisperRecognizer

        _only(options, {"beam_size"}, "faster-whisper")
        return WhisperRecognizer(name_or_path.removeprefix("faster-whisper:"), lang, chosen, **options)

    from speechkit.asr.ctc_recognizer import CtcRecognizer

    _only(options, {"window_seconds", "context_seconds", "margin_seconds", "batch_size"}, "a CTC model")
    batch_size = options.pop("batch_size", None)
    if name_or_path in ("auto", "embedded") or is_own_model(Path(name_or_path)):
        from speechkit.asr.embedded import EmbeddedEmitter, embedded_folder
        from speechkit.io.hashing import digest_file
        from speechkit.nn.mel import SAMPLE_RATE

        inside = name_or_path in ("auto", "embedded")
        folder = embedded_folder(lang) if inside else Path(name_or_path)
        emitter = EmbeddedEmitter(folder, chosen, batch_size)
        longest = emitter.max_frames * emitter.frame_samples / SAMPLE_RATE
        window = options.get("window_seconds", 20.0) + 2 * options.get("context_seconds", 2.0)
        if window > longest:
            raise UserError(f"a window has {window:g} s with its context; give at most the model's {longest:g} s")
        name = "embedded" if inside else "speechkit-ctc"
        spec = RecognizerSpec(name, folder.name, digest_file(folder / "model.safetensors"), lang)
        return CtcRecognizer(emitter, spec, **options)

    from speechkit.asr.huggingface import HuggingFaceEmitter

    checkpoint = HuggingFaceEmitter(name_or_path, chosen, batch_size)
    spec = RecognizerSpec("huggingface", Path(name_or_path).name, checkpoint.weights_hash(), lang)
    return CtcRecognizer(checkpoint, spec, **options)


def check_recognizer(name_or_path: str, lang: str) -> None:
    """Refuse a missing file, folder or library, or an unsupported language, before anything is loaded.

    Raises:
        UserError: as `load_recognizer`.
    """
    kind, _, argument = name_or_path.partition(":")
    if name_or_path in ("auto", "embedded"):
        from speechkit.asr.embedded import embedded_folder

        embedded_folder(lang)
    elif kind == "words" and argument:
        if not Path(argument).exists():
            raise UserError(
                f"{argument}: no such file or folder; give a CTM or JSON file, or a folder with one per recording"
            )
    elif kind == "faster-whisper":
        if importlib.util.find_spec("faster_whisper") is None:
            require("faster_whisper")
    elif name_or_path.startswith((".", "/", "~")) and not Path(name_or_path).expanduser().is_dir():
        raise UserError(f"{name_or_path}: no such folder; give a folder with a CTC model, or its name on the hub")


def gives_emissions(name_or_path: str) -> bool:
    """Whether a recogniser gives CTC emissions: all but Whisper and word times made elsewhere."""
    return not name_or_path.startswith(("words:", "faster-whisper:"))


def with_beam(
    recognizer: Recognizer,
    beam: int,
    model_path: str | Path | None = None,
    weight: float = 0.5,
    bonus: float = 0.5,
    rescoring: str | None = None,
    device: str = "auto",
    groups: int = 1,
) -> Recognizer:
    """The recogniser with beam search; without a language model, weight and word bonus have no effect.

    ``model_path`` is an n-gram model, ARPA or packed. ``rescoring`` (ARPA file, hub id or folder) rescores the n-best
    list, with the same weight and bonus. ``groups`` is for diverse beam search.

    Raises:
        UserError: if the recogniser is not a CTC model, or the language model cannot be used.
    """
    from speechkit.asr.beam import BeamConfig
    from speechkit.asr.beam_recognizer import BeamRecognizer
    from speechkit.asr.ctc_recognizer import CtcRecognizer
    from speechkit.runtime import choose_device

    if not isinstance(recognizer, CtcRecognizer):
        raise UserError(f"{recognizer.spec.name}: has no CTC emissions for beam search; leave --beam and --lm out")
    silent = model_path is None and rescoring is None
    config = BeamConfig(beam=beam, weight=weight, bonus=0.0 if silent else bonus, groups=groups)
    return BeamRecognizer(recognizer, config, model_path, rescoring, choose_device(device))


def is_own_model(folder: Path) -> bool:
    """Whether a folder holds a `CtcModel` rather than a Hugging Face checkpoint."""
    config = folder / "config.json"
    return config.is_file() and b'"mel_channels"' in config.read_bytes()[:65_536]


def _only(options: dict[str, Any], known: set[str], name: str) -> None:
    unknown = sorted(set(options) - known)
    if unknown:
        raise UserError(f"{name} has no option {', '.join(unknown)}; options are {', '.join(sorted(known)) or 'none'}")


def recognizer_digest(name: str) -> str:
    """Digest for a recogniser's name: of the embedded model's weights, a file's content, or the name itself."""
    from speechkit.io.hashing import digest_file

    kind, _, argument = name.partition(":")
    if name in {"auto", "embedded"}:
        weights = sorted(Path(__file__).parent.glob("models/*/model.safetensors"))
        return "embedded " + " ".join(digest_file(path) for path in weights)
    path = Path(argument or name)
    if path.is_file():
        return f"{kind} {digest_file(path)}"
    if path.is_dir():
        return f"{kind} " + " ".join(digest_file(item) for item in sorted(path.rglob("*")) if item.is_file())
    return name
