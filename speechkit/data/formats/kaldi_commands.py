"""Parse commands of Kaldi's wav.scp for the audio file that they read, without executing them.

Accepted are options that leave the samples unchanged, except for their rate, and options that select a channel. Any
other option could cut, mix or change the audio, and is rejected by name.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import msgspec

from speechkit.errors import ManifestError

OUTPUTS = ("-", "pipe:", "pipe:1", "/dev/stdout")


class Program(msgspec.Struct, frozen=True):
    """Accepted command line of a program.

    Attributes:
        before: options before the input, with the pattern of their values; empty for options without a value.
        after: options after the input.
        first_channel: number of the first channel in options that select one.
        input_option: option that precedes the input; empty if the input is positional.
    """

    before: dict[str, str] = {}
    after: dict[str, str] = {}
    first_channel: int = 1
    input_option: str = ""


CHANNEL = r"(?P<channel>\d{1,4})"
ANYWHERE = {"-q": "", "--quiet": "", "-V0": "", "-V1": "", "-V2": "", "-V3": "", "--no-show-progress": ""}
SPHERE = {"-f": "wav|rif|sph", "-p": "", "-c": CHANNEL}
DECODE = {
    "-c": "",
    "--stdout": "",
    "-d": "",
    "--decode": "",
    "-s": "",
    "--silent": "",
    "-f": "",
    "--totally-silent": "",
}
SOUND = {"-b": r"16|24|32|8", "-e": r"[\w-]+", "-t": r"wav|wavpcm|flac", "-r": r"\d+k?", "-D": ""}
CODEC = dict.fromkeys(("-acodec", "-c:a", "-codec:a"), "pcm_[suf][0-9]+le")
PROGRAMS = {
    "sox": Program(ANYWHERE | {"-t": "wav|flac|mp3|ogg|opus|sph", "-D": ""}, ANYWHERE | SOUND),
    "ffmpeg": Program(
        {"-v": r"\w+", "-loglevel": r"\w+", "-nostdin": "", "-hide_banner": "", "-y": ""},
        CODEC
        | {"-f": "wav", "-ar": r"\d+", "-ab": r"\w+", "-b:a": r"\w+", "-vn": "", "-ac": "1", "-y": "", "-nostdin": ""}
        | {"-map_channel": rf"0\.0\.{CHANNEL}", "-v": r"\w+", "-loglevel": r"\w+", "-hide_banner": ""},
        first_channel=0,
        input_option="-i",
    ),
    "flac": Program(DECODE, DECODE),
    "sph2pipe": Program(SPHERE, SPHERE),
    "cat": Program(),
    "opusdec": Program({"--rate": r"\d+", "--quiet": "", "--force-wav": ""}, {"--quiet": "", "--force-wav": ""}),
    "mpg123": Program({"-q": "", "-w": "-", "-r": r"\d+"}, {"-q": "", "-w": "-"}),
}


def audio_of_command(location: str, command: str, channels: Callable[[str], int]) -> tuple[str, int]:
    """Audio path and channel, from 0, of a command's output.

    Args:
        location: file and line, for error messages.
        command: the command, without the final pipe character.
        channels: returns the number of channels of an audio file; 1 if it cannot be read.

    Raises:
        ManifestError: if the program is unknown, has options that could change the audio, or pipes to another one.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ManifestError(f"{location}: the command cannot be split ({error}); fix the quotes") from error
    program = PROGRAMS.get(Path(words[0]).name) if words else None
    if program is None or any(word in ("|", ";", "&", "&&", "||", "<", ">") for word in words):
        raise ManifestError(f"{location}: the command is not supported; run it and give the audio file instead")
    audio, channel, mixed, arguments = None, None, False, words[1:]
    while arguments:
        word = arguments.pop(0)
        known = program.before if audio is None else program.after
        if word in known and not known[word]:
            continue
        if word in known and arguments and (value := re.fullmatch(known[word], arguments[0])):
            if "channel" in value.groupdict():
                channel = int(value["channel"]) - program.first_channel
            mixed |= word == "-ac"
            arguments.pop(0)
        elif audio is None and word == program.input_option and arguments:
            audio = arguments.pop(0)
        elif audio is None and not program.input_option and not word.startswith("-"):
            audio = word
        elif audio is not None and word in OUTPUTS:
            if arguments[:1] == ["remix"] and len(arguments) == 2 and re.fullmatch(r"\d{1,4}", arguments[1]):
                channel = int(arguments[1]) - 1
            elif arguments:
                raise _changes(location, arguments[0])
            break
        else:
            raise _changes(location, word)
    if audio is None:
        raise ManifestError(f"{location}: the command reads no file; run it and give the audio file instead")
    if mixed and channels(audio) > 1:
        raise _changes(location, "-ac")
    if channel is not None and channel < 0:
        raise ManifestError(f"{location}: the command selects a channel below the first; fix it")
    return audio, channel or 0


def _changes(location: str, word: str) -> ManifestError:
    return ManifestError(
        f"{location}: the command may change the audio ({word[:40]!r}); run it and give the audio file instead"
    )
