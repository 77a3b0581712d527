"""The page in a real browser: no request, no error, and everything that can be clicked does what it says."""

from __future__ import annotations

import dataclasses
import html
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from speechkit.mining.records import SentenceMatch
from speechkit.report.mining_data import Records
from speechkit.report.mining_gather import gather
from speechkit.report.mining_page import render_mining_report

from .browser import Browser, browser
from .conftest import simulated_run

HOSTILE = '</script><img src=x onerror="window.pwned=1"><!-- \'" & \u2028 ]]> <script>window.pwned=1</script>'


def _page(run: Records, audio_root: Path, folder: Path, **options) -> Path:
    data = gather(
        run,
        title=options.pop("title", "Harbour and bees"),
        audio_root=audio_root,
        seconds_taken=20.0,
        config={"alignment": {"min_similarity": 0.3}},
        versions={"speechkit": "0.1"},
        commands=["speechkit mine audio documents --out mined"],
    )
    return render_mining_report(folder / "report.html", data, **options)


@pytest.fixture(scope="module")
def page(run: Records, audio_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _page(run, audio_root, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def hostile_page(run: Records, audio_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def outcomes():
        for outcome in run.outcomes():
            yield msgspec.structs.replace(outcome, text=HOSTILE)

    def spoiled(rows):
        for utterance in rows:
            items = [msgspec.structs.replace(item, symbol=HOSTILE) for item in utterance.alignment["word"]]
            yield msgspec.structs.replace(utterance, text=HOSTILE, alignment={"word": items})

    def heard():
        for each in run.heard():
            text = (HOSTILE * len(each.text))[: len(each.text)]
            yield dataclasses.replace(each, text=text)

    hostile = msgspec.structs.replace(
        run,
        outcomes=outcomes,
        utterances=lambda: spoiled(run.utterances()),
        candidates=lambda: spoiled(run.candidates()),
        heard=heard,
    )
    return _page(hostile, audio_root, tmp_path_factory.mktemp("hostile"), title=HOSTILE)


@pytest.fixture(scope="module")
def tab():
    with browser() as opened:
        yield opened


def _centre(tab: Browser, selector: str) -> tuple[float, float]:
    box = tab.evaluate(
        f"(() => {{ const e = document.querySelector({msgspec.json.encode(selector).decode()});"
        "e.scrollIntoView({block: 'center', behavior: 'instant'}); return e.getBoundingClientRect().toJSON(); })()"
    )
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_page_names_nothing_outside_itself(page: Path) -> None:
    text = page.read_text()
    outside = [url for url in re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text) if url != "http://www.w3.org"]
    assert not outside, outside
    assert not re.findall(r"\b(?:src|href|action|poster|srcset)=\"(?!data:|#)", text)
    assert "default-src 'none'" in html.unescape(text)
    assert "unsafe-inline" not in text


def test_page_opens_offline_without_error_or_request(tab: Browser, page: Path) -> None:
    tab.problems.clear()
    tab.requests.clear()
    tab.open(page)
    assert tab.problems == []
    assert tab.requests == [page.resolve().as_uri()]
    assert tab.evaluate("document.querySelectorAll('.alignment .sentence').length") > 20
    assert tab.evaluate("document.querySelectorAll('.player').length") > 10


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_page_fits_its_window(tab: Browser, page: Path, width: int, dark: bool) -> None:
    tab.open(page, width=width, dark=dark)
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    clipped = "svg, .table, pre, [hidden], #list .body"
    wide = f"[...document.querySelectorAll('main *')].filter((e) => !e.closest('{clipped}') && "
    wide += f"e.getBoundingClientRect().right > {width} + 1).length"
    assert tab.evaluate(wide) == 0


def test_clip_plays_and_its_words_light_up_in_order(tab: Browser, page: Path) -> None:
    tab.problems.clear()
    tab.open(page)
    tab.click(*_centre(tab, "#group-best .play"))
    tab.until("document.querySelector('#group-best .player.playing .words .said')")
    said = "document.querySelectorAll('#group-best .player.playing .words .said').length"
    first = tab.evaluate(said)
    tab.until(f"{said} > {first}")
    assert tab.evaluate("Number(document.querySelector('.playing .wave').getAttribute('aria-valuenow')) > 0")
    tab.click(*_centre(tab, "#group-best .play"))
    tab.until("!document.querySelector('.playing')")
    assert tab.problems == []


def test_sentence_on_the_path_is_named_on_hover_and_heard_on_click(tab: Browser, page: Path, run: Records) -> None:
    tab.open(page)
    tab.evaluate("window.scrollTo(0, 0)")
    _centre(tab, ".canvas")
    at = tab.evaluate(
        "(() => { const b = document.querySelectorAll('.alignment:not([hidden]) .sentence')[2].getBoundingClientRect();"
        "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    tab.page.mouse.move(*at)
    shown = tab.evaluate("document.getElementById('tip').firstChild.textContent")
    assert shown in {outcome.text for outcome in run.outcomes()}
    tab.click(*at)
    tab.until("document.querySelector('#now.playing .said')")
    heard = tab.evaluate("document.querySelector('#now .words').textContent.trim()")
    assert heard == shown
    tab.click(*_centre(tab, "#now .close"))
    assert tab.evaluate("document.getElementById('now').hidden")


def test_plot_zooms_moves_and_returns(tab: Browser, page: Path) -> None:
    tab.problems.clear()
    tab.open(page)
    box = "document.querySelector('.canvas').getAttribute('viewBox').split(' ').map(Number)"
    whole = tab.evaluate(box)
    tab.click(*_centre(tab, "[data-zoom=in]"))
    near = tab.evaluate(box)
    assert near[2] == pytest.approx(whole[2] / 2)
    assert near[3] < whole[3]
    x, y = _centre(tab, ".canvas")
    tab.page.mouse.move(x, y)
    tab.page.mouse.down()
    for step in range(1, 6):
        tab.page.mouse.move(x - 20 * step, y)
    tab.page.mouse.up()
    assert tab.evaluate(box)[0] > near[0]
    tab.click(*_centre(tab, "[data-zoom=all]"))
    assert tab.evaluate(box) == pytest.approx(whole)
    assert tab.problems == []


def test_keyboard_walks_the_sentences_and_plays_them(tab: Browser, page: Path, run: Records) -> None:
    tab.open(page)
    tab.evaluate("document.querySelector('.canvas').focus()")
    tab.press("ArrowRight")
    tab.press("ArrowRight")
    told = tab.evaluate("document.getElementById('spoken').textContent")
    assert any(told.startswith(outcome.text) for outcome in run.outcomes())
    tab.press("Enter")
    tab.until("document.querySelector('#now.playing')")


def test_tabs_show_one_group_at_a_time(tab: Browser, page: Path) -> None:
    tab.open(page)
    visible = "[...document.querySelectorAll('.group')].filter((e) => !e.hidden).map((e) => e.id)"
    assert tab.evaluate(visible) == ["group-best"]
    tab.click(*_centre(tab, "[aria-controls=group-worst]"))
    assert tab.evaluate(visible) == ["group-worst"]


def test_other_recording_can_be_chosen(tab: Browser, page: Path) -> None:
    tab.open(page)
    tab.evaluate(
        "(() => { const s = document.getElementById('alignment-choice'); s.selectedIndex = 1;"
        "s.dispatchEvent(new Event('change')); })()"
    )
    shown = "[...document.querySelectorAll('.alignment')].filter((e) => !e.hidden).map((e) => e.id)"
    assert tab.evaluate(shown) == ["alignment-2"]


def test_every_control_has_a_name(tab: Browser, page: Path) -> None:
    tab.open(page)
    nameless = (
        "[...document.querySelectorAll('button, select, [role=slider], [role=img], [tabindex=\"0\"]')]"
        ".filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() || e.closest('label'))).length"
    )
    assert tab.evaluate(nameless) == 0


def test_hostile_text_is_shown_and_never_run(tab: Browser, hostile_page: Path) -> None:
    tab.problems.clear()
    tab.requests.clear()
    tab.open(hostile_page)
    assert tab.evaluate("typeof window.pwned") == "undefined"
    assert tab.evaluate("document.querySelectorAll('img').length") == 0
    assert tab.evaluate("document.querySelector('h1').textContent") == HOSTILE
    tab.until("document.querySelectorAll('#list .row').length > 5")
    shown = set(
        tab.evaluate("[...document.querySelectorAll('#list .written, #detail .written')].map((e) => e.textContent)")
    )
    assert shown == {HOSTILE}
    assert "onerror" in tab.evaluate("document.querySelector('#list .row:nth-child(3) .heard').textContent")
    tab.evaluate("document.querySelector('.canvas').focus()")
    tab.press("ArrowRight")
    assert tab.evaluate("document.getElementById('tip').firstChild.textContent") == HOSTILE
    tab.press("Enter")
    tab.until("document.querySelector('#now.playing')")
    assert tab.evaluate("typeof window.pwned") == "undefined"
    assert tab.problems == []
    assert len(tab.requests) == 1


def test_hostile_text_is_escaped_in_the_file(hostile_page: Path) -> None:
    text = hostile_page.read_text()
    assert "<img" not in text
    assert text.count("<script>") == 1  # the page's own
    attributes: list[str] = []
    reader = HTMLParser()
    reader.handle_starttag = lambda _tag, found: attributes.extend(name for name, _ in found)  # type: ignore[method-assign]
    reader.feed(text)
    assert attributes
    assert not [name for name in attributes if name.startswith("on")]


def test_page_stays_under_its_size(run: Records, audio_root: Path, tmp_path: Path) -> None:
    small = _page(run, audio_root, tmp_path, max_megabytes=0.5)
    assert small.stat().st_size < 500_000
    assert 'id="clip-1"' in small.read_text()


def test_long_documents_leave_room_for_audio(audio_root: Path, tmp_path: Path) -> None:
    page = _page(simulated_run(12), audio_root, tmp_path, max_megabytes=0.9)
    assert page.stat().st_size < 900_000
    text = page.read_text()
    assert 'id="clip-1"' in text
    assert 'id="alignment-1"' in text


def test_page_without_audio_says_so(run: Records, tmp_path: Path) -> None:
    text = _page(run, tmp_path / "gone", tmp_path).read_text()
    assert "could not be read for listening" in text
    assert 'id="clip-1"' not in text


def test_same_run_gives_the_same_bytes(run: Records, audio_root: Path, page: Path, tmp_path: Path) -> None:
    assert _page(run, audio_root, tmp_path).read_bytes() == page.read_bytes()


def test_run_that_found_nothing_still_has_a_page(run: Records, audio_root: Path, tmp_path: Path) -> None:
    def unfound():
        for outcome in run.outcomes():
            yield msgspec.structs.replace(outcome, kept=False, reason="not_found", match=None)

    summary = msgspec.structs.replace(run.summary, kept=0, kept_seconds=0.0, expected_precision=None, threshold=1.0)
    empty = msgspec.structs.replace(
        run,
        alignments=lambda: iter(()),
        outcomes=unfound,
        utterances=lambda: iter(()),
        candidates=lambda: iter(()),
        summary=summary,
    )
    text = _page(empty, audio_root, tmp_path).read_text()
    assert "No sentence was located." in text


def test_many_recordings_draw_a_bounded_number_of_plots(audio_root: Path) -> None:
    data = gather(simulated_run(20), title="many", audio_root=audio_root, max_views=6, listed=4)
    assert len(data.views) == 6
    assert len(data.rows) == 40
    assert len(data.best) == len(data.worst) == 4
    shares = {row.recording: row.kept_seconds / row.speech_seconds for row in data.rows}
    poorest = sorted(shares, key=shares.__getitem__)[:3]
    assert set(poorest) <= {view.recording.id for view in data.views}


def test_sentence_kept_elsewhere_is_not_shown_as_kept_here(run: Records, audio_root: Path) -> None:
    first = next(iter(run.alignments()))
    other = msgspec.structs.replace(
        first, recording="bees", matches=[msgspec.structs.replace(m, recording="bees") for m in first.matches]
    )
    both = msgspec.structs.replace(run, alignments=lambda: iter([*run.alignments(), other]))
    data = gather(both, title="t", audio_root=audio_root)
    view = next(v for v in data.views if v.recording.id == "bees" and v.document == first.document)
    assert not any(outcome.kept for outcome in view.outcomes)
    assert any(isinstance(outcome.match, SentenceMatch) for outcome in view.outcomes)


def test_score_plot_looks_where_the_probabilities_are(run: Records, audio_root: Path) -> None:
    from speechkit.report.mining_page import distributions

    data = gather(run, title="t", audio_root=audio_root)
    high = msgspec.structs.replace(data, kept_scores=[0] * 950 + [40] * 50, rejected_scores=[1] + [0] * 999)
    assert "1 are below the axis" in distributions(high, [])[0][1]
    low = msgspec.structs.replace(high, rejected_scores=[400] + [0] * 999)
    assert "below the axis" not in distributions(low, [])[0][1]
