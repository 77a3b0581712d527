"""Claims about durations: whole frames that sum exactly, overrides, and what foretells the length of a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechkit.errors import ConfigError, UserError
from speechkit.training import TrainingConfig, train
from speechkit.tts.duration_network import DurationNetwork, DurationNetworkConfig, duration_objective
from speechkit.tts.durations import (
    FRAME_RATE,
    TokenSumDuration,
    fit_bytes,
    fit_symbols,
    load_sentence_duration,
    sentence_frames,
    token_frames,
)

FORETOLD = st.lists(st.floats(0, 40), min_size=1, max_size=30)


@given(FORETOLD, st.floats(0.2, 20), st.integers(0, 2))
def test_frames_of_tokens_sum_exactly_to_the_seconds(predicted, seconds, least):
    total = sentence_frames(0.0, seconds=seconds)
    if total < least * len(predicted):
        with pytest.raises(ConfigError, match="too few for"):
            token_frames(predicted, seconds=seconds, least=least)
        return
    frames = token_frames(predicted, seconds=seconds, least=least)
    assert frames.sum() == total
    assert (frames >= least).all()


@given(FORETOLD, st.sampled_from([0.5, 1.0, 2.0]))
def test_speed_divides_the_sum_and_no_bound_moves_by_more_than_a_frame(predicted, speed):
    frames = token_frames(predicted, speed=speed)
    wanted = np.cumsum(predicted) / speed
    assert frames.sum() == max(1, round(min(wanted[-1] / FRAME_RATE, 600) * FRAME_RATE))
    if wanted[-1] > 2:
        assert np.abs(np.cumsum(frames) - wanted).max() <= 1.01


@given(st.lists(st.integers(0, 30), min_size=1, max_size=20).filter(any))
def test_whole_frames_stay_as_they_are(frames):
    assert token_frames(frames).tolist() == frames


def test_tokens_that_need_more_frames_than_predicted_get_them():
    assert token_frames([0.1, 0.1, 0.1], least=1).tolist() == [1, 1, 1]
    assert token_frames([], least=1).tolist() == []
    assert token_frames([0.0, 0.0], seconds=0.1).sum() == 5


@pytest.mark.parametrize(
    "given",
    [{"seconds": 0.0}, {"seconds": float("nan")}, {"seconds": 1e6}, {"speed": 0.0}, {"seconds": 2.0, "speed": 2.0}],
)
def test_impossible_durations_are_refused(given):
    with pytest.raises(ConfigError, match="give"):
        sentence_frames(1.0, **given)


def test_durations_below_nothing_are_refused():
    with pytest.raises(ValueError, match="finite"):
        token_frames([1.0, -1.0])


TEXTS = ["one two", "three", "a b c d e f", "seven eight nine", "oh", "zebra crossing"]


def test_a_line_in_bytes_is_found_again(tmp_path):
    fitted = fit_bytes(TEXTS, [0.3 + 0.07 * len(text) for text in TEXTS])
    assert fitted.seconds("12345") == pytest.approx(0.3 + 0.35)
    fitted.save_pretrained(tmp_path)
    assert load_sentence_duration(tmp_path) == fitted


def test_what_each_symbol_lasts_is_found_again(tmp_path):
    rng = np.random.default_rng(0)
    lasts = {"a": 0.2, "b": 0.05, " ": 0.0}
    texts = ["".join(rng.choice(list(lasts), size)) for size in range(4, 204)]
    fitted = fit_symbols(texts, [0.1 + sum(map(lasts.get, text)) for text in texts], ridge=0.01)
    assert fitted.seconds("aaab") == pytest.approx(0.75, abs=0.03)
    assert fitted.seconds("AAAB") == fitted.seconds("aaab")
    assert fitted.seconds("ж") > 0
    fitted.save_pretrained(tmp_path)
    assert load_sentence_duration(tmp_path) == fitted


def test_durations_never_fall_below_a_frame():
    assert fit_bytes(["a", "ab", "abc"], [3.0, 2.0, 1.0]).seconds_per_byte == 0
    assert fit_symbols(["a"], [1e-9]).seconds("") >= 1 / FRAME_RATE


def test_token_sums_are_seconds_of_the_aligned_model(tmp_path):
    duration = TokenSumDuration(lambda text: [5.0] * len(text))
    assert duration.seconds("0123456789") == 1.0
    with pytest.raises(UserError, match="aligned model"):
        duration.save_pretrained(tmp_path)


CONFIG = DurationNetworkConfig(width=16, layers=1, heads=2, kernel=3, dropout=0.0)


def test_the_network_learns_from_texts_and_is_the_same_after_saving(tmp_path):
    torch.manual_seed(0)
    texts = [text * count for text in ("a", "b") for count in range(1, 12)]
    seconds = [len(text) * (0.3 if text[0] == "a" else 0.1) for text in texts]
    objective = duration_objective(texts, seconds, CONFIG, 60)
    settings = TrainingConfig(steps=150, learning_rates=(1e-2,), warmup_steps=10, average_decay=0.9, log_every=200)
    train(objective, settings, tmp_path / "training", log=lambda _: None)
    network = objective.network
    assert network.seconds("aaaa") == pytest.approx(1.2, rel=0.25)
    assert network.seconds("bbbb") == pytest.approx(0.4, rel=0.25)
    network.save_pretrained(tmp_path / "model")
    assert load_sentence_duration(tmp_path / "model").seconds("aba") == network.seconds("aba")


def test_the_network_gives_an_item_the_same_in_every_batch():
    torch.manual_seed(0)
    network = DurationNetwork(CONFIG).eval()
    text = torch.tensor([[97, 98, 99, 100], [97, 98, 0, 0]])
    batch = network(text, torch.tensor([4, 2]))
    torch.testing.assert_close(batch[1], network(text[1:, :2], torch.tensor([2]))[0])
    assert network.seconds("") > 0


@pytest.mark.parametrize("content", [None, "{}", '{"model_type": "other"}', "no json"])
def test_a_folder_without_a_duration_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match="sentence duration"):
        load_sentence_duration(tmp_path)


def test_texts_without_durations_are_refused():
    with pytest.raises(UserError, match="at least one"):
        fit_bytes([], [])
    with pytest.raises(UserError, match="empty"):
        duration_objective(["a", ""], [1.0, 1.0], CONFIG, 10)


def test_a_network_whose_heads_do_not_fit_is_refused():
    with pytest.raises(ConfigError, match="must be a multiple of twice the heads"):
        DurationNetworkConfig(width=5)
