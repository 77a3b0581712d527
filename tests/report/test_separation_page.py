"""The page of separators: it stands alone, keeps its size, and nothing of the user's becomes markup."""

from __future__ import annotations

import re

import numpy as np
import pytest
from markupsafe import escape

from speechkit.data.manifest import write_manifest
from speechkit.data.mixtures import Mixture, with_mixture
from speechkit.data.records import Utterance
from speechkit.io.audio import write_audio
from speechkit.metrics.separated_tracks import read_estimates, read_references
from speechkit.metrics.separation_comparison import RecognisedTexts, compare_separation
from speechkit.metrics.separation_items import score_items
from speechkit.report.separation_page import render_separation_page
from speechkit.report.separation_tables import all_tables, tables_as

from .browser import browser, chromium

RATE = 8000
HOSTILE = "</script><b onload=1>'\"&"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Four mixtures and a lone speaker with hostile names, and two systems."""
    folder = tmp_path_factory.mktemp("separation")
    random = np.random.default_rng(0)
    rows = []
    for n in range(5):
        one, two = 0.1 * random.standard_normal((2, 2 * RATE)) * np.array([[1], [n < 4]])
        for name, wave in (("mix", one + two), ("s1", one), ("s2", two)):
            write_audio(folder / f"ref/{n}_{name}.wav", wave, RATE)
        for system, leak in (("first", 0.1), ("second", 0.4)):
            write_audio(folder / f"{system}/{n}_s1.wav", one + leak * two, RATE)
            write_audio(folder / f"{system}/{n}_s2.wav", two + leak * one * (n < 4), RATE)
        plain = Utterance.from_samples(
            id=f"{n}{HOSTILE}", audio_filepath=f"ref/{n}_mix.wav", num_samples=2 * RATE, sample_rate=RATE
        )
        texts = [f"{HOSTILE} said", "other words"]
        rows.append(
            with_mixture(plain, Mixture(sources=[f"{n}_s1.wav", f"{n}_s2.wav"], speakers=[HOSTILE, "b"], texts=texts))
        )
    write_manifest(folder / "ref.jsonl", rows)
    references, _ = read_references(folder / "ref.jsonl")
    estimates = {name: read_estimates(folder / name) for name in ("first", "second")}
    estimates[HOSTILE] = estimates.pop("second")
    items = score_items(references, estimates)
    ids = [reference.id for reference in references]
    heard = RecognisedTexts(
        mixtures=dict.fromkeys(ids, HOSTILE),
        sources={each: ["x", "other words"] for each in ids},
        tracks={name: {each: [f"{HOSTILE} said other", "words"] for each in ids} for name in estimates},
    )
    return compare_separation(items, recognised=heard, resamples=50), references, estimates


def test_hostile_ids_speakers_texts_and_names_stay_text(made, tmp_path):
    page = render_separation_page(tmp_path / "p.html", *made, title=HOSTILE).read_text()
    assert "<b onload" not in page
    assert escape(HOSTILE) in page
    assert page.count("<script") == page.count("</script>")
    assert not re.findall(r'(?:src|href)="(?!data:)', page)


def test_mixtures_sources_and_tracks_can_be_seen_and_heard(made, tmp_path):
    page = render_separation_page(tmp_path / "p.html", *made).read_text()
    assert page.count('<article class="card passage">') == 5
    assert page.count('class="sound-image"') == 5 * 7
    players, blocks = page.count('data-clip="'), page.count('type="text/plain"')
    assert players == blocks
    # The silent source has a picture and no sound, and so have the empty tracks of the lone speaker.
    assert page.count("<small>silent</small>") == 35 - players == 3
    assert "no speaker: -100 dB relative to the mixture" in page
    assert "leaked words" in page


def test_examples_stop_where_the_page_is_full(made, tmp_path):
    whole = render_separation_page(tmp_path / "a.html", *made).stat().st_size
    small = render_separation_page(tmp_path / "b.html", *made, max_megabytes=0.6)
    assert small.stat().st_size < min(whole, 700_000)
    assert 'class="sound-image"' in small.read_text()
    none = render_separation_page(tmp_path / "c.html", *made, max_megabytes=0.1).read_text()
    assert "Mixtures to hear" not in none


def test_a_track_that_is_gone_costs_its_example_only(made, tmp_path):
    scores, references, estimates = made
    gone = {name: {**tracks, "0": [str(tmp_path / "gone.wav")] * 2} for name, tracks in estimates.items()}
    page = render_separation_page(tmp_path / "p.html", scores, references, gone).read_text()
    assert page.count('<article class="card passage">') == 4
    assert "an example could not be shown" in page


def test_tables_are_there_in_every_format(made):
    scores = made[0]
    captions = [table.caption for table in all_tables(scores)]
    assert captions == [
        "Mixtures of several speakers (4)",
        "Paired differences of systems",
        "Lone speakers (1), silence and swaps",
        "What a recogniser hears",
    ]
    assert tables_as(scores, "md").count("\n| ") >= 4
    assert tables_as(scores, "tex").count(r"\begin{table}") == 4
    assert tables_as(scores, "csv").count("\n") == 4


@pytest.mark.slow
@pytest.mark.skipif(chromium() is None, reason="needs Chromium")
def test_a_browser_shows_and_plays_it(made, tmp_path):
    page = render_separation_page(tmp_path / "p.html", *made)
    with browser() as tab:
        tab.open(page)
        assert tab.evaluate("document.querySelectorAll('.sound-image').length") == 35
        assert tab.evaluate("[...document.images].every(image => image.naturalWidth > 100)")
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert not tab.problems
