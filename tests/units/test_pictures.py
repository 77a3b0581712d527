"""Claims about pictures of units: what is shown is what is there, nothing of the user's becomes markup."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from speechkit.errors import UserError
from speechkit.report.page import render
from speechkit.report.unit_picture import (
    Ribbon,
    UnitPicture,
    grey_png,
    runs,
    spectrogram,
    unit_colour,
    unit_figure,
    write_unit_png,
)

RATE = 16_000


def picture(**changes):
    tone = (0.3 * np.sin(2 * np.pi * 2000 * np.arange(RATE) / RATE)).astype(np.float32)
    fields = {
        "title": "one <b>second</b>",
        "waveform": tone,
        "sample_rate": RATE,
        "ribbons": [Ribbon("k-means", np.array([3, 3, 1, 2])), Ribbon("invariant", np.array([5, 5]))],
        "words": [("<i>$x$", 0.1, 0.4), ("two", 0.5, 0.9)],
        "segments": [(0.1, 0.4), (0.4, 0.9)],
        "caption": "as heard",
    }
    return UnitPicture(**{**fields, **changes})


def test_a_tone_is_dark_at_its_frequency_alone():
    image = spectrogram(picture().waveform, RATE)
    assert image.shape == (128, 200)
    row = image.mean(1).argmax()
    assert (127 - row + 0.5) / 128 * 8000 == pytest.approx(2000, abs=70)
    assert image[:80, 5:-5].max() < 30  # its beginning and end are clicks
    assert image.max() == 255


def test_long_recordings_make_no_wider_image():
    assert spectrogram(np.zeros(60 * RATE, np.float32), RATE).shape[1] <= 1200
    assert spectrogram(np.zeros(10, np.float32), 8000).shape == (128, 1)


def test_a_png_holds_its_pixels():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    data = grey_png(image)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", data[16:24]) == (4, 3)
    begin = data.index(b"IDAT") + 4
    (length,) = struct.unpack(">I", data[begin - 8 : begin - 4])
    lines = np.frombuffer(zlib.decompress(data[begin : begin + length]), np.uint8).reshape(3, 5)
    np.testing.assert_array_equal(255 - lines[:, 1:], image)


def test_a_run_is_one_mark_in_the_colour_of_its_unit():
    assert runs(np.array([3, 3, 1, 2])) == [(3, 0, 2), (1, 2, 3), (2, 3, 4)]
    assert runs(np.zeros(0, int)) == []
    page = unit_figure(picture())
    assert page.count("<rect") == 4
    assert f'width="500" height="10" fill="{unit_colour(3)}"' in page
    assert "k-means: 3 units" in page
    assert len({unit_colour(unit) for unit in range(60)}) == 60


def test_text_is_escaped_and_words_stand_at_their_middle():
    page = unit_figure(picture())
    assert "<b>" not in page
    assert "<i>" not in page
    assert 'x="25.00%" y="14">&lt;i&gt;$x$' in page
    assert 'd="M100.0 0V100M400.0 0V100M900.0 0V100"' in page
    assert "data:image/png;base64," in page
    assert "img-src data:" in render("page.html", title="units", styles=["unit_picture.css"])


def test_what_is_missing_is_left_out():
    page = unit_figure(picture(words=(), segments=(), caption="", ribbons=[Ribbon("none", np.zeros(0, int))]))
    assert "words" not in page
    assert "none: 0 units" in page
    with pytest.raises(UserError, match="no sample"):
        unit_figure(picture(waveform=np.zeros(0, np.float32)))


def test_a_png_of_everything_is_written(tmp_path):
    write_unit_png(tmp_path / "a.png", picture())
    data = (tmp_path / "a.png").read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    assert width > 900
    assert height > 300
    write_unit_png(tmp_path / "b.png", picture(words=(), segments=(), ribbons=[]))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.png", "b.png"]
