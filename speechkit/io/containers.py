"""Decode MP4, Matroska, AAC and other formats that libsndfile does not read, with the ffmpeg program.

The container is detected from the first bytes, never the name, and ffmpeg is restricted to it, or to a list of allowed
ones: a playlist named ``.mp4`` cannot make it open other files or the network.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from speechkit.errors import AudioError
from speechkit.io.ogg_pages import first_codec

AUDIO_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".asf", ".au", ".avi", ".awb", ".caf",
    ".dts", ".eac3", ".flac", ".flv", ".gsm", ".m2ts", ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp3",
    ".mp4", ".mpeg", ".mpg", ".mpga", ".mts", ".mxf", ".nist", ".oga", ".ogg", ".ogv", ".opus", ".qt", ".rf64", ".rm",
    ".snd", ".sph", ".spx", ".tta", ".ts", ".vob", ".voc", ".w64", ".wav", ".wave", ".webm", ".wma", ".wmv", ".wv",
})  # fmt: skip
"""What recordings in a folder are known by."""
UNKNOWN = "file that libsndfile cannot read"
DEMUXERS = (
    "mov,matroska,asf,avi,flv,mpegts,mpeg,ogg,wav,w64,aiff,au,caf,nistsphere,voc,mp3,aac,loas,ac3,eac3,dts,dtshd,truehd,"
    "mlp,wv,tta,ape,mpc,mpc8,shn,amr,amrnb,amrwb,gsm,rm,mxf,gxf,nut,wtv,dv,tak,qcp,flac,smk,dsf,iff,sox,xwma,ircam"
)
"""What ffmpeg may take a file for: containers of sound and pictures, none that names other files."""
KEPT_COPIES = 2
_copies: OrderedDict[str, str] = OrderedDict()
_folders: dict[int, str] = {}


MAGIC = (
    b"fLaC",
    b"OggS",
    b"ID3",
    b".snd",
    b"NIST_1A",
    b"caff",
    b"RF64",
    b"riff\x2e\x91\xcf\x11",
    b"TTA1",
    b"MAC ",
    b"MPCK",
)
"""First bytes of files that hold sound."""


_ADDRESS = re.compile(r"^(?:\[[^\]]* @ 0x[0-9a-f]+\] )+")


def is_recording(path: Path | str) -> bool:
    """Whether a file is a recording: by its suffix, or by its first bytes if the suffix is not conclusive.

    For a file that cannot be opened, only the suffix counts.
    """
    if Path(path).suffix.lower() in AUDIO_SUFFIXES:
        return True
    try:
        with Path(path).open("rb") as file:
            head = file.read(12)
        if head.startswith(MAGIC) or (head[:4] == b"RIFF" and head[8:] == b"WAVE"):
            return True
        return (head[:4] == b"FORM" and head[8:11] == b"AIF") or sniff(path) is not None
    except OSError:
        return False


def sniff(path: Path | str) -> str | None:
    """The container as ffmpeg names it, or None if libsndfile should read the file."""
    with Path(path).open("rb") as file:
        head = file.read(512)
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
    if head.startswith(b"\0\0\1\xba"):
        return "mpeg"
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return "mpegts"
    if head.startswith(b"\x0b\x77"):
        return "ac3"
    if head.startswith(b"wvpk"):
        return "wv"
    if head.startswith(b"OggS") and first_codec(head) in ("", "speex"):
        return "ogg"
    if head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xF6 == 0xF0:  # ADTS: layer bits 00, unlike MP3
        return "aac"
    return None


def decoded_copy(path: str, decode: Callable[[str], None]) -> str:
    """Temporary FLAC file written by ``decode``, cached for this process.

    At most two copies are kept, in the system's temporary folder.

    Raises:
        AudioError: as ``decode``; the partial file is removed.
    """
    status = Path(path).stat()
    key = hashlib.blake2b(
        f"{os.path.realpath(path)}|{status.st_size}|{status.st_mtime_ns}".encode("utf-8", "surrogateescape"),
        digest_size=8,
    ).hexdigest()
    if key in _copies and Path(_copies[key]).is_file():
        _copies.move_to_end(key)
        return _copies[key]
    copy = str(Path(_folder()) / f"{key}.flac")
    try:
        decode(copy)
    except BaseException:
        Path(copy).unlink(missing_ok=True)
        raise
    _copies[key] = copy
    while len(_copies) > KEPT_COPIES:
        Path(_copies.popitem(last=False)[1]).unlink(missing_ok=True)
    return copy


def run_ffmpeg(path: str, container: str, copy: str) -> None:
    """Decode the first audio stream of a file to 16-bit FLAC.

    Args:
        path: input file.
        container: ffmpeg's name of the format; `UNKNOWN` lets ffmpeg choose among audio containers.
        copy: output file.

    Raises:
        AudioError: if ffmpeg is not installed, or finds no audio or corrupt audio.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        kind = "is not audio that libsndfile reads" if container == UNKNOWN else f"is a {container} container"
        raise AudioError(f"{path}: {kind}; install the ffmpeg program, or convert it to WAV, FLAC, Opus or MP3")
    command = [program, "-nostdin", "-v", "error", "-xerror", "-protocol_whitelist", "file"]
    command += ["-format_whitelist", DEMUXERS] if container == UNKNOWN else ["-f", container]
    command += ["-i", f"file:{path}", "-map", "0:a:0", "-vn", "-sn", "-dn", "-c:a", "flac", "-sample_fmt", "s16"]
    command += ["-compression_level", "0", "-y", f"file:{copy}"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    lines = done.stderr.strip().splitlines()
    if done.returncode == 0 and not any("ended prematurely" in line or "partial file" in line for line in lines):
        return
    if "matches no streams" in done.stderr:
        raise AudioError(f"{path}: holds no audio stream; check the file")
    # Without the addresses in memory that ffmpeg writes: equal runs give equal reports.
    reason = _ADDRESS.sub("", lines[0].replace(f"file:{path}: ", "")) if lines else "no message"
    if done.returncode == 0:
        raise AudioError(f"{path}: is truncated (ffmpeg: {reason}); download it again")
    if container == UNKNOWN:
        raise AudioError(f"{path}: is not audio that can be read ({reason}); convert it to WAV or FLAC")
    raise AudioError(f"{path}: ffmpeg cannot decode it ({reason}); convert it to WAV or FLAC")


def _folder() -> str:
    """This process's folder of decoded copies, removed at exit; a forked child gets its own."""
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
