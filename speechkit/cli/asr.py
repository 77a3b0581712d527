"""`speechkit transcribe`: recordings to text with times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechkit.errors import shown

if TYPE_CHECKING:
    from speechkit.data.records import Utterance

Tracks = Callable[[Path], Iterator[tuple[dict[str, Any], Path]]]

GROUPS = 4
"""Groups of a diverse beam."""
EXAMPLES = """
Recognise recordings of any length and print their text. Unreadable recordings are reported, the others are processed,
and the command exits with 2.

Examples:

  speechkit transcribe talk.wav

  speechkit transcribe *.mp3 --json > words.jsonl

  speechkit transcribe talk.wav --recognizer facebook/wav2vec2-base-960h

  speechkit transcribe talk.wav --recognizer faster-whisper:tiny.en

  speechkit transcribe talk.wav --beam 0                 # greedily

  speechkit transcribe talk.wav --lm words.arpa --lm-weight 0.5

  speechkit transcribe talk.wav --beam 32 --lm words.arpa --rescore gpt2

  speechkit transcribe *.wav --beam 32 --nbest 8 --diverse --references dev.jsonl

  speechkit transcribe test.jsonl --out hypotheses.jsonl

  speechkit transcribe interview.wav --separate --speakers 2
"""


def transcribe(
    audio: Annotated[list[Path], typer.Argument(metavar="AUDIO...", help="Recordings, or folders of them.")],
    recognizer: Annotated[
        str,
        typer.Option(help="auto, embedded, a Hugging Face CTC checkpoint, faster-whisper:MODEL or words:FILE."),
    ] = "auto",
    lang: Annotated[str, typer.Option(help="Language of the recordings.")] = "en",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    beam: Annotated[
        int | None,
        typer.Option(help="Beam width, CTC only; 0: greedy. Default: 16 for embedded, 0 for others.", min=0),
    ] = None,
    lm: Annotated[
        Path | None,
        typer.Option(help="N-gram model for beam search (speechkit lm build), or none. Default: that of embedded."),
    ] = None,
    lm_weight: Annotated[float, typer.Option(help="Weight of the language model.", min=0.0)] = 0.5,
    word_bonus: Annotated[float, typer.Option(help="Score added for every word, with a language model.")] = 0.5,
    rescore: Annotated[
        str | None, typer.Option(help="A larger model that rescores the n-best list: .arpa, hub id or folder.")
    ] = None,
    nbest: Annotated[int, typer.Option(help="Hypotheses to print, best first.", min=1)] = 1,
    diverse: Annotated[bool, typer.Option("--diverse", help="Diverse beam search in groups.")] = False,
    references: Annotated[
        Path | None, typer.Option(help="A manifest with reference texts: print the oracle WER of the n-best list.")
    ] = None,
    separate: Annotated[
        bool, typer.Option("--separate", help="Separate speakers first; one line per speaker.")
    ] = False,
    separator: Annotated[str, typer.Option(help="Model for --separate: embedded, a folder or a hub id.")] = "embedded",
    speakers: Annotated[int | None, typer.Option(help="Number of speakers, for --separate; counted otherwise.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write a manifest with texts and recognition times; AUDIO may then be manifests."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per recording, with word times.")] = False,
) -> None:
    """Recognise recordings."""
    from speechkit.asr import load_recognizer
    from speechkit.asr.load import DEFAULT_BEAM, default_words
    from speechkit.cli.left_out import LeftOut, expand_folders
    from speechkit.errors import UserError

    audio = expand_folders(audio)
    words = default_words(recognizer, lang)
    without_words = lm is not None and str(lm) == "none"
    if beam is None:
        beam = DEFAULT_BEAM if words is not None and not without_words else 0
    if without_words:
        lm = None
    elif lm is None and beam:
        lm = words
    if (lm is not None or rescore is not None) and not beam:
        raise UserError(f"{'--rescore' if lm is None else '--lm'} needs --beam; add for example --beam 32")
    if separate and recognizer.startswith("words:"):
        raise UserError("--separate has no effect on words:FILE, which reads no audio; choose another recogniser")
    if speakers is not None and not separate:
        raise UserError("--speakers needs --separate; add it, or leave --speakers out")
    if (nbest > 1 or diverse) and not beam:
        raise UserError(f"{'--nbest' if nbest > 1 else '--diverse'} needs --beam; add for example --beam 32")
    if diverse and beam % GROUPS:
        raise UserError(
            f"--beam is {beam}, which does not divide by the {GROUPS} groups of --diverse; give a multiple of {GROUPS}"
        )
    if references is not None and (not beam or separate):
        raise UserError("--references needs --beam and whole recordings; add --beam, without --separate")
    if out is not None and (separate or nbest > 1 or references is not None or json):
        raise UserError("--out writes one text per recording; leave --separate, --nbest, --references and --json out")
    if out is not None:
        from speechkit.data.recordings import require_unique_ids
        from speechkit.io.paths import refuse_inputs

        refuse_inputs(out, audio)
        require_unique_ids(audio)
    truth = None if references is None else _references(references, audio)
    loaded: Any = load_recognizer(recognizer, lang=lang, device=device)
    if beam:
        from speechkit.asr.load import with_beam

        loaded = with_beam(loaded, beam, lm, lm_weight, word_bonus, rescore, device, GROUPS if diverse else 1)
    if out is not None:
        _write_manifest(loaded, audio, out)
        return
    left_out = LeftOut()
    tracks = _separate(separator, speakers, device) if separate else None
    lists: dict[Path, list[str]] = {}
    for path in audio:
        if len(audio) == 1:  # its error is that of the command
            lists[path] = _print_recording(loaded, path, tracks, nbest, alone=True, json=json)
            continue
        with left_out.one(path):
            lists[path] = _print_recording(loaded, path, tracks, nbest, alone=False, json=json)
    if truth is not None and lists:
        _print_oracle(truth, lists, json)
    if len(audio) > 1:
        left_out.end(len(lists))


def _write_manifest(recognizer: Any, inputs: list[Path], out: Path) -> None:
    """Recognise all inputs into a manifest, a row for every channel, and print the speed."""
    from speechkit.asr.timed_rows import recognize_row
    from speechkit.cli.left_out import LeftOut
    from speechkit.data import audio_path, rebase, write_manifest
    from speechkit.data.recordings import read_cuts

    left_out = LeftOut()
    rows: list[Utterance] = []
    for row, manifest in read_cuts(inputs, lambda path, error: left_out.add(path, str(error))):
        with left_out.one(row.id):
            recognized = recognize_row(recognizer, row, audio_path(manifest, row))
            rows += rebase([recognized], manifest.parent, out.parent)
    if rows:
        write_manifest(out, rows)
        audio_seconds = sum(row.duration for row in rows)
        seconds = sum((row.custom or {})["compute_seconds"] for row in rows)
        factor = f", {audio_seconds / seconds:.1f} times real time" if seconds else ""
        typer.echo(f"{out}: {len(rows)} texts, {audio_seconds / 60:.1f} minutes of audio{factor}")
    left_out.end(len(rows))


def _print_recording(
    recognizer: Any, path: Path, tracks: Tracks | None, nbest: int, *, alone: bool, json: bool
) -> list[str]:
    """Recognise a recording, or each of its speakers; print the whole text, and return it."""
    import msgspec

    lines = []
    for track, file in [({}, path)] if tracks is None else tracks(path):
        searched = hasattr(recognizer, "recognize_nbest")
        hypothesis, alternatives = (
            recognizer.recognize_nbest(str(file), nbest) if searched else (recognizer.recognize(str(file)), [])
        )
        texts = [alternative.text for alternative in alternatives] or [hypothesis.text]
        if json:
            line: dict[str, Any] = {
                "id": shown(path.stem),
                "audio": shown(path),
                **track,
                "text": hypothesis.text,
                "words": [word._asdict() for word in hypothesis_words(hypothesis)],
                "recognizer": recognizer.spec,
                **(
                    {"nbest": [{"text": alternative.text, "score": alternative.score} for alternative in alternatives]}
                    if nbest > 1
                    else {}
                ),
            }
            lines.append(msgspec.json.encode(line).decode())
        else:
            number = f"{track['track']}\t" if track else ""
            lines += [text if alone and not track else f"{shown(path)}\t{number}{text}" for text in texts]
    for text in lines:
        typer.echo(text)
    return texts


def _references(manifest: Path, audio: list[Path]) -> dict[Path, str]:
    """Reference texts by file name."""
    from speechkit.data.manifest import read_manifest
    from speechkit.errors import UserError

    texts = {Path(row.audio_filepath).name: row.text for row in read_manifest(manifest) if row.text}
    if unknown := next((path for path in audio if path.name not in texts), None):
        raise UserError(f"{manifest}: has no text of {unknown.name}; give a manifest of these recordings")
    return {path: texts[path.name] or "" for path in audio}


def _print_oracle(truth: dict[Path, str], lists: dict[Path, list[str]], json: bool) -> None:
    """Print the oracle word error rate of the n-best lists."""
    import msgspec

    from speechkit.metrics.oracle import oracle_error_rates

    named = {str(path): truth[path] for path in lists}
    rates = oracle_error_rates(named, {str(path): found for path, found in lists.items()})
    if json:
        typer.echo(msgspec.json.encode({"oracle": rates, "normalizer": "simple"}).decode())
        return
    for rate in rates:
        typer.echo(
            f"oracle WER over {rate.hypotheses}: {rate.rate:.2%} ({rate.errors} errors in {rate.words} words; "
            f"{rate.texts:.1f} different texts per recording)"
        )


def _separate(model: str, speakers: int | None, device: str) -> Tracks:
    """A function from a recording to its tracks in temporary files, with speaker count and confidence."""
    import tempfile

    from speechkit.separation.files import TrackOptions, separate_file
    from speechkit.separation.separate import load_window_separator

    loaded = load_window_separator(model, device)
    options = TrackOptions(speakers=speakers, audio_format="flac")

    def tracks(path: Path) -> Iterator[tuple[dict[str, Any], Path]]:
        with tempfile.TemporaryDirectory(prefix="speechkit-tracks-") as folder:
            separated = separate_file(path, folder, loaded, name="track", options=options)
            for number, file in enumerate(separated.tracks, 1):
                facts = {
                    "track": number,
                    "speakers": separated.count.speakers,
                    "confidence": separated.count.confidence,
                }
                yield facts, Path(folder) / file

    return tracks


def hypothesis_words(hypothesis: Any) -> list[Any]:
    """Words of a hypothesis with times rounded to milliseconds; a word's score is its characters' mean."""
    from speechkit.asr.words import TimedWord

    words = []
    begin = 0
    for word in hypothesis.text.split(" "):
        end = begin + len(word)
        if word:
            start, stop = round(float(hypothesis.starts[begin]), 3), round(float(hypothesis.ends[end - 1]), 3)
            words.append(TimedWord(word, start, stop, round(float(hypothesis.scores[begin:end].mean()), 4)))
        begin = end + 1
    return words


transcribe.__doc__ = EXAMPLES
