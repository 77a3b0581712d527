"""`speechkit transcribe`: recordings to text with times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from speechkit.errors import shown

Tracks = Callable[[Path], Iterator[tuple[dict[str, Any], Path]]]

EXAMPLES = """
Recognise recordings of any length and print their text. Of several, one that cannot be read is named, the others are
done, and the command ends with 2.

Examples:

  speechkit transcribe talk.wav

  speechkit transcribe *.mp3 --json > words.jsonl

  speechkit transcribe talk.wav --recognizer facebook/wav2vec2-base-960h

  speechkit transcribe talk.wav --recognizer faster-whisper:tiny.en

  speechkit transcribe talk.wav --beam 32 --lm words.arpa --lm-weight 0.5

  speechkit transcribe talk.wav --beam 32 --lm words.arpa --rescore gpt2

  speechkit transcribe interview.wav --separate --speakers 2
"""


def transcribe(
    audio: Annotated[list[Path], typer.Argument(metavar="AUDIO...", help="Recordings.")],
    recognizer: Annotated[
        str,
        typer.Option(help="auto, embedded, a Hugging Face CTC checkpoint, faster-whisper:MODEL or words:FILE."),
    ] = "auto",
    lang: Annotated[str, typer.Option(help="Language of the recordings.")] = "en",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    beam: Annotated[int, typer.Option(help="Texts kept by beam search; 0 decodes greedily. CTC only.", min=0)] = 0,
    lm: Annotated[Path | None, typer.Option(help="ARPA model for the beam, as speechkit lm build writes.")] = None,
    lm_weight: Annotated[float, typer.Option(help="What the language model counts.", min=0.0)] = 0.5,
    word_bonus: Annotated[float, typer.Option(help="What a word more counts with a language model.")] = 0.5,
    rescore: Annotated[
        str | None, typer.Option(help="A larger model that orders the beam's texts anew: .arpa, hub id or folder.")
    ] = None,
    separate: Annotated[
        bool, typer.Option("--separate", help="Separate speakers first; a line for each, with its number.")
    ] = False,
    separator: Annotated[str, typer.Option(help="Model for --separate: embedded, a folder or a hub id.")] = "embedded",
    speakers: Annotated[int | None, typer.Option(help="How many speak, for --separate; counted otherwise.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a recording, with word times.")] = False,
) -> None:
    """Recognise recordings."""
    from speechkit.asr import load_recognizer
    from speechkit.cli.left_out import LeftOut
    from speechkit.errors import UserError

    if (lm is not None or rescore is not None) and not beam:
        raise UserError(f"{'--rescore' if lm is None else '--lm'} needs --beam; add for example --beam 32")
    if separate and recognizer.startswith("words:"):
        raise UserError("--separate changes the sound, and words:FILE does not listen; name another recogniser")
    if speakers is not None and not separate:
        raise UserError("--speakers needs --separate; add it, or leave --speakers out")
    loaded: Any = load_recognizer(recognizer, lang=lang, device=device)
    if beam:
        from speechkit.asr.load import with_beam

        loaded = with_beam(loaded, beam, lm, lm_weight, word_bonus, rescore, device)
    left_out = LeftOut()
    tracks = _separate(separator, speakers, device) if separate else None
    done = 0
    for path in audio:
        if len(audio) == 1:  # its fault is the command's
            _print_recording(loaded, path, tracks, alone=True, json=json)
            return
        with left_out.one(path):
            _print_recording(loaded, path, tracks, alone=False, json=json)
            done += 1
    left_out.end(done)


def _print_recording(recognizer: Any, path: Path, tracks: Tracks | None, *, alone: bool, json: bool) -> None:
    """Recognise a recording, or each of its speakers, and print the text when all of it is there."""
    import msgspec

    lines = []
    for track, file in [({}, path)] if tracks is None else tracks(path):
        hypothesis = recognizer.recognize(str(file))
        if json:
            line: dict[str, Any] = {
                "audio": shown(path),
                **track,
                "text": hypothesis.text,
                "words": [word._asdict() for word in hypothesis_words(hypothesis)],
                "recognizer": recognizer.spec,
            }
            lines.append(msgspec.json.encode(line).decode())
        else:
            number = f"{track['track']}\t" if track else ""
            lines.append(hypothesis.text if alone and not track else f"{shown(path)}\t{number}{hypothesis.text}")
    for text in lines:
        typer.echo(text)


def _separate(model: str, speakers: int | None, device: str) -> Tracks:
    """Of a recording the tracks of its speakers, with their number and how sure it is, in a file for now."""
    import tempfile

    from speechkit.separation.files import TrackOptions, separate_file
    from speechkit.separation.separate import load_window_separator

    loaded = load_window_separator(model, device)
    options = TrackOptions(speakers=speakers, audio_format="flac")

    def tracks(path: Path) -> Iterator[tuple[dict[str, Any], Path]]:
        with tempfile.TemporaryDirectory(prefix="speechkit-tracks-") as folder:
            found = separate_file(path, folder, loaded, name="track", options=options)
            for number, file in enumerate(found.tracks, 1):
                facts = {"track": number, "speakers": found.count.speakers, "confidence": found.count.confidence}
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
