from __future__ import annotations

from speechkit.text import get_normalizer


def test_transcribers_marks_are_no_words_and_other_brackets_stay():
    normalize = get_normalizer("earnings21")
    assert normalize("Well <inaudible> we're <unk> up <crosstalk>, 3 < 4 <b 2>") == "well we're up 3 4 b 2"
    found = normalize.normalize("a <laugh> b")
    assert found.text == "a b"
    assert "a <laugh> b"[found.offsets[2]] == "b"
