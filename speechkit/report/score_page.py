"""The score page: systems with intervals, what decides between them, and where and how they err."""

from __future__ import annotations

from pathlib import Path

from speechkit.io.atomic import write_bytes
from speechkit.metrics.comparison import Comparison, Score, Scored, SystemScore, Table, best_of
from speechkit.metrics.confusions import Confusions, confusions, only_under
from speechkit.metrics.sides import Sides
from speechkit.metrics.significance import shown_p
from speechkit.report.markup import Child, Markup, data_block, element
from speechkit.report.page import asset, render_page
from speechkit.report.score_alignment import Passage, coloured, worst_passages
from speechkit.report.score_audio import ScoreClips
from speechkit.report.score_charts import interval_plot, pair_matrix, parts_plot, percent
from speechkit.report.table import table

WORST = 25
CONFUSIONS = 15
MOST_ROWS = 300
TEXT_SHOWN = 60
MOST_DATA_BYTES = 1_000_000


def render_score_page(
    out_path: Path | str,
    scored: Scored,
    sides: Sides,
    *,
    title: str | None = None,
    audio: Path | None = None,
    source: Path | None = None,
    max_megabytes: float = 8.0,
) -> Path:
    """Write the page and return its path.

    Args:
        out_path: the file, written atomically.
        scored: what was compared.
        sides: the references, for their audio.
        title: heading; the names of the systems if absent.
        audio: folder of the recordings. A file is opened only inside it or inside the folder of ``source``.
        source: the reference file, whose audio paths start in its folder.
        max_megabytes: clips are added until the page is about this large.
    """
    comparison = scored.comparison
    first = comparison.tables[0]
    names = [system.name for system in first.systems]
    folders = [folder for folder in (audio, source.parent if source is not None else None) if folder is not None]
    clips = ScoreClips(sides.references, folders, int(max_megabytes * 1e6) - 1_000_000)
    counted = {
        table.normalizer.name: {
            name: confusions(result) for name, result in scored.results[table.normalizer.name].items()
        }
        for table in comparison.tables
    }
    heading = title or " against ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    body: list[Child] = [
        element(
            "main",
            _headline(heading, comparison),
            _systems(comparison),
            _significance(first),
            _normalizers(comparison, counted),
            _breakdowns(first),
            _confusions(counted[first.normalizer.name]),
            _worst(scored, clips),
            _settings(comparison, clips),
        ),
        clips.blocks,
        _data(comparison),
    ]
    write_bytes(out_path, render_page(f"{heading}: scores", body, styles=[asset("score.css")]).encode())
    return Path(out_path)


def _data(comparison: Comparison) -> Markup | None:
    """The figures for other programs, where they are small; they stand in scores.json in any case."""
    block = data_block("scores", comparison)
    return block if len(block) <= MOST_DATA_BYTES else None


def _headline(heading: str, comparison: Comparison) -> Markup:
    first = comparison.tables[0]
    best = min(first.systems, key=lambda s: s.wer.rate)
    around = best.wer.interval
    interval = "no interval: one unit only"
    if around is not None:
        interval = f"{best.name}; {percent(around.low)} to {percent(around.high)} at {comparison.confidence:.0%}"
    figures = [
        ("lowest word error rate", percent(best.wer.rate), "%", interval),
        ("utterances", f"{comparison.utterances:,}", "", f"{best.wer.tokens:,} reference words"),
        (f"{comparison.by}s drawn", f"{comparison.units:,}", "", f"{comparison.resamples:,} draws"),
        (
            "normaliser",
            first.normalizer.name,
            "",
            f"version {first.normalizer.version}; {comparison.weights} alignment",
        ),
    ]
    return element(
        "header",
        element("p", "speechkit score", class_="overline"),
        element("h1", heading),
        element(
            "dl",
            [
                element(
                    "div",
                    element("dt", name),
                    element("dd", value, element("small", unit) if unit else None),
                    element("dd", note, class_="note"),
                )
                for name, value, unit, note in figures
            ],
            class_="figures",
        ),
    )


def _section(name: str, lead: str, *content: Child) -> Markup:
    return element("section", element("h2", name), element("p", lead, class_="lead"), content)


def _card(name: str, *content: Child) -> Markup:
    return element("div", element("h3", name), content, class_="card")


def _systems(comparison: Comparison) -> Markup:
    plot = interval_plot(comparison.tables[0].systems)
    cards = [_card(_title(found), _rates(found, comparison.confidence)) for found in comparison.tables]
    said = [element("p", sentence, class_="said") for sentence in (*flip_sentences(comparison), *comparison.warnings)]
    return _section(
        "Systems",
        "Errors over reference words, under each normaliser. The best of a column is bold.",
        element("div", said, class_="said-group") if said else None,
        element("div", element("div", plot, class_="card") if plot else None, cards, class_="stack-of-cards"),
    )


def flip_sentences(comparison: Comparison) -> list[str]:
    """What the normaliser decides about the ranking."""
    return [
        f"The normaliser decides: {f.better} is better than {f.worse} under {f.normalizer} and worse under {f.other}."
        for f in comparison.flips
    ]


def _title(found: Table) -> str:
    return f"Normaliser {found.normalizer.name}, version {found.normalizer.version}"


def _rates(found: Table, confidence: float) -> Markup:
    lowest = best_of([s.wer.rate for s in found.systems])
    lowest_cer = best_of([s.cer.rate for s in found.systems if s.cer])
    lowest_ser = best_of([s.sentence_error_rate for s in found.systems])

    def bold(rate: float, best: float | None) -> Markup:
        return element("span", percent(rate), class_="best" if rate == best else None)

    rows: list[list[Child]] = [
        [
            s.name,
            bold(s.wer.rate, lowest),
            "–" if s.wer.interval is None else f"{percent(s.wer.interval.low)} – {percent(s.wer.interval.high)}",
            f"{s.wer.substitutions:,}",
            f"{s.wer.deletions:,}",
            f"{s.wer.insertions:,}",
            f"{s.wer.tokens:,}",
            bold(s.sentence_error_rate, lowest_ser),
            "–" if s.cer is None else bold(s.cer.rate, lowest_cer),
        ]
        for s in found.systems
    ]
    head = ["system", "WER %", f"{confidence:.0%} interval", "sub", "del", "ins", "words", "SER %", "CER %"]
    return table(head, rows, caption=f"Error rates, {_title(found)}", numeric=range(1, 9))


def _significance(found: Table) -> Markup | None:
    if not found.pairs:
        return None
    return _section(
        "Differences",
        "Row less column, in points. Bold: the paired bootstrap calls it significant at 5 %, adjusted for all pairs "
        "(Holm). MAPSSWE and McNemar stand in the tip of each cell and in the table below.",
        element("div", _card("Pairs", pair_matrix(found)), _card("Tests", _tests(found)), class_="stack-of-cards"),
    )


def _tests(found: Table) -> Markup:
    rows: list[list[Child]] = []
    for pair in found.pairs:
        drawn = pair.bootstrap
        rows.append(
            [
                f"{pair.first} − {pair.second}",
                "–" if drawn is None else f"{100 * drawn.difference:+.2f}",
                "–" if drawn is None else f"{100 * drawn.interval.low:+.2f} – {100 * drawn.interval.high:+.2f}",
                shown_p(None if drawn is None else drawn.p_value),
                shown_p(pair.holm_p),
                shown_p(pair.matched_pairs.p_value),
                shown_p(pair.mcnemar.p_value),
            ]
        )
    head = ["pair", "points", "interval", "bootstrap p", "adjusted p", "MAPSSWE p", "McNemar p"]
    return table(head, rows, caption="Tests of each pair", numeric=range(1, 7))


def _normalizers(comparison: Comparison, counted: dict[str, dict[str, Confusions]]) -> Markup:
    tables = comparison.tables
    rows: list[list[Child]] = []
    for index, system in enumerate(tables[0].systems):
        row: list[Child] = [system.name]
        for found in tables:
            rate = found.systems[index].wer.rate
            row += [percent(rate), f"{found.ranking.index(system.name) + 1}"]
        rows.append(row)
    head = ["system", *(text for t in tables for text in (f"{t.normalizer.name} %", "rank"))]
    rates = table(head, rows, caption="Rates and ranks under each normaliser", numeric=range(1, len(head)))
    cards = [_card("Rates and ranks", rates)]
    for one, other in ((tables[0], tables[1]), (tables[1], tables[0])):
        name, beside = one.normalizer.name, other.normalizer.name
        columns = []
        for system in one.systems:
            pairs = only_under(counted[name][system.name], counted[beside][system.name])[:CONFUSIONS]
            if pairs:
                columns.append(_counts(system.name, [(f"{_cut(a)} → {_cut(b)}", n) for (a, b), n in pairs]))
        if columns:
            cards.append(_card(f"Wrong under {name}, not so under {beside}",
                               element("div", columns, class_="three")))  # fmt: skip
    return _section("Normalisers", "How much of each rate is form: case, punctuation, numbers.",
                    element("div", cards, class_="stack-of-cards"))  # fmt: skip


def _breakdowns(found: Table) -> Markup:
    systems = found.systems
    cards: list[Child] = []
    if systems[0].speakers:
        plot = parts_plot(systems, [s.speakers for s in systems], x_title="speaker")
        cards.append(_card("Speakers", plot, _details("speaker", systems, [s.speakers for s in systems])))
    for field in systems[0].groups:
        parts = [s.groups[field] for s in systems]
        cards.append(_card(f"By {field}", parts_plot(systems, parts, x_title=field), _details(field, systems, parts)))
    lengths = [s.lengths for s in systems]
    cards.append(_card("Length of the reference", _parts("words", systems, lengths)))
    return _section("Where the errors are", f"Word error rates under the normaliser {found.normalizer.name}.",
                    element("div", cards, class_="stack-of-cards"))  # fmt: skip


def _details(name: str, systems: list[SystemScore], parts: list[dict[str, Score]]) -> Markup:
    return element("details", element("summary", "As a table"), _parts(name, systems, parts))


def _parts(name: str, systems: list[SystemScore], parts: list[dict[str, Score]]) -> Markup:
    keys = list(dict.fromkeys(key for part in parts for key in part))
    rows: list[list[Child]] = []
    for key in keys[:MOST_ROWS]:
        words = next(part[key].tokens for part in parts if key in part)
        rows.append([_cut(key) or "none", f"{words:,}", *(percent(p[key].rate) if key in p else "–" for p in parts)])
    more = element("p", f"and {len(keys) - MOST_ROWS:,} more in scores.json", class_="lead")
    head = [name, "reference words", *(f"{s.name} %" for s in systems)]
    content = table(head, rows, caption=f"Word error rate by {name}", numeric=range(1, len(head)))
    return element("div", content, more if len(keys) > MOST_ROWS else None)


def _confusions(counted: dict[str, Confusions]) -> Markup:
    cards = []
    for name, found in counted.items():
        swapped = sorted(found.substitutions.items(), key=lambda item: (-item[1], item[0]))[:CONFUSIONS]
        columns = [
            _counts("heard as", [(f"{_cut(a)} → {_cut(b)}", n) for (a, b), n in swapped]),
            _counts("left out", [(_cut(w), n) for w, n in _most(found.deletions)]),
            _counts("added", [(_cut(w), n) for w, n in _most(found.insertions)]),
        ]
        cards.append(_card(name, element("div", columns, class_="three")))
    return _section("Confusions", "The most frequent wrong words of each system.",
                    element("div", cards, class_="stack-of-cards"))  # fmt: skip


def _most(counter: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:CONFUSIONS]


def _counts(name: str, rows: list[tuple[str, int]]) -> Markup:
    cells: list[list[Child]] = [[element("span", text, dir="auto"), f"{count:,}"] for text, count in rows]
    return table([name, "times"], cells or [["none", "0"]], caption=name, numeric=(1,))


def _worst(scored: Scored, clips: ScoreClips) -> Markup:
    first = scored.comparison.tables[0].normalizer.name
    groups, buttons = [], []
    for number, (name, result) in enumerate(scored.results[first].items()):
        cards = [_passage(passage, clips) for passage in worst_passages(result, WORST)]
        content = element("div", cards, class_="stack-of-cards") if cards else element("p", "No errors.", class_="lead")
        key = f"worst-{number}"
        title = element("h3", name, class_="group-title")
        groups.append(element("div", title, content, class_="group", id=key, role="tabpanel", aria_label=name))
        buttons.append(element("button", name, type="button", role="tab", aria_controls=key))
    keys = element(
        "ul",
        [
            element("li", element("span", class_=f"swatch {style}"), name)
            for style, name in (("sub-key", "heard as another word"), ("del-key", "left out"), ("ins-key", "added"))
        ],
        class_="keys",
    )
    return _section(
        "Worst utterances",
        "The utterances, or stretches of long ones, with the most errors: what was said above, what was heard below.",
        keys,
        element("div", buttons, class_="tabs", role="tablist", hidden=True),
        groups,
    )


def _passage(passage: Passage, clips: ScoreClips) -> Markup:
    utterance = passage.utterance
    heard = clips.player(utterance.id) if passage.whole else None
    where = _cut(utterance.id) + ("" if passage.whole else f", words {passage.begin + 1:,} to {passage.end:,}")
    if utterance.speaker:
        where += f" · {_cut(utterance.speaker)}"
    words = passage.end - passage.begin
    errors = f"{passage.errors:,} errors, {words:,} words"
    head = element("div", element("span", where), element("span", errors, class_="probability"), class_="where")
    return element("article", head, heard, coloured(passage), class_="card passage")


def _settings(comparison: Comparison, clips: ScoreClips) -> Markup:
    facts: list[list[Child]] = [
        ["alignment", comparison.weights],
        ["alternatives", ", ".join(comparison.alternatives) or "none"],
        [
            "drawn for intervals",
            f"{comparison.units:,} {comparison.by}s, {comparison.resamples:,} times, seed {comparison.seed}",
        ],
    ]
    facts += [["note", note] for note in comparison.notes]
    if clips.failures:
        facts.append(["audio", f"{len(clips.failures)} utterances could not be read: {clips.failures[0]}"])
    settings = table(["what", "how"], facts, caption="Settings and notes")
    lead = "What made these figures; all of them stand in scores.json."
    return _section("How it was scored", lead, element("div", settings, class_="card"))


def _cut(word: str) -> str:
    return word if len(word) <= TEXT_SHOWN else word[: TEXT_SHOWN - 1] + "…"
