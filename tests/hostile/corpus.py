"""Small files of every kind that the package reads, and what a hostile or broken disk makes of them."""

from __future__ import annotations

import io
import json
import pickle
import zipfile

import numpy as np
import soundfile
from hypothesis import strategies as st

HTML = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Bees</title></head><body><nav>Home</nav>
<article><h1>Bees</h1><p>A beekeeper begins the year by listening. &amp; &#233; &#x2014;</p><table><tr><td>one</td></tr>
</table><p>Then the <b>hives</b> are opened.</p><!-- note --><select><option>x</select></article></body></html>"""
WORD = (
    '<?xml version="1.0"?><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
    "<w:p><w:r><w:t>A beekeeper begins the year by listening.</w:t></w:r></w:p></w:body></w:document>"
)
SRT = "1\n00:00:01,000 --> 00:00:03,500\nA beekeeper begins\n\n2\n00:00:04,000 --> 00:00:06,000\nthe <i>year</i>.\n"
VTT = "WEBVTT\n\nNOTE x\n\n00:01.000 --> 00:03.500 align:start\nBees\n\n01:00:04.000 --> 01:00:06.000\nyes.\n"
TEXT = "A beekeeper begins the year by listening. Dr. Smith said: “No.” Then 5,000 bees left...\n\nSo it was.\n"
ROW = {
    "id": "a", "audio_filepath": "a.wav", "duration": 1.0, "offset": 0.5, "sample_rate": 16_000, "text": "bees",
    "speaker": "s", "alignment": {"word": [["bees", 0.1, 0.4]]}, "custom": {"x": [1]},
}  # fmt: skip


def audio() -> dict[str, bytes]:
    """A tenth of a second in every container that libsndfile writes."""
    waveform = np.sin(np.arange(1600) / 5).astype(np.float32)
    kinds = {
        "wav": ("WAV", "PCM_16"), "f.wav": ("WAV", "FLOAT"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"),
        "opus": ("OGG", "OPUS"), "mp3": ("MP3", "MPEG_LAYER_III"), "aiff": ("AIFF", "PCM_16"), "au": ("AU", "ULAW"),
        "caf": ("CAF", "PCM_16"), "w64": ("W64", "PCM_16"), "gsm.wav": ("WAV", "GSM610"), "sph": ("NIST", "PCM_16"),
    }  # fmt: skip
    made = {}
    for suffix, (container, subtype) in kinds.items():
        file = io.BytesIO()
        rate = 8000 if subtype == "GSM610" else 16_000
        soundfile.write(file, np.tile(waveform, 3), rate, format=container, subtype=subtype)
        made[suffix] = file.getvalue()
    return made


def documents() -> dict[str, bytes]:
    """A document of every kind that needs no program."""
    return {
        "html": HTML.encode(), "txt": TEXT.encode(), "srt": SRT.encode(), "vtt": VTT.encode(),
        "docx": zipped({"word/document.xml": WORD.encode(), "[Content_Types].xml": b"<Types/>"}),
    }  # fmt: skip


def zipped(files: dict[str, bytes]) -> bytes:
    """A ZIP archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def pickles() -> dict[str, bytes]:
    """Arrays as scikit-learn's and fairseq's files hold them, by protocol."""
    value = {"cluster_centers_": np.arange(12, dtype=np.float32).reshape(3, 4), "n": [1, (2.5, "x")], "none": None}
    return {f"{protocol}.bin": pickle.dumps(value, protocol) for protocol in range(6)}


def manifests() -> dict[str, bytes]:
    """Rows of our own and of NeMo's."""
    nemo = {key: ROW[key] for key in ("audio_filepath", "duration", "text")}
    return {"own.jsonl": json.dumps(ROW).encode() + b"\n", "nemo.json": json.dumps(nemo).encode() + b"\n"}


EXTREME = (
    b"\x00",
    b"\xff",
    b"\x7f\xff\xff\xff",
    b"\xff" * 8,
    b"9" * 400,
    b"-1",
    b"1e308",
    b"\xed\xb3\xbf",
    b"<",
    b"&#",
    b"\n",
)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file that is cut, overwritten, repeated or spliced in up to four places; sometimes it is whole."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(0, 4))):
        begin = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.sampled_from((1, 2, 4, 16, 200)))
        match draw(st.sampled_from(("cut", "overwrite", "insert", "repeat", "remove", "flip"))):
            case "cut":
                del content[begin:]
            case "overwrite":
                piece = draw(st.sampled_from(EXTREME))
                content[begin : begin + len(piece)] = piece
            case "insert":
                content[begin:begin] = draw(st.sampled_from(EXTREME))
            case "repeat":
                content[begin:begin] = content[begin : begin + length] * draw(st.sampled_from((1, 3, 200)))
            case "remove":
                del content[begin : begin + length]
            case "flip" if content:
                content[begin] ^= 1 << draw(st.integers(0, 7))
    return bytes(content)
