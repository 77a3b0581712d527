"""The plots of a mining page: probabilities, what precision costs, and the pace of speech."""

from __future__ import annotations

from speechkit.report.markup import Markup, element
from speechkit.report.mining_data import MiningReport
from speechkit.report.mining_tallies import PACE_BINS, PACE_STEP, SCORE_BINS
from speechkit.report.svg import Series, curve, histogram

SHOWN_BINS = 50


def distributions(data: MiningReport) -> Markup:
    """The section of plots over all sentences."""
    charts = []
    if sum(data.kept_scores) + sum(data.rejected_scores):
        charts.append(_score_chart(data))
        charts.append(_precision_chart(data))
    if sum(data.kept_pace):
        charts.append(_pace_chart(data))
    if not charts:
        return element("section", element("h2", "Scores"), element("p", "No sentence was found.", class_="lead"))
    return element("section", element("h2", "Scores"), element("div", charts, class_="grid"))


def _score_chart(data: MiningReport) -> Markup:
    counted = [kept + rejected for kept, rejected in zip(data.kept_scores, data.rejected_scores, strict=True)]
    # Most probabilities lie near 1: the axis begins at the highest of these that leaves nothing worth seeing out.
    first = next(low for low in (900, 800, 500, 0) if sum(counted[:low]) <= 0.02 * sum(counted))
    group = (SCORE_BINS - first) // SHOWN_BINS
    edges = [(first + index * group) / SCORE_BINS for index in range(SHOWN_BINS + 1)]
    series = [
        Series(name, style, [sum(counts[first + i * group : first + (i + 1) * group]) for i in range(SHOWN_BINS)])
        for name, style, counts in (("kept", "kept", data.kept_scores), ("rejected", "rejected", data.rejected_scores))
    ]
    below = sum(counted[:first])
    marker = (
        None if data.threshold is None else (max(edges[0], min(1.0, data.threshold)), f"threshold {data.threshold:.3f}")
    )
    plot = histogram(
        edges,
        series,
        label=f"Histogram of the probability of {sum(data.kept_scores)} kept and {sum(data.rejected_scores)} rejected "
        "sentences that were found",
        x_title="probability that the pair is right",
        y_title="sentences (square-root scale)",
        marker=marker,
        root=True,
    )
    note = f" {below:,} lie further left." if below else ""
    return _chart("How sure", f"Sentences that were found somewhere, by probability.{note}", plot)


def _precision_chart(data: MiningReport) -> Markup:
    points = precision_curve(data)
    hours = max(point[1] for point in points) >= 5400
    shown = [(100 * precision, seconds / (3600 if hours else 60)) for precision, seconds, _ in points]
    marker = None
    if (threshold := data.threshold) is not None:
        at = min(points, key=lambda point: abs(point[2] - threshold))
        place = points.index(at)
        marker = (*shown[place], f"chosen: {shown[place][0]:.1f} %")
    plot = curve(
        shown,
        label="Audio kept against expected precision, with the chosen threshold marked",
        x_title="expected precision, %",
        y_title="hours kept" if hours else "minutes kept",
        marker=marker,
    )
    return _chart("What precision costs", "Audio that would be kept at other thresholds.", plot)


def precision_curve(data: MiningReport) -> list[tuple[float, float, float]]:
    """(expected precision by time, seconds kept, threshold) for falling thresholds, where something is kept."""
    points, seconds, mass = [], 0.0, 0.0
    for place in range(SCORE_BINS - 1, -1, -1):
        if data.score_seconds[place]:
            seconds += data.score_seconds[place]
            mass += data.score_mass[place]
            points.append((mass / seconds, seconds, place / SCORE_BINS))
    return points[::-1]


def _pace_chart(data: MiningReport) -> Markup:
    last = max(index for index, count in enumerate(data.kept_pace) if count)
    shown = min(PACE_BINS, last + 3)
    edges = [index * PACE_STEP for index in range(shown + 1)]
    plot = histogram(
        edges,
        [Series("kept", "kept", data.kept_pace[:shown])],
        label="Histogram of characters a second of the kept sentences",
        x_title="characters a second",
        y_title="sentences",
    )
    return _chart("How fast", "Kept sentences by their pace; odd ones stand apart.", plot)


def _chart(title: str, note: str, plot: Markup) -> Markup:
    return element("div", element("h3", title), element("p", note, class_="lead"), plot, class_="card")
