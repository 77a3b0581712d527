"""`speechkit vocode`: frames or units to speech."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Set
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechkit.cli.facts import print_facts
from speechkit.cli.left_out import LeftOut
from speechkit.cli.options import Device, Json
from speechkit.errors import shown

if TYPE_CHECKING:
    from speechkit.data.records import Utterance
    from speechkit.tts.vocoder.copy_synthesis import Synthesis
    from speechkit.tts.vocoder.vocoder import Vocoder

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Synthesise speech from frames or units.")

FEATURES = """
Resynthesise recordings with a vocoder, or synthesise stored frames of its encoder.

Prints the real-time factor (seconds of computing per second of speech) and the time to the first audio, both of the
vocoder alone.

Examples:

  speechkit vocode features talk.wav --out again.wav

  speechkit vocode features test.jsonl --out again

  speechkit vocode features feats --vocoder exp/vocoder/04-adversarial/current/model --speaker anna.wav --out spoken
"""
UNITS = """
Synthesise unit files written by speechkit units assign with a vocoder trained on units of that codebook. With a unit
decoder and a vocoder of log-mel frames: speechkit units say.

Examples:

  speechkit vocode units units.jsonl --codebook embedded-100 --vocoder exp/unit-vocoder/model --out spoken

  speechkit vocode units units.jsonl --codebook units/kmeans --vocoder VOCODER --speaker anna.wav --out spoken
"""

MANIFESTS = (".jsonl", ".gz")

Out = Annotated[
    Path, typer.Option(help="An audio file for one recording, else a folder of FLAC files with a manifest.")
]
Name = Annotated[str, typer.Option("--vocoder", help="embedded, or the folder of a vocoder.")]
Speaker = Annotated[
    Path | None, typer.Option(help="A recording of the target speaker, for vocoders that take a speaker.")
]
Seed = Annotated[int, typer.Option(help="Seed of the noise, for vocoders with noise.", min=0, max=2**63 - 1)]


def features(
    inputs: Annotated[list[Path], typer.Argument(metavar="AUDIO|MANIFEST|STORE...", help="Inputs to synthesise.")],
    out: Out,
    vocoder: Name = "embedded",
    encoder: Annotated[str, typer.Option(help="For recordings, if the vocoder takes encoder frames.")] = "embedded",
    codebook: Annotated[str, typer.Option(help="For recordings, if the vocoder takes units.")] = "embedded-100",
    speaker: Speaker = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Synthesise recordings or stored frames."""
    from speechkit.errors import UserError

    for path in inputs:
        if not path.exists():
            raise UserError(f"{path}: no such file; give recordings, a manifest or a store of features")
    model, vector = _opened(vocoder, speaker, device)
    stores = [path for path in inputs if path.is_dir()]
    files = [path for path in inputs if not path.is_dir()]
    spoken = _Spoken(out, model, _recordings(files))
    for store in stores:
        spoken.write(_of_store(model, store, vector, seed, spoken.left_out))
    if files:
        spoken.write(_of_recordings(model, files, vector, seed, encoder, codebook, spoken.left_out))
    print_facts(spoken.finish(), json)
    spoken.left_out.end(1)


def units(
    inputs: Annotated[list[Path], typer.Argument(metavar="UNITS...", help="Files written by units assign.")],
    codebook: Annotated[Path, typer.Option(help="Folder or name of the units' quantizer.")],
    out: Out,
    vocoder: Annotated[str, typer.Option(help="Folder of a vocoder that takes these units.")],
    speaker: Speaker = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Synthesise units."""
    from speechkit.cli.units_files import read_units

    sequences, named_by = read_units(inputs, codebook)
    model, vector = _opened(vocoder, speaker, device)
    model.config.input.require(named_by, model.name)

    result = _Spoken(out, model)
    given = ((row.id, row.frames) for row in sequences)
    result.write(_of_frames(model, given, _required(model, vector), seed, result.left_out))
    print_facts(result.finish(), json)
    result.left_out.end(1)


features.__doc__, units.__doc__ = FEATURES, UNITS
app.command()(features)
app.command()(units)


def _opened(name: str, speaker: Path | None, device: str) -> tuple[Vocoder, Any]:
    """The vocoder, and the speaker vector if a speaker is given."""
    from speechkit.io.audio import read_audio
    from speechkit.runtime.device import choose_device
    from speechkit.tts.vocoder.load import load_vocoder

    model = load_vocoder(name, choose_device(device))
    if speaker is None:
        return model, None
    rate = model.config.speaker.mel.sample_rate if model.config.speaker else model.sample_rate
    return model, model.reference(read_audio(speaker, sample_rate=rate))


def _required(model: Vocoder, vector: Any) -> Any:
    """The speaker vector, which stored frames and units do not contain."""
    from speechkit.errors import UserError

    if model.speaker is not None and vector is None:
        raise UserError(f"{model.name} needs a speaker; give --speaker RECORDING")
    return vector


def _of_store(
    model: Vocoder, folder: Path, vector: Any, seed: int, left_out: LeftOut
) -> Iterator[tuple[Utterance | str, Synthesis]]:
    """Synthesise every item of a feature store."""
    from speechkit.encoders.store import FeatureStore

    store = FeatureStore(folder)
    model.config.input.require(store.spec, model.name)
    given = ((name, partial(store.__getitem__, name)) for name in store.ids())
    return _of_frames(model, given, _required(model, vector), seed, left_out)


def _of_frames(
    model: Vocoder, given: Iterable[tuple[str, Callable[[], Any]]], vector: Any, seed: int, left_out: LeftOut
) -> Iterator[tuple[Utterance | str, Synthesis]]:
    """Synthesise frames or units by name; those that cannot be read or synthesised are reported."""
    from speechkit.tts.vocoder.copy_synthesis import synthesize

    for name, read in given:
        speech = None
        with left_out.one(name):
            speech = synthesize(model, read(), vector, seed)
        if speech is not None:
            yield name, speech


def _recordings(files: list[Path]) -> set[str]:
    """Real paths of the recordings in files and manifests, which no clip may replace."""
    from speechkit.data.manifest import audio_path, read_manifest

    recordings: set[str] = set()
    for path in files:
        if path.suffix not in MANIFESTS:
            recordings.add(os.path.realpath(path))
        else:
            recordings |= {os.path.realpath(audio_path(path, row)) for row in read_manifest(path)}
    return recordings


def _of_recordings(
    model: Vocoder, paths: list[Path], vector: Any, seed: int, encoder: str, codebook: str, left_out: LeftOut
) -> Iterator[tuple[Utterance | str, Synthesis]]:
    """Resynthesise recordings, with their own speaker unless another is given; unreadable ones are reported."""
    from speechkit.data.audio import read_waveform
    from speechkit.data.manifest import read_manifest, unique_ids
    from speechkit.io.audio import read_audio
    from speechkit.tts.vocoder.copy_synthesis import analysis_of, synthesize

    analysis, rate = analysis_of(model, encoder, codebook, str(model.mean.device))

    def made(name: Utterance | str, read: Callable[[], Any]) -> Iterator[tuple[Utterance | str, Synthesis]]:
        speech = None
        with left_out.one(name if isinstance(name, str) else name.id):
            waveform = read()
            own = model.reference(waveform) if model.speaker is not None and vector is None else vector
            speech = synthesize(model, analysis(waveform), own, seed)
        if speech is not None:
            yield name, speech

    for path in paths:
        if path.suffix not in MANIFESTS:
            yield from made(shown(path.stem), partial(read_audio, path, sample_rate=rate))
            continue
        for row in unique_ids(read_manifest(path), path):
            yield from made(row, partial(read_waveform, row, path, sample_rate=rate))


class _Spoken:
    """Writes speech: one file, or a folder with a manifest; and counts."""

    def __init__(self, out: Path, model: Vocoder, recordings: Set[str] = frozenset()):
        from speechkit.errors import UserError
        from speechkit.io.audio import names_audio

        self._one_file = names_audio(out) and not out.is_dir()
        self._out, self._model, self._recordings = out, model, recordings
        self.left_out = LeftOut()
        self._rows: list[Utterance] = []
        self._names: set[str] = set()
        self._seconds = self._taken = 0.0
        self._first: float | None = None
        self._single: Synthesis | None = None  # not written before it is known to be the only one
        if not self._one_file and out.is_file():
            raise UserError(f"{out}: is a file; name a folder, or a file with the suffix of a format")

    def write(self, items: Iterator[tuple[Utterance | str, Synthesis]]) -> None:
        """Write items as they come.

        Raises:
            UserError: if there are several for one file.
        """
        from speechkit.data.records import Utterance
        from speechkit.errors import UserError
        from speechkit.io.audio import write_audio
        from speechkit.io.paths import refuse_inputs, safe_id

        for source, speech in items:
            name = source if isinstance(source, str) else source.id
            if not len(speech.waveform):
                self.left_out.add(name, "it is shorter than a frame")
                continue
            if self._one_file and self._rows:
                raise UserError(f"{self._out}: is one file, and there are several recordings; name a folder by --out")
            if name in self._names:
                self.left_out.add(name, "duplicate id, which names the clip")
                continue
            self._names.add(name)
            path = self._out if self._one_file else self._out / f"{safe_id(name)}.flac"
            refuse_inputs(path, self._recordings & {os.path.realpath(path)})  # not all of them for every clip
            if self._one_file:
                self._single = speech
            else:
                write_audio(path, speech.waveform, speech.rate)
            known = None if isinstance(source, str) else source
            self._rows.append(
                Utterance.from_samples(
                    id=name,
                    audio_filepath=path.name,
                    num_samples=len(speech.waveform),
                    sample_rate=speech.rate,
                    text=known.text if known else None,
                    speaker=known.speaker if known else None,
                    lang=known.lang if known else None,
                )
            )
            self._seconds += speech.seconds
            self._taken += speech.taken_seconds
            self._first = speech.first_seconds if self._first is None else self._first

    def finish(self) -> dict[str, Any]:
        """Write the manifest; return counts and speed.

        Raises:
            UserError: if there is no output.
        """
        from speechkit.data.manifest import write_manifest
        from speechkit.errors import UserError
        from speechkit.io.audio import write_audio

        if not self._rows:
            self.left_out.end(0)
            raise UserError("no output; the inputs contain no recordings")
        if self._single is not None:
            write_audio(self._out, self._single.waveform, self._single.rate)
        else:
            write_manifest(self._out / "manifest.jsonl", self._rows)
        return {
            "recordings": len(self._rows),
            "seconds": self._seconds,
            "real-time factor": self._taken / self._seconds,
            "first audio after (s)": self._first,
            "look-ahead (s)": self._model.config.context_frames / self._model.config.input.frame_rate,
            "written": str(self._out),
        }
