"""Speech regions: the detector's weights, the energy fallback, and what regions promise."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import AudioError
from speechkit.io.audio import read_audio, write_audio
from speechkit.mining.config import RegionsConfig
from speechkit.mining.regions import energy_probabilities, find_speech, regions_of
from speechkit.mining.voice_activity import FRAME_SAMPLES, SileroDetector

SAMPLE = Path(__file__).resolve().parents[2] / "recipes/mining/sample/audio/bees.ogg"


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return read_audio(SAMPLE)[: 16000 * 40]


def test_silero_kernel_equals_the_wheels_own_network(speech: np.ndarray) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    spec = importlib.util.find_spec("silero_vad")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "data/silero_vad_16k_sequence.onnx"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    count = len(speech) // FRAME_SAMPLES
    padded = np.concatenate([np.zeros(64, np.float32), speech[: count * FRAME_SAMPLES]])
    frames = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(padded, 576)[::FRAME_SAMPLES])
    state = np.zeros((1, 1, 128), np.float32)
    expected = session.run(None, {"input": frames, "h": state, "c": state})[0]
    found = np.concatenate(list(SileroDetector().probabilities([speech[: count * FRAME_SAMPLES]])))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_probabilities_do_not_depend_on_how_the_recording_is_cut(speech: np.ndarray) -> None:
    detector = SileroDetector()
    whole = np.concatenate(list(detector.probabilities([speech])))
    pieces = np.concatenate(list(detector.probabilities(np.array_split(speech, [7, 500, 90000, 90001]))))
    np.testing.assert_allclose(pieces, whole, atol=1e-5)


@pytest.mark.parametrize("vad", ["silero", "energy"])
def test_speech_between_silences_is_one_stretch(tmp_path: Path, speech: np.ndarray, vad: str) -> None:
    quiet = np.zeros(16000 * 3, np.float32)
    path = tmp_path / "a.wav"
    write_audio(path, np.concatenate([quiet, speech[16000:49600], quiet]), 16000)
    regions, levels = find_speech(path, RegionsConfig(vad=vad, min_silence_seconds=2.0))
    assert len(regions) == 1
    assert abs(regions[0][0] - 48000) < 8000
    assert abs(regions[0][1] - (48000 + 33600)) < 8000
    assert len(levels) == (48000 * 2 + 33600) // 160


@pytest.mark.parametrize("vad", ["silero", "energy"])
def test_silent_recording_has_no_region(tmp_path: Path, vad: str) -> None:
    path = tmp_path / "silent.wav"
    write_audio(path, np.zeros(80000, np.float32), 16000)
    assert find_speech(path, RegionsConfig(vad=vad))[0] == []


def test_without_a_detector_everything_is_speech(tmp_path: Path) -> None:
    path = tmp_path / "any.wav"
    write_audio(path, np.zeros(16000, np.float32), 16000)
    assert find_speech(path, RegionsConfig(vad="none"))[0] == [(0, 16000)]


def test_truncated_recording_is_an_error_with_its_name(tmp_path: Path, speech: np.ndarray) -> None:
    path = tmp_path / "cut.flac"
    write_audio(path, speech, 16000)
    path.write_bytes(path.read_bytes()[:30000])
    with pytest.raises(AudioError, match=r"cut\.flac"):
        find_speech(path, RegionsConfig())


def test_steady_noise_has_no_pause_to_learn_from_and_counts_as_speech() -> None:
    assert (energy_probabilities(np.full(500, -20, np.float32)) > 0.5).all()


@settings(max_examples=80)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.floats(0, 1)), max_size=20),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
)
def test_regions_are_ordered_disjoint_and_cover_every_lasting_loud_run(
    runs: list[tuple[int, float]], speech_seconds: float, silence_seconds: float, pad_seconds: float
) -> None:
    probability = np.concatenate([np.full(n, p, np.float32) for n, p in runs]) if runs else np.zeros(0, np.float32)
    config = RegionsConfig(
        min_speech_seconds=speech_seconds, min_silence_seconds=silence_seconds, pad_seconds=pad_seconds
    )
    total = len(probability) * FRAME_SAMPLES
    regions = regions_of(probability, FRAME_SAMPLES, total, config)
    flat = [edge for region in regions for edge in region]
    assert flat == sorted(flat)
    assert all(0 <= begin < end <= total for begin, end in regions)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(regions))
    inside = np.zeros(len(probability), bool)
    for begin, end in regions:
        inside[begin // FRAME_SAMPLES : -(-end // FRAME_SAMPLES)] = True
    position = 0
    for length, value in runs:
        if value >= 0.5 and length * FRAME_SAMPLES / 16000 >= speech_seconds:
            assert inside[position : position + length].all()
        position += length
