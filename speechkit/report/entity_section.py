"""The part of a page that says what recognition did to each entity."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from speechkit.report.markup import Child, element
from speechkit.report.table import table
from speechkit.slue.entity_errors import KINDS, EntityErrors

LEAD = (
    "What stands in the recognised text in the place of each gold entity, whatever the system made of it; "
    "hallucinated are predictions that no gold entity explains."
)


def entity_section(entities: Mapping[str, EntityErrors]) -> Markup | None:
    """Counts of each kind by system with examples; None where there is nothing to show."""
    if not entities:
        return None
    rows: list[list[Child]] = [
        [
            name,
            f"{errors.gold:,}",
            *(f"{errors.total(kind):,}" for kind in KINDS),
            f"{sum(errors.hallucinated.values()):,}",
        ]
        for name, errors in entities.items()
    ]
    head = ["text", "gold", *KINDS, "hallucinated"]
    body = table(head, rows, caption="Entities", numeric=range(1, len(head)))
    return element(
        "section",
        element("h2", "What became of the entities"),
        element("p", LEAD, class_="lead"),
        element("div", body, class_="card"),
        element("div", [_examples(name, each) for name, each in entities.items()], class_="stack-of-cards"),
    )


def _examples(name: str, errors: EntityErrors) -> Markup | None:
    rows: list[list[Child]] = [
        [kind, each.tag, each.phrase, each.heard or "–", "yes" if each.found else "no"]
        for kind in KINDS[1:]
        for each in errors.examples.get(kind, ())[:3]
    ]
    if not rows:
        return None
    head = ["kind", "tag", "said", "recognised", "found"]
    return element(
        "article",
        element("div", element("span", name), class_="where"),
        table(head, rows, caption=f"Entities of {name}"),
        class_="card passage",
    )
