"""What a file holds is read to its end, whatever its header says; what is missing is said."""

import shutil
import struct
import subprocess

import numpy as np
import pytest
import soundfile

from speechkit.errors import AudioError
from speechkit.io.audio import audio_info, read_audio, stream_audio, write_audio
from speechkit.io.mpeg_frames import mpeg_streams
from speechkit.io.stretch import Stretch

RATE = 16000
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


@pytest.fixture(scope="module")
def speech(shared_data):
    """Two seconds of one reader."""
    file = sorted((shared_data / "LibriSpeech/dev-clean/84/121550").glob("*.mp3"))[0]
    return soundfile.read(file, dtype="float32")[0][RATE : 3 * RATE]


def whole(path):
    """All samples, which every other way to read the file must give too."""
    samples = read_audio(path, sample_rate=None)
    info = audio_info(path)
    assert len(samples) == info.num_samples
    np.testing.assert_allclose(np.concatenate(list(stream_audio(path, sample_rate=None))), samples, atol=1e-6)
    for begin in (0, len(samples) // 2 - 7, len(samples) - 900):
        piece = read_audio(path, offset_samples=begin, num_samples=900, sample_rate=None)
        np.testing.assert_allclose(piece, samples[begin : begin + 900], atol=3e-3)
    return samples


def mp3_bytes(folder, speech, name="one.mp3"):
    write_audio(folder / name, speech, RATE)
    return (folder / name).read_bytes()


def with_frame_count(content: bytes, count: int) -> bytes:
    place = max(content.find(b"Xing"), content.find(b"Info")) + 8
    return content[:place] + count.to_bytes(4, "big") + content[place + 4 :]


@pytest.mark.parametrize("copies", [2, 3])
@pytest.mark.parametrize("tag", [b"", b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128)])
def test_joined_mp3_files_have_the_length_of_all(tmp_path, speech, copies, tag, capfd):
    one = mp3_bytes(tmp_path, speech)
    single = whole(tmp_path / "one.mp3")
    (tmp_path / "joined.mp3").write_bytes((tag + one) * copies)
    np.testing.assert_allclose(whole(tmp_path / "joined.mp3"), np.tile(single, copies), atol=1e-6)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("count", [0, 10, 54])
def test_an_mp3_is_as_long_as_its_frames_whatever_the_tag_says(tmp_path, speech, count):
    one = mp3_bytes(tmp_path, speech)
    frames = mpeg_streams(tmp_path / "one.mp3")[0].frames
    assert count < frames
    (tmp_path / "wrong.mp3").write_bytes(with_frame_count(one, count))
    assert abs(len(whole(tmp_path / "wrong.mp3")) - len(read_audio(tmp_path / "one.mp3", sample_rate=None))) <= 1200


def test_frames_are_counted_as_the_encoder_counted_them(shared_data):
    files = sorted((shared_data / "LibriSpeech/dev-clean").rglob("*.mp3"))[:20]
    assert files
    for file in files:
        (stream,) = mpeg_streams(file)
        assert stream.stated in (None, stream.frames)
        assert abs(stream.frames * stream.samples - soundfile.info(file).frames) < 4 * stream.samples


@needs_ffmpeg
def test_joined_mp3_files_of_unlike_rates_are_read_to_the_end(tmp_path, speech):
    one = mp3_bytes(tmp_path, speech)
    write_audio(tmp_path / "other.mp3", np.repeat(speech, 3), 48000)
    (tmp_path / "joined.mp3").write_bytes(one + (tmp_path / "other.mp3").read_bytes())
    assert abs(audio_info(tmp_path / "joined.mp3").duration - 4.0) < 0.3
    assert len(read_audio(tmp_path / "joined.mp3")) > 3.7 * RATE


@pytest.mark.parametrize("keep", [0.4, 0.9])
def test_a_cut_mp3_says_how_much_is_missing(tmp_path, speech, keep):
    one = mp3_bytes(tmp_path, speech)
    (tmp_path / "cut.mp3").write_bytes(one[: int(len(one) * keep)])
    with pytest.raises(AudioError, match=r"is truncated: its header gives .* s and it ends after .* s"):
        audio_info(tmp_path / "cut.mp3")


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_every_link_of_a_chained_ogg_is_read(tmp_path, speech, subtype):
    for name, wave in (("a.ogg", speech), ("b.ogg", speech[::-1])):
        soundfile.write(tmp_path / name, wave, RATE, format="OGG", subtype=subtype)
    a, b = whole(tmp_path / "a.ogg"), whole(tmp_path / "b.ogg")
    chain = (tmp_path / "a.ogg").read_bytes() + (tmp_path / "b.ogg").read_bytes()
    (tmp_path / "chain.ogg").write_bytes(chain)
    np.testing.assert_allclose(whole(tmp_path / "chain.ogg"), np.concatenate([a, b]), atol=3e-3)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_cut_between_two_pages_or_without_a_middle_page_is_named(tmp_path, speech, subtype):
    soundfile.write(tmp_path / "a.ogg", np.tile(speech, 5), RATE, format="OGG", subtype=subtype)
    content = (tmp_path / "a.ogg").read_bytes()
    pages = [place for place in range(len(content)) if content[place : place + 4] == b"OggS"]
    assert len(pages) > 5
    (tmp_path / "cut.ogg").write_bytes(content[: pages[-2]])
    with pytest.raises(AudioError, match=r"without the last page .*download it again"):
        audio_info(tmp_path / "cut.ogg")
    (tmp_path / "gap.ogg").write_bytes(content[: pages[3]] + content[pages[4] :])
    with pytest.raises(AudioError, match=rf"pages are missing or broken before byte {pages[3]}"):
        audio_info(tmp_path / "gap.ogg")


def patched(content: bytes, place: int, number: int, order: str = "little", width: int = 4) -> bytes:
    return content[:place] + number.to_bytes(width, order) + content[place + width :]


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "ULAW"])
@pytest.mark.parametrize("stated", [0, 1000, 16000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_wav_whose_length_is_short_is_read_to_its_end(tmp_path, speech, subtype, stated, channels):
    wave = np.stack([speech * (0.5 + k / 2) for k in range(channels)], 1)
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype=subtype)
    content = (tmp_path / "a.wav").read_bytes()
    place = content.index(b"data") + 4
    # libsndfile puts a PEAK chunk behind the samples of some kinds.
    end = place + 4 + int.from_bytes(content[place : place + 4], "little")
    (tmp_path / "short.wav").write_bytes(patched(content[:end], place, stated))
    np.testing.assert_array_equal(whole(tmp_path / "short.wav"), whole(tmp_path / "a.wav"))


@pytest.mark.parametrize("stated", [0, 4000])
@pytest.mark.parametrize("name", ["a.aiff", "a.au", "a.w64", "a.rf64", "a.caf", "a.nist"])
def test_other_headers_that_state_too_little_are_not_believed(tmp_path, speech, name, stated):
    kind = {"a.nist": "NIST"}.get(name, name[2:].upper())
    soundfile.write(tmp_path / name, speech, RATE, format=kind, subtype="PCM_16")
    content = (tmp_path / name).read_bytes()
    if name == "a.aiff":
        place = content.index(b"SSND") + 4
        short = patched(content, place, stated + 8, "big")
    elif name == "a.au":
        short = patched(content, 8, stated, "big")
    elif name == "a.w64":
        short = patched(content, content.index(b"data") + 16, stated + 24, width=8)
    elif name == "a.caf":
        short = patched(content, content.index(b"data") + 4, stated + 4, "big", width=8)
    elif name == "a.rf64":
        short = patched(content, content.index(b"ds64") + 16, stated, width=8)
    else:
        old = f"sample_count -i {len(speech)}\n".encode()
        new = f"sample_count -i {stated // 2}\n".encode()
        assert old in content
        short = content.replace(old, new + bytes(len(old) - len(new)))
        short = short[:1024].replace(b"\0", b" ") + short[1024:]
    (tmp_path / f"short-{name}").write_bytes(short)
    np.testing.assert_array_equal(whole(tmp_path / f"short-{name}"), whole(tmp_path / name))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_flac_is_as_long_as_its_frames_whatever_its_header_says(tmp_path, speech, subtype, channels):
    soundfile.write(tmp_path / "a.flac", np.stack([speech] * channels, 1), RATE, subtype=subtype)
    content = (tmp_path / "a.flac").read_bytes()
    tag = b"ID3\x03\x00\x00\x00\x00\x00\x0a" + bytes(10)
    for stated, head in ((0, b""), (1, b""), (4096, tag), (len(speech) - 1, b"")):
        (tmp_path / "b.flac").write_bytes(head + content[:22] + stated.to_bytes(4, "big") + content[26:])
        np.testing.assert_array_equal(whole(tmp_path / "b.flac"), whole(tmp_path / "a.flac"))


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_joined_files_are_read_to_the_end_or_refused(tmp_path, speech, kind):
    soundfile.write(tmp_path / "a", speech, RATE, format=kind)
    soundfile.write(tmp_path / "b", np.stack([speech, speech], 1), RATE, format=kind)
    one, two = ((tmp_path / name).read_bytes() for name in "ab")
    (tmp_path / "joined").write_bytes(one * 3)
    np.testing.assert_allclose(whole(tmp_path / "joined"), np.tile(whole(tmp_path / "a"), 3), atol=1e-6)
    for rest, message in (
        (two, f"different rates or channels; cut it at byte {len(one)}"),
        (one[:9000], "truncated|dam"),
    ):
        (tmp_path / "bad").write_bytes(one + rest)
        with pytest.raises(AudioError, match=message):
            read_audio(tmp_path / "bad")


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "AIFF", "AU", "RF64", "W64", "NIST", "CAF", "FLAC", "MP3", "OGG"])
def test_half_a_file_is_refused_in_every_format(tmp_path, speech, kind):
    path = tmp_path / "whole"
    subtype = {"MP3": "MPEG_LAYER_III", "OGG": "VORBIS"}.get(kind, "PCM_16")
    soundfile.write(path, np.tile(speech, 4), RATE, format=kind, subtype=subtype)
    assert audio_info(path).num_samples >= 4 * len(speech) - 8
    content = path.read_bytes()
    (tmp_path / "half").write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match=r"truncated|damaged|can be read"):
        read_audio(tmp_path / "half")


@pytest.mark.parametrize("rest", [b"LIST" + struct.pack("<I", 4) + b"INFO", bytes(7000), b"TAG" + b"x" * 125])
def test_chunks_padding_and_tags_behind_the_samples_are_no_samples(tmp_path, speech, rest):
    write_audio(tmp_path / "a.wav", speech, RATE)
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "b.wav").write_bytes(content + rest)
    assert audio_info(tmp_path / "b.wav").num_samples == len(speech)


def test_a_wav_over_four_gigabytes_whose_length_wrapped_is_read_to_its_end(tmp_path):
    """A sparse file: its last second is a ramp, the rest of it a hole."""
    path, count = tmp_path / "long.wav", (1 << 31) + 5 * RATE
    ramp = np.arange(RATE, dtype=np.int16)
    with path.open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", (36 + 2 * count) % (1 << 32)) + b"WAVEfmt ")
        file.write(struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16))
        file.write(b"data" + struct.pack("<I", 2 * count % (1 << 32)))
        file.truncate(44 + 2 * (count - RATE))
        file.seek(44)
        file.write(ramp.tobytes())
        file.seek(44 + 2 * (10 * RATE))  # where the stated length ends
        file.write(ramp.tobytes())
        file.seek(0, 2)
        file.write(ramp.tobytes())
    info = audio_info(path)
    assert info.num_samples == count
    last = read_audio(path, offset_samples=count - RATE, num_samples=RATE, sample_rate=None)
    np.testing.assert_allclose(last * 32768, ramp, atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        ("WAV", "GSM610"), ("WAV", "G721_32"), ("WAV", "NMS_ADPCM_16"), ("WAV", "NMS_ADPCM_32"), ("WAV", "IMA_ADPCM"),
        ("WAV", "MS_ADPCM"), ("W64", "GSM610"), ("AIFF", "GSM610"), ("AIFF", "DWVW_24"), ("AIFF", "IMA_ADPCM"),
        ("AU", "G723_24"), ("AU", "G723_40"),
    ],
)  # fmt: skip
def test_pieces_of_old_telephone_codecs_equal_the_whole(tmp_path, speech, kind, subtype):
    soundfile.write(tmp_path / "a", speech[:16000], 8000, format=kind, subtype=subtype)
    with soundfile.SoundFile(tmp_path / "a") as file:
        file.seekable = lambda: False  # after a read soundfile would seek, which some of them cannot
        direct = file.read(file.frames, dtype="float32")
    np.testing.assert_allclose(whole(tmp_path / "a"), direct, atol=1e-6)


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["ts", "mpg", "spx", "ac3", "wv", "tta", "wma", "avi", "mka", "mp2", "caf", "3gp"])
def test_what_libsndfile_cannot_read_is_read_through_ffmpeg(tmp_path, speech, suffix):
    write_audio(tmp_path / "a.wav", np.repeat(speech, 3), 48000)
    path = tmp_path / f"b.{suffix}"
    codec = {"caf": ["-c:a", "adpcm_ima_qt"], "3gp": ["-c:a", "aac", "-ac", "2"], "spx": ["-ar", "16000"]}
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.wav"), *codec.get(suffix, []), str(path)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip(f"this ffmpeg writes no {suffix}")
    assert abs(audio_info(path).duration - 2.0) < 0.15
    assert len(whole(path))


@needs_ffmpeg
@needs_ffmpeg
def test_a_report_of_ffmpeg_holds_no_address(tmp_path, speech):
    write_audio(tmp_path / "a.wav", speech, RATE)
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[:22] + bytes(2) + content[24:])  # no channels
    with pytest.raises(AudioError, match=r"is not audio that can be read \([^\[@]+\); convert"):
        audio_info(tmp_path / "a.wav")


@needs_ffmpeg
def test_more_decoded_copies_than_are_kept_are_made_again(tmp_path, speech):
    paths = [tmp_path / f"{k}.wv" for k in range(4)]
    write_audio(tmp_path / "a.wav", speech, RATE)
    for path in paths:
        subprocess.run(["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.wav"), str(path)], check=True)
    first = [read_audio(path) for path in paths]
    for path, before in zip(paths, first, strict=True):
        np.testing.assert_array_equal(read_audio(path), before)


def test_without_ffmpeg_the_sentence_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "a.ts").write_bytes((b"\x47" + bytes(187)) * 4)
    (tmp_path / "b.xyz").write_bytes(np.random.default_rng(0).bytes(4000))
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("a.ts", "b.xyz"):
        with pytest.raises(AudioError, match=r"install the ffmpeg program, or convert it to WAV"):
            audio_info(tmp_path / name)


def test_a_stretch_reads_like_the_bytes_it_stands_for(tmp_path):
    content = np.random.default_rng(0).bytes(1000)
    (tmp_path / "a").write_bytes(content)
    expected = b"head" + content[100:700]
    with Stretch(tmp_path / "a", 100, 700, b"head") as stretch:
        for begin in (0, 2, 4, 350, 603, 604, 900):
            stretch.seek(begin)
            assert stretch.read(50) == expected[begin : begin + 50]
        assert stretch.seek(0, 2) == len(expected)
