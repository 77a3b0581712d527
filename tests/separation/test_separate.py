"""Any recording in, one track a speaker out: levels, lone speakers, silence and what is no recording at all."""

from __future__ import annotations

import numpy as np
import pytest

from speechkit.errors import AudioError, ConfigError, UserError
from speechkit.metrics.logistic import LogisticModel
from speechkit.separation.counting import FEATURES, Counting
from speechkit.separation.counting_fit import fit_counting
from speechkit.separation.separate import LoadedSeparator, counting_example, load_window_separator, separate
from speechkit.separation.streaming import SeparationStream, Windowing
from tests.separation.oracles import OracleSeparator, SplitSeparator, no_voice
from tests.separation.test_streaming import talkers

SHORT = Windowing(1.0, 0.25)
# One feature, the level: what is less than 20 dB below the loudest is a speaker.
BY_LEVEL = Counting(LogisticModel(list(FEATURES), [-20, 0, 0, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0], 0.0))


def of(mixture, model, rate=8000, **options):
    return separate(mixture, rate, model=model, windowing=SHORT, embed=no_voice, **options)


def test_two_speakers_come_out_at_their_own_level():
    sources = talkers(5) * np.array([[1.0], [0.3]], np.float32)
    found = of(sources.sum(0), OracleSeparator(sources), speakers=2)
    loud = 0 if np.abs(found.tracks[0]).sum() > np.abs(found.tracks[1]).sum() else 1
    np.testing.assert_allclose(found.tracks[[loud, 1 - loud]], sources, atol=5e-4)
    assert (found.count.speakers, found.rate, found.gain, found.unsure_joins) == (2, 8000, 1.0, 0)


def test_the_stream_gives_the_tracks_of_the_file():
    sources = talkers(5)
    found = of(sources.sum(0), OracleSeparator(sources, seed=4), speakers=2)
    stream = SeparationStream(OracleSeparator(sources, seed=4), 8000, windowing=SHORT, embed=no_voice)
    pieces = [stream.push(block) for block in np.array_split(sources.sum(0), 37)]
    np.testing.assert_allclose(np.concatenate([*pieces, stream.finish()], axis=1), found.tracks, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_a_lone_speaker_is_one_track_the_mixture_itself_with_all_of_its_band(rate):
    lone = talkers(3, rate)[0]
    model = SplitSeparator()
    model.counting = BY_LEVEL

    def one_track(windows):
        return np.stack([windows, 1e-4 * windows[:, ::-1]], axis=1)

    model.separate_windows = one_track
    found = of(lone, model, rate)
    assert found.count.speakers == 1
    assert found.count.confidence > 0.9
    np.testing.assert_array_equal(found.tracks[0], lone)
    assert not found.tracks[1].any()


def test_silence_gives_silence_and_nobody():
    found = of(np.zeros(20_000, np.float32), SplitSeparator(), 16_000)
    assert found.count.speakers == 0
    assert found.tracks.shape == (2, 20_000)
    assert not found.tracks.any()


def test_an_empty_waveform_has_empty_tracks():
    assert of(np.zeros(0, np.float32), SplitSeparator()).tracks.shape == (2, 0)


@pytest.mark.parametrize("seconds", [0.0005, 0.05])
def test_a_recording_shorter_than_a_window_keeps_its_length(seconds):
    mixture = talkers(1)[0][: round(8000 * seconds)]
    found = of(mixture, SplitSeparator(), speakers=2)
    assert found.tracks.shape == (2, len(mixture))
    np.testing.assert_allclose(found.tracks.sum(0), mixture, atol=1e-6)


def test_no_track_exceeds_full_scale_and_the_gain_is_told():
    sources = talkers(2) * 20
    sources[1] -= 0.9 * sources[0]
    found = of(sources.sum(0), OracleSeparator(sources, scale=False), speakers=2)
    assert np.abs(found.tracks).max() == pytest.approx(1)
    assert 0 < found.gain < 1
    np.testing.assert_allclose(found.tracks.sum(0), found.gain * sources.sum(0), atol=1e-4)


def test_a_clipped_recording_is_separated_as_it_is():
    sources = talkers(2) * 20
    mixture = np.clip(sources.sum(0), -0.5, 0.5)
    found = of(mixture, SplitSeparator(), speakers=2)
    np.testing.assert_allclose(found.tracks.sum(0), found.gain * mixture, atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_what_is_no_number_is_refused_with_its_place(bad):
    mixture = talkers(1)[0]
    mixture[4000] = bad
    with pytest.raises(AudioError, match=r"sample 4000 \(0\.50 s\) is NaN or infinite"):
        of(mixture, SplitSeparator())


def test_stereo_impossible_numbers_and_rates_are_refused():
    with pytest.raises(AudioError, match=r"\(2, 800\).*one channel"):
        of(np.zeros((2, 800), np.float32), SplitSeparator())
    with pytest.raises(ConfigError, match=r"speakers is 3, .* 1 to 2"):
        of(np.zeros(800, np.float32), SplitSeparator(), speakers=3)
    with pytest.raises(ConfigError, match="0 Hz"):
        of(np.zeros(800, np.float32), SplitSeparator(), 0)


def test_of_more_tracks_than_speakers_that_are_known_the_loudest_are_kept():
    sources = talkers(2, count=3) * np.array([[1], [0.01], [0.5]], np.float32)
    found = of(sources.sum(0), OracleSeparator(sources, scale=False, orders=[(0, 1, 2)] * 9), speakers=2)
    np.testing.assert_allclose(found.tracks[:2], sources[[0, 2]], atol=1e-3)
    assert not found.tracks[2].any()


def test_counting_is_fitted_on_what_the_separator_makes_of_known_sources():
    class Leaking(OracleSeparator):
        def _one(self, window):
            found = super()._one(window)
            return found + 0.05 * found[::-1]

    def items():
        for seed in range(12):
            sources = talkers(3, seed=seed)
            if seed % 2:
                sources[1] *= 1e-5
            yield counting_example(
                Leaking(sources, seed=seed), sources.sum(0), sources[: 2 - seed % 2], windowing=SHORT, embed=no_voice
            )

    counting = fit_counting(items())
    for seed in range(20, 26):
        sources = talkers(3, seed=seed)
        if seed % 2:
            sources[1] *= 1e-5
        separator = Leaking(sources, seed=seed)
        separator.counting = counting
        assert of(sources.sum(0), separator).count.speakers == 2 - seed % 2


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    import torch

    from speechkit.separation.model import new_separator, separator_config

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("separator")
    new_separator(separator_config("mossformer2-tiny")).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("samples", [1, 400, 8000])
def test_a_network_from_a_folder_separates_any_length(untrained, samples):
    mixture = talkers(1)[0][:samples]
    found = separate(mixture, 8000, model=untrained, speakers=2, embed=no_voice, device="cpu")
    assert found.tracks.shape == (2, samples)
    if samples > 1:  # one alone is an offset
        np.testing.assert_allclose(found.tracks.sum(0), mixture, atol=1e-4)


def test_windows_of_a_network_in_a_batch_equal_single_ones(untrained):
    separator = load_window_separator(untrained, "cpu", "float32")
    assert isinstance(separator, LoadedSeparator)
    windows = np.stack([talkers(1, seed=seed)[0][:2000] for seed in range(3)])
    together = separator.separate_windows(windows)
    alone = np.concatenate([separator.separate_windows(window[None]) for window in windows])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_separator_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        load_window_separator(tmp_path / "nowhere", "cpu")
