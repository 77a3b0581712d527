from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.units.acoustic_bpe import AcousticBpe, learn_bpe

ITEMS = st.lists(st.lists(st.integers(0, 3), max_size=25), max_size=6)


def join(tokens, pair, token):
    answer = []
    while tokens:
        step = 2 if tuple(tokens[:2]) == pair else 1
        answer.append(token if step == 2 else tokens[0])
        tokens = tokens[step:]
    return answer


def count(tokens, pair):
    return join(list(tokens), pair, -1).count(-1)


def learn_slowly(items, base, tokens):
    items, merges = [list(units) for units in items], []
    while base + len(merges) < tokens:
        pairs = {pair for units in items for pair in zip(units, units[1:], strict=False)}  # noqa: RUF007
        counts = Counter({pair: sum(count(units, pair) for units in items) for pair in pairs})
        if not counts or max(counts.values()) < 2:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        items = [join(units, best, base + len(merges)) for units in items]
        merges.append(best)
    return merges, items


@settings(max_examples=150)
@given(ITEMS, st.integers(4, 14))
def test_merges_are_those_of_counting_everything_anew(items, tokens):
    found = learn_bpe(items, 4, tokens, "toy")
    merges, encoded = learn_slowly(items, 4, tokens)
    assert found.merges == merges
    assert [found.encode(units) for units in items] == encoded
    assert [found.decode(tokens) for tokens in encoded] == items
    assert found.lengths[-1] == sum(map(len, encoded))
    assert found.num_tokens == 4 + len(merges)


def test_compression_grows_with_the_tokens_and_survives_the_file(tmp_path):
    found = learn_bpe([[0, 1, 0, 1, 2, 0, 1]], 3, 5, "toy")
    assert found.compression() == [(3, 1.0), (4, 7 / 4)]
    found.save(tmp_path / "bpe.json")
    assert AcousticBpe.load(tmp_path / "bpe.json") == found


def test_bad_input_is_told(tmp_path):
    with pytest.raises(UserError, match=r"2 tokens.*fewer.*3 units"):
        learn_bpe([[0]], 3, 2, "toy")
    with pytest.raises(UserError, match="out of range"):
        learn_bpe([[3]], 3, 4, "toy")
    bpe = learn_bpe([[0, 1, 0, 1]], 2, 3, "toy")
    with pytest.raises(UserError, match=r"unit 2.*out of range"):
        bpe.encode([0, 2])
    with pytest.raises(UserError, match=r"token 3.*out of range"):
        bpe.decode([3])
    (tmp_path / "bad.json").write_text('{"base":2,"codebook":"x","merges":[[0,5]],"lengths":[4,2]}')
    with pytest.raises(UserError, match="merge 0 joins"):
        AcousticBpe.load(tmp_path / "bad.json")
