"""Real and made audio through every format: pieces equal the whole, streams equal reads, bad files end clearly."""

import itertools
import os
import shutil
import struct
import subprocess

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import AudioError, UserError
from speechkit.io import parts
from speechkit.io.audio import audio_info, read_audio, stream_audio, write_audio

RATE = 16000


def tone(seconds: float, rate: int = RATE) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    rng = np.random.default_rng(0)
    return (0.4 * np.sin(2 * np.pi * 220 * time) + 0.05 * rng.standard_normal(len(time))).astype(np.float32)


@pytest.fixture(scope="session")
def speech(shared_data):
    """A minute and a half of one LibriSpeech chapter, decoded once."""
    files = sorted((shared_data / "LibriSpeech/dev-clean/84/121550").glob("*.mp3"))
    parts, length = [], 0
    for file in files:
        parts.append(soundfile.read(file, dtype="float32")[0])
        length += len(parts[-1])
        if length > 90 * RATE:
            break
    return np.concatenate(parts)[: 90 * RATE]


@pytest.fixture(scope="session")
def long_files(speech, tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    for name in ("x.wav", "x.flac", "x.ogg", "x.opus", "x.mp3"):
        write_audio(folder / name, speech, RATE)
    return folder


# What a piece may differ from the whole: nothing where decoding has no past, little where it starts in the middle.
TOLERANCE = {"x.wav": 0.0, "x.flac": 0.0, "x.ogg": 0.0, "x.opus": 3e-3, "x.mp3": 1e-6}


@pytest.mark.parametrize("name", TOLERANCE)
def test_pieces_equal_the_whole_file(long_files, name, capfd):
    whole, _ = soundfile.read(long_files / name, dtype="float32")
    rng = np.random.default_rng(1)
    for offset in [0, 1, 61 * RATE, len(whole) - 10, *rng.integers(0, len(whole) - 1, 25)]:
        length = int(min(rng.integers(1, 40_000), len(whole) - offset))
        piece = read_audio(long_files / name, offset_samples=int(offset), num_samples=length, sample_rate=None)
        assert piece.dtype == np.float32
        np.testing.assert_allclose(piece, whole[offset : offset + length], rtol=0, atol=TOLERANCE[name])
    assert "libmpg123" not in capfd.readouterr().err


@pytest.mark.parametrize("name", TOLERANCE)
def test_a_piece_is_the_same_bytes_whatever_was_read_before(long_files, name):
    def piece(offset: int) -> bytes:
        return read_audio(long_files / name, offset_samples=offset, num_samples=9000).tobytes()

    first = piece(75 * RATE)
    piece(65 * RATE), piece(75 * RATE - 500), piece(5)
    assert piece(75 * RATE) == first


def test_threads_that_read_mp3_keep_the_error_stream(long_files, capfd):
    from concurrent.futures import ThreadPoolExecutor

    def read(second: int) -> int:
        return len(read_audio(long_files / "x.mp3", offset_samples=second * RATE, num_samples=RATE))

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(read, list(range(61, 88)) * 3)) == {RATE}
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"


@pytest.mark.parametrize("name", TOLERANCE)
@pytest.mark.parametrize("rate", [None, 8000, 22050])
def test_a_stream_equals_the_whole_file(long_files, name, rate, monkeypatch):
    monkeypatch.setattr(parts, "BLOCK_VALUES", 50_001)  # many blocks
    blocks = list(stream_audio(long_files / name, sample_rate=rate, block_seconds=7.3))
    whole = read_audio(long_files / name, sample_rate=rate)
    assert all(len(block) == round(7.3 * (rate or RATE)) for block in blocks[:-1])
    np.testing.assert_allclose(np.concatenate(blocks), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["x.mp3", "x.opus", "x.ogg"])
def test_blocks_of_a_lossy_file_have_no_seams(long_files, name, monkeypatch):
    whole = soundfile.read(long_files / name, dtype="float32")[0]
    monkeypatch.setattr(parts, "BLOCK_VALUES", 10_007)
    np.testing.assert_allclose(read_audio(long_files / name, sample_rate=None), whole, rtol=0, atol=1e-6)


@settings(max_examples=30)
@given(st.data())
def test_resampled_pieces_that_meet_join_to_the_whole(tmp_path_factory, data):
    rate = data.draw(st.sampled_from([8000, 11025, 22050, 44100, 48000, 96000]))
    target = data.draw(st.sampled_from([8000, 16000, 24000]))
    path = tmp_path_factory.getbasetemp() / f"tone-{rate}.flac"
    if not path.exists():
        write_audio(path, tone(2.0, rate), rate)
    total = audio_info(path).num_samples
    cuts = sorted({0, total, *data.draw(st.lists(st.integers(0, total), max_size=4))})
    pieces = [
        read_audio(path, offset_samples=a, num_samples=b - a, sample_rate=target) for a, b in itertools.pairwise(cuts)
    ]
    whole = read_audio(path, sample_rate=target)
    np.testing.assert_allclose(np.concatenate(pieces), whole, rtol=0, atol=2e-5)


def test_real_corpora_are_read_at_their_own_rate_and_length(shared_data):
    flac = sorted((shared_data / "LJSpeech-1.1/wavs").glob("*.flac"))[0]
    opus = sorted((shared_data / "barista-intents/clean").glob("*.opus"))[0]
    mp3 = sorted((shared_data / "LibriSpeech/dev-clean").rglob("*.mp3"))[0]
    for path, rate in ((flac, 22050), (opus, 16000), (mp3, 16000)):
        info = audio_info(path)
        assert info.sample_rate == rate
        assert len(read_audio(path, sample_rate=None)) == info.num_samples
        wave = read_audio(path)
        assert abs(len(wave) - info.duration * 16000) <= 1
        assert 0.01 < np.abs(wave).max() <= 1.2


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
@pytest.mark.parametrize("rate", [8000, 44100, 96000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_every_width_rate_and_number_of_channels(tmp_path, subtype, rate, channels):
    path = tmp_path / "a.wav"
    wave = tone(0.3, rate)
    soundfile.write(path, np.stack([wave * (k + 1) / channels for k in range(channels)], 1), rate, subtype=subtype)
    info = audio_info(path)
    assert (info.sample_rate, info.channels, info.num_samples) == (rate, channels, len(wave))
    coarse = {"PCM_U8": 0.02, "ULAW": 0.04}.get(subtype, 1e-3)
    for channel in range(channels):
        got = read_audio(path, sample_rate=None, channel=channel)
        np.testing.assert_allclose(got, wave * (channel + 1) / channels, rtol=0, atol=coarse)
    mean = wave * (channels + 1) / 2 / channels
    np.testing.assert_allclose(read_audio(path, sample_rate=None), mean, rtol=0, atol=coarse)
    assert len(read_audio(path)) == round(len(wave) * 16000 / rate)


def test_silence_is_audio(tmp_path):
    write_audio(tmp_path / "a.flac", np.zeros(16000), 16000)
    assert not read_audio(tmp_path / "a.flac").any()


def test_a_missing_channel_is_named(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((100, 2)), 16000)
    with pytest.raises(AudioError, match=r"2 channels.*channel 2.*asked"):
        read_audio(tmp_path / "a.wav", channel=2)


@pytest.mark.parametrize(("offset", "length"), [(-1, 5), (0, 101), (101, None), (50, 51), (5, -1)])
def test_a_piece_outside_the_file_is_named(tmp_path, offset, length):
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16000)
    with pytest.raises(AudioError, match="it holds 100"):
        read_audio(tmp_path / "a.wav", offset_samples=offset, num_samples=length)


def test_an_empty_piece_is_empty(tmp_path):
    write_audio(tmp_path / "a.wav", tone(0.1), 16000)
    assert len(read_audio(tmp_path / "a.wav", offset_samples=10, num_samples=0)) == 0


def bad_files(folder):
    text = folder / "text.wav"
    text.write_text("this is a letter, not a recording\n" * 50)
    page = folder / "page.mp3"
    page.write_text("<!DOCTYPE html><html>404</html>")
    empty = folder / "empty.wav"
    empty.write_bytes(b"")
    header = folder / "header.wav"
    soundfile.write(header, np.zeros(0), 16000)
    noise = folder / "noise.wav"
    noise.write_bytes(np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes())
    nan = folder / "nan.wav"
    wave = tone(1.0)
    wave[777] = np.nan
    soundfile.write(nan, wave, 16000, subtype="FLOAT")
    infinite = folder / "infinite.wav"
    wave[777] = np.inf
    soundfile.write(infinite, wave, 16000, subtype="FLOAT")
    whole = {}
    for suffix in ("wav", "flac", "mp3", "opus", "ogg"):
        whole[suffix] = folder / f"whole.{suffix}"
        write_audio(whole[suffix], tone(5.0), 16000)
        content = whole[suffix].read_bytes()
        (folder / f"cut.{suffix}").write_bytes(content[: len(content) * 2 // 3])
    lie = folder / "lie.wav"
    lie.write_bytes(
        b"RIFF"
        + struct.pack("<I", 0x7FFF0000)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 2, 16000, 64000, 4, 16)
        + b"data"
        + struct.pack("<I", 0x7FFE0000)
        + bytes(1000)
    )
    rate = folder / "rate.wav"
    rate.write_bytes(
        b"RIFF"
        + struct.pack("<I", 1036)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, 5, 10, 2, 16)
        + b"data"
        + struct.pack("<I", 1000)
        + bytes(1000)
    )
    return {
        text: "is a text file, not audio", page: "is a web page", empty: "is empty", header: "holds no samples",
        noise: "is not audio that can be read", nan: "sample 777 .* is NaN or infinite",
        infinite: "sample 777 .* is NaN or infinite", lie: "is truncated", rate: "a sample rate of 5 Hz",
        folder / "cut.wav": "is truncated", folder / "cut.flac": "is truncated or damaged|is damaged",
        folder / "cut.mp3": "is truncated", folder / "cut.opus": "is truncated", folder / "cut.ogg": "is truncated",
        folder / "missing.wav": "cannot be read: No such file", folder: "is not a file",
    }  # fmt: skip


def test_bad_files_end_in_one_sentence_that_names_them(tmp_path):
    for path, reason in bad_files(tmp_path).items():
        for read in (read_audio, lambda p: list(stream_audio(p)), lambda p: list(stream_audio(p, sample_rate=8000))):
            with pytest.raises(AudioError, match=reason) as caught:
                read(path)
            message = str(caught.value)
            assert message.startswith(f"{path}: "), message
            assert message.count(str(path)) == 1, message
            assert "\n" not in message


def test_a_flac_that_lies_about_its_length_does_not_take_memory(tmp_path):
    path = tmp_path / "a.flac"
    write_audio(path, tone(1.0), 16000)
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # the upper bits of the number of samples in STREAMINFO
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"truncated|damaged"):
        read_audio(path)


def test_a_wav_that_was_streamed_without_a_length_is_read(tmp_path):
    path = tmp_path / "a.wav"
    write_audio(path, tone(1.0), 16000)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    path.write_bytes(content)
    assert audio_info(path).num_samples == 16000
    assert len(read_audio(path)) == 16000


def test_a_changed_file_is_read_anew(tmp_path):
    write_audio(tmp_path / "a.wav", tone(1.0), 16000)
    assert audio_info(tmp_path / "a.wav").num_samples == 16000
    write_audio(tmp_path / "a.wav", tone(0.5), 16000)
    assert audio_info(tmp_path / "a.wav").num_samples == 8000


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3"])
def test_what_is_written_is_read_back(tmp_path, suffix):
    wave = tone(40.0)
    path = tmp_path / f"a.{suffix}"
    write_audio(path, wave, 16000)
    back = read_audio(path)
    assert audio_info(path).sample_rate == 16000
    if suffix in ("wav", "flac"):
        assert len(back) == len(wave)
        np.testing.assert_allclose(back, wave, atol=1 / 32000)
    else:
        assert abs(len(back) - len(wave)) < 2500  # MP3 pads to whole frames
        assert 0.8 < back.std() / wave.std() < 1.2


def test_loud_samples_are_clipped_not_wrapped(tmp_path):
    write_audio(tmp_path / "a.wav", np.array([2.0, -2.0, 0.5]), 16000)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), [1.0, -1.0, 0.5], atol=1e-4)


@pytest.mark.parametrize(
    ("wave", "rate", "name", "reason"),
    [
        (np.zeros(0), 16000, "a.wav", "is empty"),
        (np.zeros((5, 2)), 16000, "a.wav", "shape"),
        (np.array([0, np.nan]), 16000, "a.wav", "sample 1 is NaN"),
        (np.zeros(5), 22050, "a.opus", "OPUS cannot hold 22050 Hz"),
        (np.zeros(5), 0, "a.wav", "is not possible"),
        (np.zeros(5), 16000, "a.xyz", "format 'XYZ' is not known"),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path, wave, rate, name, reason):
    with pytest.raises(AudioError, match=reason):
        write_audio(tmp_path / name, wave, rate)
    assert list(tmp_path.iterdir()) == []


def test_audio_is_not_written_into_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_audio(tmp_path / "file" / "a.wav", tone(0.1), 16000)


@pytest.mark.parametrize("xing", [True, False])
def test_an_mp3_of_varying_rate_states_or_is_counted_to_its_true_length(long_files, tmp_path, xing):
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    path = tmp_path / "v.mp3"
    tag = "1" if xing else "0"
    command = ["ffmpeg", "-v", "error", "-i", str(long_files / "x.wav"), "-q:a", "5", "-write_xing", tag, str(path)]
    subprocess.run(command, check=True)
    whole = soundfile.read(path, dtype="float32")[0]
    assert audio_info(path).num_samples == len(whole)
    piece = read_audio(path, offset_samples=75 * RATE, num_samples=5000, sample_rate=None)
    np.testing.assert_allclose(piece, whole[75 * RATE : 75 * RATE + 5000], rtol=0, atol=1e-6)


@pytest.mark.parametrize("suffix", ["m4a", "mp4", "mkv", "aac"])
def test_other_containers_are_read_through_ffmpeg(long_files, tmp_path, suffix):
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    path = tmp_path / f"a.{suffix}"
    subprocess.run(["ffmpeg", "-v", "error", "-t", "70", "-i", str(long_files / "x.wav"), str(path)], check=True)
    info = audio_info(path)
    assert abs(info.duration - 70) < 0.2
    whole = read_audio(path, sample_rate=None)
    assert len(whole) == info.num_samples
    piece = read_audio(path, offset_samples=65 * RATE, num_samples=1000, sample_rate=None)
    np.testing.assert_array_equal(piece, whole[65 * RATE : 65 * RATE + 1000])


def test_a_container_without_ffmpeg_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AudioError, match=r"install.*ffmpeg program.*convert") as caught:
        audio_info(tmp_path / "a.m4a")
    assert str(caught.value).count("a.m4a") == 1


def test_a_damaged_container_is_named(tmp_path):
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    with pytest.raises(AudioError, match=r"a\.m4a: ffmpeg cannot decode it"):
        read_audio(tmp_path / "a.m4a")


def test_a_playlist_named_mp4_opens_no_other_file(tmp_path):
    write_audio(tmp_path / "secret.wav", tone(1.0), 16000)
    (tmp_path / "a.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\n{tmp_path}/secret.wav\n")
    with pytest.raises(AudioError, match="text file, not audio"):
        read_audio(tmp_path / "a.mp4")


def test_a_long_file_is_streamed_in_the_memory_of_a_few_blocks(tmp_path):
    """Three hours of silence, 350 MB on paper: a sparse file of which no more than blocks are ever held."""
    import tracemalloc

    path = tmp_path / "long.wav"
    count = 3 * 3600 * RATE
    with path.open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", 36 + 2 * count) + b"WAVEfmt ")
        file.write(struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16) + b"data" + struct.pack("<I", 2 * count))
        file.truncate(44 + 2 * count)
    tracemalloc.start()
    length = sum(len(block) for block in stream_audio(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert length == count
    assert peak < 40e6
