"""The comparison as Markdown and as one page: the table, the differences, and what was published."""

from __future__ import annotations

from collections import Counter

from speechkit.metrics.significance import shown_p
from speechkit.report.entity_section import entity_section
from speechkit.report.markup import Child, Markup, data_block, element
from speechkit.report.page import asset, render_page
from speechkit.report.slue_page import differences, interval_plot
from speechkit.report.table import markdown_table, table
from speechkit.slue.encoder_comparison import EncoderComparison, TaskComparison, best_of, telling_pairs
from speechkit.slue.scoring import SlueComparison

BETTER_P = 0.05
TITLE = "Encoders on understanding"
PUBLISHED_HEAD = ("system", "way", "measure", "%", "judged by", "source")


class Cell:
    """A system's main measure in percent with its interval; where all are 0 none is the best."""

    def __init__(self, scores: SlueComparison, system: str):
        score = next((each.score for each in scores.systems if each.name == system), None)
        value = None if score is None else score.value
        around = None if score is None else score.measures[scores.main].interval
        self.value = "–" if value is None else f"{100 * value:.1f}"
        self.around = "" if value is None or around is None else f"{100 * around.low:.1f}–{100 * around.high:.1f}"
        self.best = bool(value) and value == max(each.score.value or 0.0 for each in scores.systems)

    def markdown(self) -> str:
        """The best in bold, the interval in brackets."""
        shown = f"**{self.value}**" if self.best else self.value
        return f"{shown} ({self.around})" if self.around else shown

    def html(self) -> list[Child]:
        """The best in bold, the interval below."""
        shown = element("span", self.value, class_="best" if self.best else None)
        return [shown, element("br"), element("small", self.around)] if self.around else [shown]


def head(found: EncoderComparison) -> list[str]:
    """The columns: a task with its measure and what judges."""
    columns = [
        f"{name}, {of.scores.main.replace('_', ' ')} on {of.judged_by.shown}, %" for name, of in found.tasks.items()
    ]
    return ["encoder", *columns]


def rows(found: EncoderComparison) -> list[tuple[str, list[Cell]]]:
    """A row for each encoder and kind of training, in the order in which they were given."""
    order = {system.shown: system.order for of in found.tasks.values() for system in of.systems}
    return [
        (system, [Cell(of.scores, system) for of in found.tasks.values()])
        for system in sorted(order, key=lambda name: order[name])
    ]


def said_of_pairs(scores: SlueComparison) -> str:
    """One sentence on which differences hold."""
    level = [f"{pair.first} and {pair.second}" for pair in scores.pairs if pair.holm_p >= BETTER_P]
    total = len(scores.pairs)
    if not total:
        return "There is nothing to compare."
    if not level:
        return f"All {total} pairs differ (p below {BETTER_P:g}, adjusted for all pairs)."
    apart = total - len(level)
    return f"{apart} of {total} pairs differ (p below {BETTER_P:g}, adjusted); not told apart: {'; '.join(level)}."


def said_of_data(of: TaskComparison) -> list[str]:
    """What was learned from, what judged, what was left out, and how predictions were mended and tuned."""
    scores = of.scores
    learned = {system.learned for system in of.systems}
    said = [
        f"Learned from {' or '.join(f'{count:,}' for count in sorted(learned))} utterances; judged by "
        f"{scores.utterances:,} of {of.judged_by.shown}, intervals over {scores.units:,} "
        f"{'utterances' if scores.by == 'utterance' else 'speakers'}."
    ]
    left_out = {reason: count for system in of.systems for reason, count in system.left_out.items()}
    said += [f"Left out of training: {count:,} ({reason})." for reason, count in left_out.items()]
    said += [f"{note[0].upper()}{note[1:]}." for note in scores.notes]
    for system in of.systems:
        if system.mended:
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in Counter(system.mended).most_common())
            said.append(f"{system.shown}: entity symbols that had to be mended: {kinds}.")
        if system.spans:
            said.append(f"{system.shown}: spans {system.spans}.")
    return said


def said_of_published(of: TaskComparison) -> str:
    """Whether the published rows were made on the set at hand."""
    sets = sorted({f"{row.corpus} {row.split}" for row in of.published})
    where = " and ".join(sets)
    if not any(of.judged_by.is_that_of(row) for row in of.published):
        return (
            f"For reference only: published on {where}, while {of.judged_by.shown} judges here. It is another set: "
            "the figures cannot be compared with those above."
        )
    same = f"Rows on {of.judged_by.shown} were judged by the set that judges here"
    return f"For reference: {same}." if len(sets) == 1 else f"For reference: {same}; the others by another one."


def published_rows(of: TaskComparison) -> list[list[str]]:
    """Published results of a task, the best first."""
    return [
        [row.system, row.way, row.measure, f"{row.value:.1f}", _judge(of, f"{row.corpus} {row.split}"), row.source]
        for row in of.published
    ]


def _judge(of: TaskComparison, shown: str) -> str:
    return shown if of.judged_by.prepared and shown == of.judged_by.shown else f"{shown} (another set)"


def markdown(found: EncoderComparison) -> str:
    """The table, the differences, and the published results of each task."""
    parts = [markdown_table(head(found), [[name, *(cell.markdown() for cell in cells)] for name, cells in rows(found)])]
    for name, of in found.tasks.items():
        parts.append(f"{name}: {said_of_pairs(of.scores)} {' '.join(said_of_data(of))}\n")
        if pairs := telling_pairs(of.scores):
            parts.append(
                markdown_table(
                    ("pair", "points", "interval", "adjusted p"),
                    [
                        [
                            f"{pair.first} – {pair.second}",
                            f"{100 * pair.difference:+.1f}",
                            f"{100 * pair.interval.low:+.1f} – {100 * pair.interval.high:+.1f}",
                            shown_p(pair.holm_p),
                        ]
                        for pair in pairs
                    ],
                )
            )
        if of.published:
            parts.append(f"{name}: {said_of_published(of)}\n")
            parts.append(markdown_table(PUBLISHED_HEAD, published_rows(of)))
    return "\n".join(parts)


def page(found: EncoderComparison) -> str:
    """The same as one page, with a plot of the intervals of each task."""
    confidence = next(iter(found.tasks.values())).scores.confidence
    lead = (
        f"The same head on every encoder. Below a value its {confidence:.0%} interval; the best of a column is bold. "
        "All layers of an encoder enter a learned weighted sum; those of frozen encoders were computed once. What was "
        "published for a task stands below it, for reference: it was made on the corpora's own sets, with other heads."
    )
    columns = head(found)
    main = table(
        columns,
        [[name, *(cell.html() for cell in cells)] for name, cells in rows(found)],
        caption="All tasks",
        numeric=range(1, len(columns)),
    )
    body: list[Child] = [
        element("header", element("p", "speechkit run slue_encoders", class_="overline"), element("h1", TITLE)),
        element("section", element("p", lead, class_="lead"), element("div", main, class_="card")),
        [_task_section(name, of) for name, of in found.tasks.items()],
    ]
    return render_page(TITLE, [element("main", body), data_block("scores", found)], styles=[asset("score.css")])


def _task_section(name: str, of: TaskComparison) -> Markup:
    plot = interval_plot(of.scores)
    pairs = telling_pairs(of.scores)
    best = best_of(of.scores)
    published = (
        element(
            "div",
            element("p", said_of_published(of), class_="said"),
            table(PUBLISHED_HEAD, published_rows(of), caption=f"Published for {name}", numeric=(3,)),
            class_="card",
        )
        if of.published
        else element("p", "No published table of this task was at hand.", class_="lead")
    )
    return element(
        "section",
        element("h2", of.scores.title),
        element("p", said_of_pairs(of.scores), class_="lead"),
        element("div", plot, class_="card") if plot else None,
        [element("p", sentence) for sentence in said_of_data(of)],
        [element("p", sentence, class_="said") for sentence in of.scores.warnings],
        element(
            "div",
            element("p", f"Differences from {of.scores.systems[0].name} and from the best, {best}."),
            differences(of.scores, pairs),
            class_="card",
        )
        if pairs
        else None,
        entity_section(of.scores.entities),
        published,
    )
