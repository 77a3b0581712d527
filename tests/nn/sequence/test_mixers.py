"""Claims that every sequence layer meets: one function in three forms, blind to padding, the future and others."""

from __future__ import annotations

import pytest
import torch

from speechkit.errors import ConfigError
from speechkit.nn.sequence.aaren import AarenConfig
from speechkit.nn.sequence.convolution import ConvolutionConfig
from speechkit.nn.sequence.gated_recurrent import RecurrentConfig
from speechkit.nn.sequence.linear_attention import JrtConfig
from speechkit.nn.sequence.lssl import LsslConfig
from speechkit.nn.sequence.mixer import row_bytes, select_rows
from speechkit.nn.sequence.ngram_head import NgramConfig
from speechkit.nn.sequence.s4d import S4DConfig
from speechkit.nn.sequence.softmax_attention import AttentionConfig
from speechkit.nn.sequence.stack import MIXERS, Stack, StackConfig, new_mixer
from speechkit.nn.sequence.titans import TitansConfig

WIDTH, TOKENS = 16, 3
MIXERS_UNDER_TEST = {
    "attention": AttentionConfig(heads=2),
    "grouped": AttentionConfig(heads=4, key_heads=2, bias=True),
    "window": AttentionConfig(heads=2, window=4),
    "window-1": AttentionConfig(heads=2, window=1, rotary=False),
    "lstm": RecurrentConfig(),
    "gru": RecurrentConfig(kind="gru", hidden=12),
    "convolution": ConvolutionConfig(kernel=4),
    "convolution-1": ConvolutionConfig(kernel=1),
    "s4d": S4DConfig(states=8),
    "s4d-legs": S4DConfig(states=6, poles="legs", most_step=0.5),
    "s4d-inv": S4DConfig(states=6, poles="inv"),
    "lssl": LsslConfig(states=5, outputs=2),
    "lssl-legt": LsslConfig(states=4, measure="legt"),
    "aaren": AarenConfig(heads=2),
    "jrt": JrtConfig(heads=2, key_width=3),
    "unigram": NgramConfig(order=1),
    "bigram": NgramConfig(order=2),
    "trigram": NgramConfig(order=3),
    "persistent": AttentionConfig(heads=2, key_heads=1, persistent=3),
    "titans-lmm": TitansConfig(variant="lmm", heads=2, chunk=4),
    "titans-lmm-1": TitansConfig(variant="lmm", heads=1, chunk=1, depth=1, kernel=1),
    "titans-mag": TitansConfig(variant="mag", heads=2, chunk=4, window=3, persistent=2),
    "titans-mal": TitansConfig(variant="mal", heads=2, chunk=5, window=4, depth=3),
    "titans-mac": TitansConfig(variant="mac", heads=2, chunk=4, persistent=2),
}
STACKS = {
    "stack": StackConfig(
        layers=(AttentionConfig(heads=2, window=3), RecurrentConfig(), AttentionConfig()), width=WIDTH
    ),
}
EVERY = [*MIXERS_UNDER_TEST, *STACKS]
TOLERANCE = {torch.float32: {"atol": 1e-5, "rtol": 1e-5}, torch.float64: {"atol": 1e-10, "rtol": 1e-10}}


def made(name, dtype=torch.float64):
    """The mixer, with weights large enough that what it sees shows."""
    torch.manual_seed(sum(map(ord, name)))
    mixer = Stack(STACKS[name]) if name in STACKS else new_mixer(WIDTH, MIXERS_UNDER_TEST[name])
    return mixer.to(dtype).eval()


def batch(rows, length, dtype=torch.float64):
    return torch.randn(rows, length, WIDTH, dtype=dtype), torch.randint(0, TOKENS, (rows, length))


def streamed(mixer, x, tokens, state):
    rows = []
    for position in range(x.shape[1]):
        row, state = mixer.step(x[:, position], state, tokens=tokens[:, position])
        rows.append(row)
    return torch.stack(rows, 1), state


def same_states(one, other, dtype=torch.float64):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], **TOLERANCE[dtype], msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def test_every_kind_of_mixer_is_held_to_these_claims():
    assert {type(config) for config in MIXERS_UNDER_TEST.values()} == set(MIXERS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", EVERY)
def test_the_parallel_form_is_the_streaming_form(name, dtype):
    mixer = made(name, dtype)
    x, tokens = batch(2, 13, dtype)
    start = mixer.start(2, "cpu", dtype)
    parallel = mixer(x, tokens=tokens)
    stepped, after_steps = streamed(mixer, x, tokens, start)
    torch.testing.assert_close(stepped, parallel, **TOLERANCE[dtype])
    prefilled, after_prefill = mixer.prefill(x, start, tokens=tokens)
    torch.testing.assert_close(prefilled, parallel, **TOLERANCE[dtype])
    same_states(after_prefill, after_steps, dtype)


@pytest.mark.parametrize("cuts", [(1, 12), (0, 5, 6, 13), (4, 8, 12)])
@pytest.mark.parametrize("name", EVERY)
def test_prefill_goes_on_where_the_last_one_ended(name, cuts):
    mixer = made(name)
    x, tokens = batch(2, 13)
    state, parts = mixer.start(2, "cpu", x.dtype), []
    for begin, end in zip((0, *cuts), (*cuts, 13), strict=True):
        part, state = mixer.prefill(x[:, begin:end], state, tokens=tokens[:, begin:end])
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), mixer(x, tokens=tokens), **TOLERANCE[x.dtype])
    same_states(state, streamed(mixer, x, tokens, mixer.start(2, "cpu", x.dtype))[1])


@pytest.mark.parametrize("name", EVERY)
def test_right_padding_changes_nothing(name):
    mixer = made(name)
    lengths = [9, 4, 0, 1, 7]
    x, tokens = batch(5, 9)
    for row, length in enumerate(lengths):
        x[row, length:] = 50.0
    padded = mixer(x, torch.tensor(lengths), tokens=tokens)
    _, states = mixer.prefill(x, mixer.start(5, "cpu", x.dtype), torch.tensor(lengths), tokens=tokens)
    more, more_tokens = batch(5, 6)
    continued, _ = streamed(mixer, more, more_tokens, states)
    again, _ = mixer.prefill(more, states, torch.tensor([6, 6, 3, 0, 6]), tokens=more_tokens)
    for row, length in enumerate(lengths):
        whole = torch.cat([x[row : row + 1, :length], more[row : row + 1]], 1)
        alone = mixer(whole, tokens=torch.cat([tokens[row : row + 1, :length], more_tokens[row : row + 1]], 1))[0]
        torch.testing.assert_close(padded[row, :length], alone[:length], **TOLERANCE[x.dtype])
        torch.testing.assert_close(continued[row], alone[length:], **TOLERANCE[x.dtype])
        known = (6, 6, 3, 0, 6)[row]
        torch.testing.assert_close(again[row, :known], alone[length : length + known], **TOLERANCE[x.dtype])
    assert padded.isfinite().all()


@pytest.mark.parametrize("name", EVERY)
def test_no_position_sees_a_later_one(name):
    mixer = made(name)
    x, tokens = batch(1, 12)
    before = mixer(x, tokens=tokens)
    for position in range(12):
        changed, changed_tokens = x.clone(), tokens.clone()
        changed[:, position:] = torch.randn(1, 12 - position, WIDTH, dtype=x.dtype)
        changed_tokens[:, position:] = torch.randint(0, TOKENS, (1, 12 - position))
        after = mixer(changed, tokens=changed_tokens)
        torch.testing.assert_close(after[:, :position], before[:, :position], atol=1e-12, rtol=0)
        assert (after[:, position] - before[:, position]).abs().max() > 1e-4


@pytest.mark.parametrize("name", EVERY)
def test_packed_documents_are_documents_alone(name):
    mixer = made(name)
    x, tokens = batch(3, 14)
    sizes = [(4, 3, 7), (14,), (1, 1, 5, 2)]  # the last row is padded
    documents = torch.zeros(3, 14, dtype=torch.int64)
    for row, own in enumerate(sizes):
        ids = torch.repeat_interleave(torch.tensor([7, 2, 7, 5][: len(own)]), torch.tensor(own))
        documents[row, : len(ids)] = ids
    lengths = torch.tensor([sum(own) for own in sizes])
    start = mixer.start(3, "cpu", x.dtype)
    _, begun = streamed(mixer, *batch(3, 5), start)
    packed = mixer(x, lengths, documents=documents, tokens=tokens)
    went_on, states = mixer.prefill(x, begun, lengths, documents=documents, tokens=tokens)
    more, more_tokens = batch(3, 4)
    continued, _ = mixer.prefill(more, states, tokens=more_tokens)
    for row, own in enumerate(sizes):
        begin = 0
        for number, size in enumerate(own):
            cut = slice(begin, begin + size)
            alone = mixer(x[row : row + 1, cut], tokens=tokens[row : row + 1, cut])[0]
            torch.testing.assert_close(packed[row, cut], alone, **TOLERANCE[x.dtype])
            state = select_rows(begun if number == 0 else start, torch.tensor([row]))
            alone, last = mixer.prefill(x[row : row + 1, cut], state, tokens=tokens[row : row + 1, cut])
            torch.testing.assert_close(went_on[row, cut], alone[0], **TOLERANCE[x.dtype])
            begin += size
        alone, _ = mixer.prefill(more[row : row + 1], last, tokens=more_tokens[row : row + 1])
        torch.testing.assert_close(continued[row], alone[0], **TOLERANCE[x.dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", EVERY)
def test_a_state_has_as_many_bytes_as_declared(name, dtype):
    mixer = made(name, dtype)
    state = mixer.start(2, "cpu", dtype)
    for positions in range(12):
        assert row_bytes(state) == mixer.state_bytes(positions)
        x, tokens = batch(2, 1, dtype)
        state = mixer.step(x[:, 0], state, tokens=tokens[:, 0])[1]


@pytest.mark.parametrize("name", EVERY)
def test_selected_rows_go_on_as_those_rows_and_the_old_state_stays(name):
    mixer = made(name)
    x, tokens = batch(3, 6)
    _, state = mixer.prefill(x, mixer.start(3, "cpu", x.dtype), torch.tensor([6, 3, 5]), tokens=tokens)
    kept = {part: tensor.clone() for part, tensor in state.items()}
    more, more_tokens = batch(3, 7)
    rows = torch.tensor([2, 2, 0, 1, 1])
    whole, _ = streamed(mixer, more, more_tokens, state)
    chosen, _ = streamed(mixer, more[rows], more_tokens[rows], select_rows(state, rows))
    torch.testing.assert_close(chosen, whole[rows], **TOLERANCE[x.dtype])
    same_states(state, kept)


@pytest.mark.parametrize("name", EVERY)
def test_every_weight_learns_in_float32(name):
    with torch.enable_grad():
        mixer = made(name, torch.float32).train()
        x, tokens = batch(3, 13, torch.float32)
        lengths = torch.tensor([13, 5, 9])
        prefix = torch.arange(13) < torch.tensor([[4], [2], [0]]) if mixer.reads_prefix else None
        out = mixer(x, lengths, tokens=tokens, prefix=prefix)
        (out[:, :5] * torch.randn(3, 5, WIDTH)).sum().backward()
    for parameter, tensor in mixer.named_parameters():
        assert tensor.grad is not None, parameter
        assert tensor.grad.isfinite().all(), parameter


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (AttentionConfig(heads=3), "multiple of the heads, 3"),
        (AttentionConfig(heads=4, key_heads=3), "must divide 4 heads"),
        (AttentionConfig(heads=16), "even width"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        new_mixer(WIDTH, config)
