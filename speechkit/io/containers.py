"""Audio inside MP4, Matroska, AAC and other containers that libsndfile does not read, through the ffmpeg program.

The container is known by its first bytes, never by the name, and ffmpeg is told which one it is: a playlist that is
named ``.mp4`` cannot make it open other files or the network.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections import OrderedDict
from pathlib import Path

from speechkit.errors import AudioError

AUDIO_SUFFIXES = frozenset({
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".mp4", ".aac", ".webm", ".mkv", ".mov", ".wma", ".aif",
    ".aiff", ".au", ".sph",
})  # fmt: skip
"""What recordings in a folder are known by."""
KEPT_COPIES = 2
_copies: OrderedDict[str, str] = OrderedDict()
_folders: dict[int, str] = {}


def sniff(path: Path | str) -> str | None:
    """The ffmpeg name of the container, or None when libsndfile should read the file."""
    with Path(path).open("rb") as file:
        head = file.read(16)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return "mov"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"
    if head.startswith(b"0&\xb2u\x8ef\xcf\x11"):
        return "asf"
    if head.startswith(b"#!AMR"):
        return "amr"
    if head.startswith(b"FLV\x01"):
        return "flv"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    if head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xF6 == 0xF0:  # ADTS: layer bits 00, which MP3 never has
        return "aac"
    return None


def decoded_copy(path: str, container: str) -> str:
    """Decode the first audio stream to a temporary FLAC file that lives as long as this process needs it.

    Two copies are kept at most, 16 bits a sample, in the temporary folder of the system.

    Raises:
        AudioError: if ffmpeg is not installed, or finds no audio or damaged audio.
    """
    found = Path(path).stat()
    key = hashlib.blake2b(
        f"{os.path.realpath(path)}|{found.st_size}|{found.st_mtime_ns}".encode("utf-8", "surrogateescape"),
        digest_size=8,
    ).hexdigest()
    if key in _copies and Path(_copies[key]).is_file():
        _copies.move_to_end(key)
        return _copies[key]
    program = shutil.which("ffmpeg")
    if program is None:
        raise AudioError(
            f"{path}: is a {container} container; install the ffmpeg program, or convert it to WAV, FLAC, Opus or MP3"
        )
    copy = str(Path(_folder()) / f"{key}.flac")
    command = [program, "-nostdin", "-v", "error", "-xerror", "-protocol_whitelist", "file", "-f", container]
    command += ["-i", f"file:{path}", "-map", "0:a:0", "-vn", "-sn", "-dn", "-c:a", "flac", "-sample_fmt", "s16"]
    command += ["-compression_level", "0", "-y", f"file:{copy}"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        Path(copy).unlink(missing_ok=True)
        lines = done.stderr.strip().splitlines()
        if "matches no streams" in done.stderr:
            raise AudioError(f"{path}: holds no audio stream; check the file")
        raise AudioError(
            f"{path}: ffmpeg cannot decode it ({lines[0] if lines else 'no message'}); convert it to WAV or FLAC"
        )
    _copies[key] = copy
    while len(_copies) > KEPT_COPIES:
        Path(_copies.popitem(last=False)[1]).unlink(missing_ok=True)
    return copy


def _folder() -> str:
    """This process's folder of decoded copies, removed at its end; a forked child gets its own."""
    process = os.getpid()
    if process not in _folders:
        _folders.clear()
        _copies.clear()
        _folders[process] = tempfile.mkdtemp(prefix="speechkit-audio-")
        atexit.register(_remove, process)
    return _folders[process]


def _remove(process: int) -> None:
    if os.getpid() == process and process in _folders:
        shutil.rmtree(_folders[process], ignore_errors=True)
