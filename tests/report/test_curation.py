"""The list of sentences in a real browser: what a curator sees, decides, keeps and hands over."""

from __future__ import annotations

import base64
import io
import json
import random
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from speechkit.metrics.transcripts import read_transcripts
from speechkit.mining import mine
from speechkit.mining.export.sound import SentenceQuality
from speechkit.mining.records import Recording
from speechkit.report.listening import write_recordings
from speechkit.report.mining_clips import Clips, listed_segments
from speechkit.report.mining_data import RecognisedTimes, Records, SentenceRow
from speechkit.report.mining_gather import gather
from speechkit.report.mining_page import audio_folder, render_mining_report
from speechkit.report.mining_sentences import (
    chosen_point,
    columns,
    precision_points,
    recognised_between,
    sentence_rows,
)
from speechkit.report.score_audio import ScoreClips
from tests.mining.test_mine import precision_of_half, transcripts  # noqa: F401 - a fixture

from .browser import Browser, browser
from .conftest import SAMPLE

COUNT = 100_000
MOST_ROWS = 40
ROWS = "document.querySelectorAll('#list .row').length"
CURRENT = "document.querySelector('#list .row.on .written').textContent"


# ---- the data of the list


def test_list_has_every_sentence_once_and_in_order(run: Records) -> None:
    rows = sentence_rows(run)
    outcomes = list(run.outcomes())
    assert sorted(row.sentence for row in rows) == sorted(outcome.sentence for outcome in outcomes)
    assert [(row.document, row.begin) for row in rows] == sorted((row.document, row.begin) for row in rows)
    by_sentence = {outcome.sentence: outcome for outcome in outcomes}
    for row in rows:
        assert row.reason == (by_sentence[row.sentence].reason or "kept")
        assert bool(row.id) == (by_sentence[row.sentence].match is not None)
    ids = [row.id for row in rows if row.id]
    assert len(ids) == len(set(ids))


def test_heard_is_what_lies_between_the_times() -> None:
    starts = np.arange(11) * 0.1
    heard = RecognisedTimes("r", "one two six", starts, starts + 0.1)
    assert recognised_between(heard, 0.4, 0.7) == "two"
    assert recognised_between(heard, 0.0, 2.0) == "one two six"
    assert recognised_between(heard, 5.0, 6.0) == ""


def weighed_rows(count: int = 300) -> list[SentenceRow]:
    numbers = random.Random(5)
    return [
        SentenceRow(
            id=f"r-{at}", sentence=f"d-{at}", recording="r", document="d", page=1, begin=at, text="text",
            reason=numbers.choice(["kept", "low_confidence", "overlaps_better"]), start=float(at),
            seconds=numbers.uniform(0.5, 9), probability=round(numbers.random(), 2),
        )
        for at in range(count)
    ]  # fmt: skip


def test_precision_points_are_what_each_threshold_keeps() -> None:
    rows = weighed_rows()
    points = precision_points(rows)
    assert [point.threshold for point in points] == sorted({point.threshold for point in points}, reverse=True)
    for point in points:
        over = [r for r in rows if r.reason in ("kept", "low_confidence") and r.probability >= point.threshold]
        assert point.sentences == len(over)
        assert point.seconds == pytest.approx(sum(row.seconds for row in over))
        assert point.precision == pytest.approx(np.mean([row.probability for row in over]))
    assert chosen_point(points, 0.555).threshold == min(p.threshold for p in points if p.threshold >= 0.555)
    assert chosen_point(points, 1.01) is None


def test_header_dot_and_points_say_the_same(run: Records, audio_root: Path) -> None:
    data = gather(run, title="t", audio_root=audio_root)
    chosen = chosen_point(precision_points(data.sentence_rows), data.threshold)
    assert chosen.sentences == data.kept_utterances
    assert chosen.seconds == pytest.approx(data.audio_seconds["kept"])
    assert chosen.precision == pytest.approx(data.expected_precision)


def with_quality(run: Records) -> Records:
    """The run with quality columns for every second located sentence; the SNR falls from sentence to sentence."""
    ids = [row.id for row in sentence_rows(run) if row.id]
    quality = [
        SentenceQuality(name, {"snr_db": 60.0 - at, "bandwidth_hz": 4000.0 + 100 * at, "voice": 0.9, "clipped": 0.0})
        for at, name in enumerate(ids[::2])
    ]
    return msgspec.structs.replace(run, quality=lambda: iter(quality))


def test_list_has_the_quality_that_was_measured_and_no_column_without_a_value(run: Records) -> None:
    rows = sentence_rows(with_quality(run))
    shown = columns(rows, [None] * len(rows), {})["quality"]
    assert [column["name"] for column in shown] == ["snr_db", "bandwidth_hz", "clipped", "voice"]
    located = [row for row in rows if row.id]
    assert [row.quality.get("snr_db") for row in located[::2]] == [60.0 - at for at in range(len(located[::2]))]
    assert not any(row.quality for row in located[1::2])
    assert shown[0]["values"] == [row.quality.get("snr_db") for row in rows]
    assert columns(sentence_rows(run), [None] * len(rows), {})["quality"] == []


# ---- audio beside the page


def tones(path: Path) -> Path:
    """A recording of two channels, 440 Hz on the left and 1,500 Hz on the right."""
    seconds = np.arange(3 * 16000) / 16000
    sound = np.stack([0.5 * np.sin(2 * np.pi * hertz * seconds) for hertz in (440, 1500)], 1)
    soundfile.write(path, sound.astype(np.float32), 16000)
    return path


def heard_tones(block: str) -> list[int]:
    """Which of the two a clip of a page holds."""
    sound, _ = soundfile.read(io.BytesIO(base64.b64decode(re.search(">(.*?)</", block)[1])))
    power = np.abs(np.fft.rfft(sound[8000:24000]))  # a bin a hertz
    return [tone for tone in (440, 1500) if power[tone - 1 : tone + 2].max() > 0.3 * power.max()]


@pytest.mark.parametrize(("channel", "hertz"), [(0, [440]), (1, [1500]), (None, [440, 1500])])
def test_players_inside_the_page_play_the_channel_that_was_mined(
    run: Records, tmp_path: Path, channel: int | None, hertz: list[int]
) -> None:
    tones(tmp_path / "two.wav")
    data = gather(run, title="t", audio_root=tmp_path)
    recording = Recording("two", "two.wav", 16000, 48000, 2, [], channel=channel)
    row = SentenceRow(
        id="two-1", sentence="d-1", recording="two", document="d", page=1, begin=0, text="t", reason="kept", seconds=2.0
    )
    clips = Clips(msgspec.structs.replace(data, recordings=[recording], sentence_rows=[row], views=[]), 8.0)
    clips.fill(listed_segments(msgspec.structs.replace(data, sentence_rows=[row])))
    (block,) = clips.blocks
    assert heard_tones(block) == hertz


@pytest.mark.parametrize(("row", "hertz"), [({"channel": 1}, [1500]), ({"channel": 0}, [440]), ({}, [440, 1500])])
def test_players_of_a_score_page_play_the_channel_of_the_manifest(tmp_path: Path, row: dict, hertz: list[int]) -> None:
    tones(tmp_path / "two.wav")
    (tmp_path / "ref.jsonl").write_text(json.dumps({"id": "a", "audio_filepath": "two.wav", "text": "words", **row}))
    clips = ScoreClips(read_transcripts(tmp_path / "ref.jsonl"), [tmp_path], 1_000_000)
    assert clips.clip("a") is not None
    assert heard_tones(clips.blocks[0]) == hertz


def test_recordings_beside_the_page_are_the_channel_that_was_mined(tmp_path: Path) -> None:
    tones(tmp_path / "two.wav")
    recordings = [Recording(f"two-channel{n + 1}", "two.wav", 16000, 48000, 2, [], channel=n) for n in (0, 1)]
    lost = Recording("lost", "lost.wav", 16000, 16000, 1, [])
    paths = {row.id: tmp_path / row.audio_filepath for row in [*recordings, lost]}
    files, failures = write_recordings([*recordings, lost], paths, tmp_path / "beside")
    assert list(failures) == ["lost"]
    for row, hertz in zip(recordings, (440, 1500), strict=True):
        sound, rate = soundfile.read(tmp_path / "beside" / files[row.id])
        assert rate == 16000
        spectrum = np.abs(np.fft.rfft(sound[8000:24000]))
        assert abs(int(spectrum.argmax()) - hertz) <= 1
    assert {path.name for path in (tmp_path / "beside").iterdir()} == set(files.values())


# ---- in the browser


@pytest.fixture(scope="module")
def tab():
    with browser() as opened:
        yield opened


def ready(tab: Browser, page: Path) -> None:
    tab.open(page)
    tab.page.wait_for_selector("#curation:not([hidden])", timeout=60_000)
    tab.evaluate("document.getElementById('list').focus()")


STORE_NOW = "dispatchEvent(new Event('pagehide'))"  # a page stores 150 ms after a key, or as it is left


def forget(tab: Browser) -> None:
    """Clear what pages stored; a tab that has opened none has no storage."""
    if tab.page.url.startswith("file:"):
        tab.evaluate(f"{STORE_NOW}; localStorage.clear()")


def decisions(tab: Browser) -> list[list[str]]:
    """What the browser keeps, after the delay of the page."""
    tab.page.wait_for_timeout(300)
    return json.loads(
        tab.evaluate("Object.entries(localStorage).find(([key]) => key.startsWith('speechkit-'))?.[1] ?? '[]'")
    )


@pytest.fixture(scope="module")
def small(run: Records, audio_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = gather(run, title="small", audio_root=audio_root, commands=["speechkit mine audio documents --out mined"])
    return render_mining_report(tmp_path_factory.mktemp("small") / "report.html", data)


@pytest.fixture(scope="module")
def large(run: Records, audio_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = gather(run, title="large", audio_root=audio_root)
    numbers = random.Random(3)
    words = [row.text.split()[0] for row in data.sentence_rows if row.text]
    rows = [
        SentenceRow(
            id=f"bees-{at:09d}", sentence=f"bees-text-{at:06d}", recording="bees", document=f"book {at // 1000}",
            page=1, begin=at,
            text=f"Sentence {at} {' '.join(numbers.choices(words, k=12))}",
            heard=f"sentence {at} something else", reason="kept" if at % 5 else "low_confidence",
            start=0.5, seconds=2.0,
            probability=round(1 - 0.2 * numbers.random() if at % 5 else 0.7 * numbers.random(), 6), similarity=0.8,
        )
        for at in range(COUNT)
    ]  # fmt: skip
    data = msgspec.structs.replace(data, sentence_rows=rows, threshold=0.8, run="large-run")
    return render_mining_report(tmp_path_factory.mktemp("large") / "report.html", data, beside=False)


def test_hundred_thousand_sentences_scroll_with_few_elements(tab: Browser, large: Path) -> None:
    tab.problems.clear()
    ready(tab, large)
    assert f"{COUNT:,} of {COUNT:,}" in tab.evaluate("document.getElementById('shown').textContent")
    assert 5 < tab.evaluate(ROWS) <= MOST_ROWS
    for place in (0.5, 0.123, 1.0):
        tab.evaluate(
            f"(() => {{ const l = document.getElementById('list'); l.scrollTop = {place} * l.scrollHeight; }})()"
        )
        top = "Math.floor(document.getElementById('list').scrollTop / 84)"
        tab.until(f"document.getElementById('row-' + {top})")
        assert tab.evaluate(ROWS) <= MOST_ROWS
    assert tab.evaluate(f"document.getElementById('row-{COUNT - 1}').querySelector('.written').textContent").startswith(
        f"Sentence {COUNT - 1} "
    )
    assert tab.problems == []


def test_hundred_thousand_sentences_are_searched_filtered_and_sorted_at_once(tab: Browser, large: Path) -> None:
    ready(tab, large)
    tab.page.fill("#find", "sentence 77777 ")
    tab.until("document.getElementById('shown').textContent.startsWith('1 of')")
    assert tab.evaluate(CURRENT).startswith("Sentence 77777 ")
    tab.page.click("#reset")
    tab.page.select_option("#by-reason", "reason low_confidence")
    assert tab.evaluate("document.getElementById('shown').textContent").startswith(f"{COUNT // 5:,} of")
    tab.page.fill("#least", "0.35")
    tab.page.keyboard.press("Tab")
    shown = int(tab.evaluate("document.getElementById('shown').textContent").split(" ")[0].replace(",", ""))
    assert 0.4 * COUNT / 5 < shown < 0.6 * COUNT / 5
    tab.page.click("#reset")
    places = {
        option: value
        for value, option in tab.evaluate(
            "[...document.querySelectorAll('#by-place option')].map((o) => [o.value, o.textContent])"
        )
    }
    tab.page.select_option("#by-place", places["book 42"])
    assert tab.evaluate("document.getElementById('shown').textContent").startswith("1,000 of")
    tab.page.select_option("#by-place", "")
    tab.page.select_option("#by-order", "unsure")
    # The slowest work on all rows: on a busy machine it may take a while, but never what a person would wait for.
    spent = tab.evaluate(
        "(() => { const began = performance.now();"
        "document.querySelector('#by-order').dispatchEvent(new Event('change')); return performance.now() - began; })()"
    )
    assert spent < 3000
    sure = (
        "[...document.querySelectorAll('#list .row')].map((r) =>"
        "[r.getAttribute('aria-rowindex'), r.querySelector('.sure').textContent].map(Number))"
    )
    shown = [value for _, value in sorted(tab.evaluate(sure))]
    assert shown == sorted(shown)
    assert shown[0] < 0.01


def test_decisions_by_key_stay_after_a_reload_and_are_exported(tab: Browser, large: Path) -> None:
    ready(tab, large)
    forget(tab)
    ready(tab, large)
    for key in "aar":
        tab.press(key)
    tab.press("j")
    tab.press("e")
    tab.page.fill("#detail textarea", "A text of my  own </script>")
    tab.press("Enter")
    wanted = [
        ["bees-000000000", "a"], ["bees-000000001", "a"], ["bees-000000002", "r"],
        ["bees-000000004", "a", "A text of my own </script>"],
    ]  # fmt: skip
    assert decisions(tab) == wanted
    assert tab.evaluate("document.activeElement.id") == "list"
    ready(tab, large)
    assert decisions(tab) == wanted
    assert "3 accepted (1 with an edited text), 1 rejected" in tab.evaluate(
        "document.getElementById('tally').textContent"
    )
    tab.press("n")
    tab.press("u")
    tab.press("n")
    assert tab.evaluate(CURRENT).startswith("Sentence 5 ")
    with tab.page.expect_download() as waiting:
        tab.press("x")
    file = json.loads(Path(waiting.value.path()).read_text())
    assert waiting.value.suggested_filename == "decisions-large-ru.json"
    assert file["run"] == "large-run"
    assert [(each["id"], each["decision"], each.get("text")) for each in file["decisions"]] == [
        ("bees-000000000", "accept", None), ("bees-000000001", "accept", None), ("bees-000000002", "reject", None),
        ("bees-000000004", "accept", "A text of my own </script>"),
    ]  # fmt: skip
    forget(tab)
    ready(tab, large)
    assert decisions(tab) == []
    tab.page.set_input_files("#load-file", waiting.value.path())
    tab.until("document.getElementById('trouble').textContent.startsWith('4 decisions')")
    assert decisions(tab) == wanted
    tab.page.select_option("#by-reason", "decided edited")
    assert tab.evaluate(CURRENT) == "A text of my own </script>"
    forget(tab)


def test_every_key_is_named_in_the_overlay_and_works(tab: Browser, small: Path) -> None:
    forget(tab)
    ready(tab, small)
    tab.press("?")
    assert tab.evaluate("document.getElementById('keys').open")
    named = set(tab.evaluate("[...document.querySelectorAll('#keys kbd')].map((k) => k.textContent)"))
    assert named == {
        "j",
        "k",
        "↓",
        "↑",
        "PgDn",
        "PgUp",
        "Home",
        "End",
        "n",
        "space",
        "p",
        "a",
        "r",
        "e",
        "u",
        "/",
        "x",
        "?",
    }
    tab.press("Escape")
    assert not tab.evaluate("document.getElementById('keys').open")
    tab.press("?")
    tab.page.click("#keys button")
    assert not tab.evaluate("document.getElementById('keys').open")
    at = "Number(document.querySelector('#list .row.on').dataset.at)"
    tab.evaluate("document.getElementById('list').focus()")
    for key, place in (
        ("j", 1),
        ("ArrowDown", 2),
        ("k", 1),
        ("ArrowUp", 0),
        ("End", None),
        ("Home", 0),
        ("PageDown", None),
    ):
        tab.press(key)
        if place is not None:
            assert tab.evaluate(at) == place, key
    assert tab.evaluate(at) > 2
    tab.press("/")
    assert tab.evaluate("document.activeElement.id") == "find"
    tab.press("a")  # a letter now, not a decision
    tab.press("Escape")
    assert tab.evaluate("document.activeElement.id") == "list"
    assert decisions(tab) == []


def test_row_is_decided_and_heard_by_mouse(tab: Browser, small: Path) -> None:
    tab.problems.clear()
    forget(tab)
    ready(tab, small)
    tab.page.select_option("#by-reason", "reason kept")
    tab.page.click("#row-2 [data-act=reject]")
    tab.page.click("#row-1 [data-act=accept]")
    assert [kind for _, kind in decisions(tab)] == ["r", "a"]
    assert tab.evaluate("document.querySelector('#row-2').dataset.decision") == "r"
    tab.page.click("#detail [data-act=undo]")
    assert [kind for _, kind in decisions(tab)] == ["r"]
    tab.page.click("#row-0 [data-act=play]")
    tab.until("document.querySelector('#detail.playing')")
    tab.until("parseFloat(document.querySelector('#detail .bar div').style.width) > 0")
    tab.page.click("#detail [data-act=play]")
    tab.until("!document.querySelector('#detail.playing')")
    assert tab.problems == []
    forget(tab)


@pytest.mark.slow
def test_sentences_are_sorted_and_filtered_by_their_quality(
    tab: Browser, run: Records, audio_root: Path, small: Path, tmp_path: Path
) -> None:
    data = gather(with_quality(run), title="quality", audio_root=audio_root)
    page = render_mining_report(tmp_path / "report.html", data)
    tab.problems.clear()
    ready(tab, page)
    measured = sorted((row.quality["snr_db"] for row in data.sentence_rows if row.quality), reverse=True)
    total = len(data.sentence_rows)
    shown = "Number(document.getElementById('shown').textContent.split(' ')[0])"
    noise = "parseFloat(document.querySelector('#detail .measured').textContent.split('SNR (dB) ')[1])"
    tab.page.click("#quality summary")
    orders = {
        option: value
        for value, option in tab.evaluate(
            "[...document.querySelectorAll('#by-quality option')].map((o) => [o.value, o.textContent])"
        )
    }
    assert len(orders) == 8
    for order, first in (("SNR (dB), lowest first", measured[-1]), ("SNR (dB), highest first", measured[0])):
        tab.page.select_option("#by-order", orders[order])
        tab.evaluate("document.getElementById('list').focus()")
        tab.press("Home")
        assert tab.evaluate(noise) == first
    tab.press("End")  # what was not measured comes last
    assert tab.evaluate("document.querySelector('#detail .measured').textContent") == ""
    least = tab.page.locator("#quality [data-quality=snr_db] input").nth(0)
    most = tab.page.locator("#quality [data-quality=bandwidth_hz] input").nth(1)
    least.fill(str(measured[9]))
    least.press("Tab")
    assert tab.evaluate(shown) == 10
    most.fill("4350")
    most.press("Tab")
    assert tab.evaluate(shown) == 4
    assert tab.evaluate("!document.getElementById('reset').hidden")
    tab.page.click("#reset")
    assert tab.evaluate(shown) == total
    assert least.input_value() == most.input_value() == ""
    assert tab.problems == []
    ready(tab, small)  # a run without measured quality has no such filters
    assert tab.evaluate("document.getElementById('quality').hidden")


def test_differences_of_written_and_heard_are_marked(tab: Browser, small: Path) -> None:
    ready(tab, small)
    marks = tab.evaluate(
        "(() => { const made = document.createElement('div'); const show = (a, b) => writtenHeard(a, b).map((part) => {"
        "made.replaceChildren(part); return [...made.querySelectorAll('mark')].map((m) => m.textContent); });"
        "return [show('The Queen, lays eggs.', 'the queen lays eggs'), show('A keeper listens now', 'a keeper litens'),"
        "show('蜜蜂很忙', '蜜蜂忙'), show('text', '')]; })()"
    )
    assert marks == [[[], []], [["listens", "now"], ["litens"]], [["很"], []], [[], []]]


def test_slider_agrees_with_header_dot_and_python(tab: Browser, run: Records, small: Path, audio_root: Path) -> None:
    ready(tab, small)
    data = gather(run, title="t", audio_root=audio_root)
    points = precision_points(data.sentence_rows)
    chosen = chosen_point(points, data.threshold)
    figures = tab.evaluate("[...document.querySelectorAll('.figures dd:not(.note)')].map((f) => f.textContent)")
    told = "document.querySelector('.slider-card output').textContent"
    minutes = f"{chosen.seconds / 60:.1f} min"
    assert figures[0] == minutes.replace(" ", "")
    assert tab.evaluate(told) == f"{minutes}, {chosen.sentences} sentences, {figures[2]} of them expected to be right"
    assert f"chosen: {minutes} at {figures[2]}" in tab.evaluate("document.querySelector('main').textContent")
    for at in (0, len(points) // 2, len(points) - 1):
        tab.evaluate(
            f"(() => {{ const s = document.querySelector('.slider input'); s.value = {at};"
            "s.dispatchEvent(new Event('input')); })()"
        )
        point = points[at]
        assert f", {point.sentences} sentences, {100 * point.precision:.1f} %" in tab.evaluate(told)
        assert tab.evaluate("document.querySelector('.slider-card .at').textContent") == f"{point.threshold:.4f}"
    tab.page.click(".slider-card .compare")
    rejected = sum(row.reason == "low_confidence" for row in data.sentence_rows)
    assert tab.evaluate("document.getElementById('shown').textContent").startswith(f"{rejected} of")


@pytest.mark.slow
def test_decisions_of_the_page_round_trip_through_mine(
    tab: Browser,
    transcripts: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    inputs = (SAMPLE / "audio", SAMPLE / "documents", tmp_path / "out")
    settings = {"recognizer": f"words:{transcripts}", "overrides": ["regions.vad=energy"]}
    settings["min_precision"] = precision_of_half(mine(*inputs, **settings))
    first = mine(*inputs, **settings)
    ready(tab, Path(first.report))
    forget(tab)
    ready(tab, Path(first.report))
    command = tab.evaluate("document.getElementById('apply').textContent")
    assert command.startswith("speechkit mine audio documents --out out --recognizer words:")
    assert f"--min-precision {settings['min_precision']:.12g} --vad energy --decisions decisions-" in command
    tab.page.select_option("#by-reason", "reason low_confidence")
    tab.evaluate("document.getElementById('list').focus()")
    accepted = tab.evaluate(CURRENT)
    tab.press("a")
    tab.page.select_option("#by-reason", "reason kept")
    tab.evaluate("document.getElementById('list').focus()")
    refused = tab.evaluate(CURRENT)
    tab.press("r")
    tab.press("e")
    tab.page.fill("#detail textarea", "Words that I heard.")
    tab.press("Enter")
    with tab.page.expect_download() as waiting:
        tab.page.click("#export")
    waiting.value.save_as(tmp_path / "decisions.json")
    second = mine(*inputs, decisions=tmp_path / "decisions.json", **settings)
    texts = [row.text for row in second.utterances()]
    assert accepted in texts
    assert refused not in texts
    assert "Words that I heard." in texts
    promised = tab.evaluate("document.getElementById('tally').textContent")
    assert f"the set has {second.summary.kept} sentences" in promised
    assert Path(second.report).read_bytes() == Path(first.report).read_bytes()


@pytest.mark.slow
def test_audio_beside_the_page_plays_the_sentence_and_stops(
    tab: Browser, run: Records, audio_root: Path, tmp_path: Path
) -> None:
    data = gather(run, title="beside", audio_root=audio_root)
    page = render_mining_report(tmp_path / "report.html", data, max_megabytes=0.2)
    assert {path.name for path in audio_folder(page).iterdir()} == {"bees.mp3", "harbour.mp3"}
    tab.problems.clear()
    ready(tab, page)
    tab.page.select_option("#by-order", "short")
    tab.evaluate("document.getElementById('list').focus()")
    tab.press("Space")
    tab.until("document.querySelector('#detail.playing')")
    length = tab.evaluate("Number(document.getElementById('detail').dataset.seconds)")
    tab.until("!document.querySelector('#detail.playing')", seconds=length + 20)
    assert float(tab.evaluate("document.querySelector('#detail .bar div').style.width").rstrip("%")) > 95
    assert tab.problems == []
    (audio_folder(page) / "bees.mp3").unlink()
    (audio_folder(page) / "harbour.mp3").unlink()
    ready(tab, page)
    tab.press("End")
    tab.press("Space")
    tab.until("document.querySelector('#detail .why').textContent.includes('cannot be played')")
