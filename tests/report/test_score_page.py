"""The score page: nothing of the user's becomes markup, and audio is read only where it may be."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from speechkit.io.audio import write_audio
from speechkit.metrics import word_errors
from speechkit.metrics.comparison import compare
from speechkit.metrics.sides import match_sides
from speechkit.metrics.transcripts import Audio, Transcript
from speechkit.report.score_alignment import PASSAGE_WORDS, columns, worst_passages
from speechkit.report.score_page import render_score_page

from .browser import browser

HOSTILE = '</script><img/src=x/onerror="window.pwned=1"><!--\'"&]]><script>window.pwned=1</script>'


def scored(references, *systems, **options):
    named = {
        f"system {n}": [Transcript(t.id, x) for t, x in zip(references, s, strict=True)] for n, s in enumerate(systems)
    }
    sides = match_sides(references, named)
    return compare(sides, **options), sides


def page(tmp_path, references, *systems, **options):
    found, sides = scored(references, *systems, **options.pop("compare", {}))
    return render_score_page(tmp_path / "page.html", found, sides, **options).read_text()


@given(st.lists(st.sampled_from("ab"), max_size=260), st.lists(st.sampled_from("ab"), max_size=260))
def test_passages_hold_every_word_and_every_error_once(reference, hypothesis):
    result = word_errors({"u": " ".join(reference)}, {"u": " ".join(hypothesis)})
    passages = worst_passages(result, 100)
    assert sum(p.errors for p in passages) == result.counts.errors
    for passage in passages:
        found = list(columns(passage))
        assert sum(c.kind != "equal" for c in found) == passage.errors
        assert [c.reference for c in found if c.reference] == reference[passage.begin : passage.end]
        assert passage.whole or passage.end - passage.begin <= PASSAGE_WORDS
    assert [p.errors for p in passages] == sorted((p.errors for p in passages), reverse=True)


def test_hostile_texts_ids_speakers_and_names_stay_text(tmp_path):
    references = [
        Transcript(f"{n}{HOSTILE}", f"{HOSTILE} said {n}", speaker=HOSTILE, groups={"lang": HOSTILE}) for n in range(3)
    ]
    made = page(
        tmp_path, references, [f"{HOSTILE} heard {HOSTILE}"] * 3, [""] * 3, title=HOSTILE, compare={"groups": ["lang"]}
    )
    assert "<img" not in made
    assert made.count("<script") == made.count("</script>")
    assert escape(HOSTILE) in made
    scripts = re.findall(r"<script([^>]*)>", made)
    assert scripts == [' type="application/json" id="scores"', ""]


def test_the_page_says_flips_few_units_and_settings(tmp_path):
    references = [Transcript(str(i), "It costs ten, dollars", speaker=f"s{i % 2}") for i in range(5)]
    made = page(tmp_path, references, ["It costs ten, x"] * 5, ["it costs ten dollars"] * 5)
    assert "The normaliser decides: system 0 is better than system 1 under none and worse under simple." in made
    assert "only 5 utterances" in made
    assert "levenshtein" in made
    assert "dollars recognised as x" in made
    assert "ten, → ten" in made  # a substitution that is one of form


def test_audio_is_embedded_only_from_inside_the_folders(tmp_path):
    folder, outside = tmp_path / "in", tmp_path / "out"
    for path in (folder, outside):
        path.mkdir()
        write_audio(path / "a.wav", np.sin(np.arange(8000) / 8).astype(np.float32) * 0.3, 16000)
    (folder / "link.wav").symlink_to(outside / "a.wav")

    def clips(cut, **options):
        reference = Transcript("u", "one two", audio=cut)
        return page(tmp_path, [reference], ["one"], **options).count("data-clip=")

    assert clips(Audio("a.wav"), audio=folder) == 1
    assert clips(Audio("a.wav", 0.1, 0.2), source=folder / "ref.jsonl") == 1
    assert clips(Audio(str(folder / "a.wav")), audio=folder) == 1
    assert clips(Audio("../out/a.wav"), audio=folder) == 0
    assert clips(Audio(str(outside / "a.wav")), audio=folder) == 0
    assert clips(Audio("link.wav"), audio=folder) == 0
    assert clips(Audio("a.wav")) == 0
    (folder / "u.wav").write_bytes(b"no audio")
    assert clips(None, audio=folder) == 0
    write_audio(folder / "u.wav", np.zeros(4000, np.float32), 16000)
    assert clips(None, audio=folder) == 1


@pytest.mark.slow
def test_the_page_opens_without_requests_or_errors_and_its_tabs_work(tmp_path):
    write_audio(tmp_path / "u1.wav", np.sin(np.arange(320_000) / 8).astype(np.float32) * 0.3, 16000)
    references = [Transcript(f"u{i}", f"one two {HOSTILE}", speaker=f"s{i}") for i in range(4)]
    page(tmp_path, references, ["one two"] * 4, [f"one {HOSTILE}"] * 4, audio=tmp_path)
    with browser() as tab:
        tab.open(tmp_path / "page.html")
        assert tab.evaluate("window.pwned") is None
        assert tab.evaluate("document.querySelectorAll('.tabs button').length") == 2
        tab.evaluate("document.querySelectorAll('.tabs button')[1].click()")
        assert tab.evaluate("document.getElementById('worst-0').hidden") is True
        assert tab.evaluate("document.getElementById('worst-1').hidden") is False
        assert tab.evaluate("JSON.parse(document.getElementById('scores').textContent).utterances") == 4
        tab.evaluate("document.querySelector('#worst-1 .play').scrollIntoView({block: 'center', behavior: 'instant'})")
        box = tab.evaluate("document.querySelector('#worst-1 .play').getBoundingClientRect().toJSON()")
        tab.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        tab.until("document.querySelector('.player.playing')")
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth") is True
        assert tab.problems == []
        assert [url for url in tab.requests if not url.startswith(("file:", "data:"))] == []
