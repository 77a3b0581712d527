"""Markup, plots and clips as other pages will use them."""

from __future__ import annotations

import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from markupsafe import Markup

from speechkit.io.audio import read_audio
from speechkit.report.mining_views import thinned
from speechkit.report.page import data_block, environment, render
from speechkit.report.player import CLIP_RATE, encode_clip, wave_outline
from speechkit.report.svg import Scale, Series, curve, histogram, joined, nice_ticks, shape, short_number, stacked_bar


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict]] = []
        self.text = ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def _parsed(markup: str) -> _Reader:
    reader = _Reader()
    reader.feed(markup)
    reader.close()
    return reader


READABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=40)


@given(READABLE, READABLE)
def test_any_text_comes_back_from_an_element_and_makes_no_other(text: str, attribute: str) -> None:
    read = _parsed(shape("text", text, aria_label=attribute))
    assert [tag for tag, _ in read.tags] == ["text"]
    assert read.text == text
    assert read.tags[0][1]["aria-label"] == attribute


@given(READABLE.filter(bool))
def test_any_text_comes_back_from_a_template_and_makes_no_element(text: str) -> None:
    for name in ("parts.header(text, text)", "parts.warnings([text])", "parts.section(text, text)"):
        call = f"{{% call {name} %}}{{{{ text }}}}{{% endcall %}}" if "section" in name else f"{{{{ {name} }}}}"
        made = environment().from_string("{% import 'parts.html' as parts %}" + call).render(text=text)
        plain = environment().from_string("{% import 'parts.html' as parts %}" + call).render(text="x")
        assert [tag for tag, _ in _parsed(made).tags] == [tag for tag, _ in _parsed(plain).tags]
        assert text in _parsed(made).text


def test_a_name_that_a_template_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="figures"):
        render("sensitivity.html", title="t")


@given(st.recursive(READABLE, lambda inner: st.lists(inner) | st.dictionaries(READABLE, inner), max_leaves=8))
def test_data_block_holds_any_value_and_no_tag(value: object) -> None:
    block = data_block("data", value)
    inner = str(block).removeprefix('<script type="application/json" id="data">').removesuffix("</script>")
    assert not set("<>&\u2028\u2029") & set(inner)
    assert msgspec.json.decode(inner) == value


def test_markup_is_not_escaped_twice_and_lone_surrogates_do_not_break_the_page() -> None:
    assert shape("g", shape("b", "a<b"), x=0.5, y=None) == '<g x="0.5"><b>a&lt;b</b></g>'
    assert joined([Markup("<i>"), None, "&"]) == "<i>&amp;"
    assert "\0" not in render("page.html", title="\ud800 \0").encode("utf-8").decode()


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 10))
def test_ticks_are_round_ordered_and_inside(low: float, span: float, count: int) -> None:
    ticks = nice_ticks(low, low + span, count)
    slack = 1e-6 * max(1.0, abs(low), span)
    assert all(low - slack <= tick <= low + span + slack for tick in ticks)
    assert ticks == sorted(ticks)
    assert len(ticks) <= 2 * count + 1


def test_scales_reach_both_ends() -> None:
    for root in (False, True):
        scale = Scale(0, 80, root)
        assert scale(0) == 0
        assert scale(80) == 1
    assert Scale(0, 100, root=True)(25) == pytest.approx(0.5)
    assert Scale(3, 3)(3) == 0
    assert [short_number(v) for v in (0.25, 12, 1500, 2_000_000)] == ["0.25", "12", "1.5k", "2M"]


def test_histogram_bars_have_heights_in_proportion() -> None:
    plot = histogram(
        [0, 1, 2], [Series("kept", "kept", [10, 5])], label="L", x_title="x", y_title="y", marker=(1.5, "here")
    )
    heights = [float(h) for h in re.findall(r'<rect class="kept"[^>]* height="([\d.]+)"', plot)]
    assert heights[0] == pytest.approx(2 * heights[1], rel=1e-3)
    assert "here" in plot
    assert 'aria-label="L"' in plot


def test_stacked_bar_leaves_out_nothing_but_zero() -> None:
    bar = stacked_bar([("a", "kept", 3.0, "3 h"), ("b", "silence", 1.0, "1 h"), ("c", "other", 0.0, "0 h")], label="L")
    widths = [float(w) for w in re.findall(r'<rect[^>]* width="([\d.]+)"', bar)]
    assert widths == [750, 250]
    assert "75.0%" in bar
    assert "0 h" not in bar.replace("3 h", "")


def test_curve_of_one_point_is_a_plot_too() -> None:
    assert "<path" in curve([(98.0, 2.0)], label="L", x_title="x", y_title="y", marker=(98.0, 2.0, "chosen"))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=80), st.integers(2, 20))
def test_thinned_path_keeps_order_ends_and_size(steps: list[tuple[int, int]], count: int) -> None:
    path, c, s = [], 0, 0.0
    for dc, ds in steps:
        c, s = c + dc, s + ds / 10
        path.append((c, s))
    thin = thinned(path, count)
    assert thin[0] == path[0]
    assert thin[-1] == path[-1]
    assert len(thin) <= max(count, 2)
    assert thin == [point for point in path if point in set(thin)][: len(thin)] or len(set(path)) < len(path)


def test_thinned_path_keeps_its_corners() -> None:
    path = [(i, i * 0.1) for i in range(1000)] + [(1000, 100 + i * 0.1) for i in range(1000)]
    corners = {(999, 99.9), (1000, 100.0)}
    assert corners & set(thinned(path, 10))


def test_clip_keeps_its_length_and_its_time(audio_root: Path) -> None:
    waveform = read_audio(audio_root / "bees.ogg", num_samples=16000 * 6)
    decoded, rate = soundfile.read(io.BytesIO(encode_clip(waveform)), dtype="float32")
    assert rate == CLIP_RATE
    assert len(decoded) == len(waveform)
    piece = waveform[30000:40000]
    lags = np.correlate(decoded[29000:41000], piece, "valid")
    assert abs(int(lags.argmax()) - 1000) < 16  # within a millisecond
    assert len(encode_clip(waveform)) < 6 * 6000


def test_clips_of_any_length_are_encoded() -> None:
    for samples in (1, 100, 16000):
        assert encode_clip(np.zeros(samples, np.float32))


def test_outline_follows_loudness() -> None:
    quiet_then_loud = np.concatenate([np.full(1600, 0.01), np.full(1600, 1.0)]).astype(np.float32)
    ys = [float(y) for y in re.findall(r" ([\d.]+)", wave_outline(quiet_then_loud, 4))]
    assert ys[0] > ys[3]
    assert wave_outline(np.zeros(0, np.float32)) == ""
    assert math.isfinite(sum(ys))
