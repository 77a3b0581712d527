"""`speechkit transcribe`: recordings to text with times."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

EXAMPLES = """
Recognise recordings of any length and print their text.

Examples:

  speechkit transcribe talk.wav

  speechkit transcribe *.mp3 --json > words.jsonl

  speechkit transcribe talk.wav --recognizer facebook/wav2vec2-base-960h

  speechkit transcribe talk.wav --recognizer faster-whisper:tiny.en

  speechkit transcribe talk.wav --beam 32 --lm words.arpa --lm-weight 0.5

  speechkit transcribe talk.wav --beam 32 --lm words.arpa --rescore gpt2
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
    json: Annotated[bool, typer.Option("--json", help="One JSON object a recording, with word times.")] = False,
) -> None:
    """Recognise recordings."""
    import msgspec

    from speechkit.asr import load_recognizer
    from speechkit.errors import UserError

    if (lm is not None or rescore is not None) and not beam:
        raise UserError(f"{'--rescore' if lm is None else '--lm'} needs --beam; add for example --beam 32")
    loaded: Any = load_recognizer(recognizer, lang=lang, device=device)
    if beam:
        from speechkit.asr.load import with_beam

        loaded = with_beam(loaded, beam, lm, lm_weight, word_bonus, rescore, device)
    for path in audio:
        hypothesis = loaded.recognize(str(path))
        if json:
            line: dict[str, Any] = {
                "audio": str(path),
                "text": hypothesis.text,
                "words": [word._asdict() for word in hypothesis_words(hypothesis)],
                "recognizer": loaded.spec,
            }
            typer.echo(msgspec.json.encode(line).decode())
        else:
            typer.echo(hypothesis.text if len(audio) == 1 else f"{path}\t{hypothesis.text}")


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
