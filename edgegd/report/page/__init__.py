"""report.html: the blocks of a report as one page that needs nothing but itself.

Template, style and script lie beside this module. Every text goes through `one_line` and is escaped; the page's own
policy lets it load nothing and run no script but its own. Without scripts all of it can be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from edgegd.foreign_text import one_line
from edgegd.report.blocks import Block, Bullets, Code, Drawing, Paragraph, Strong, Subheading, Table
from edgegd.report.draw import DASHES, draw
from edgegd.report.inline_svg import inline_svg
from edgegd.report.markdown import opening
from edgegd.report.page.template import frame, template
from edgegd.report.picture import Panel, Picture
from edgegd.report.sections import missing_titles, sections_of

_HERE = Path(__file__).parent
_OPENING = ("settings", "accuracy", "latency", "latency_conditions", "census", "ship", "selection", "target", "proof")
SCHEMA = 1


@dataclass(frozen=True)
class Page:
    """`html` is the page; `data` all that its pictures show, which report-data.json holds."""

    html: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Live:
    """A run that goes on: what it does now, and after how many seconds the page reloads itself."""

    status: str
    reload_s: int


def render(report: Mapping[str, Any], folder: str, live: Live | None = None) -> Page:
    """The page of a report, `folder` being the name of the run folder; parts that the report lacks are named in it."""
    here = dict(report)
    complete = all(key in here for key in _OPENING)
    begin = opening(here) if complete else []
    sections = [
        (section.__name__.rpartition(".")[2].replace("_", "-"), section.TITLE, blocks)
        for section, blocks in sections_of(here)
    ]
    pictures = [block for _, _, blocks in sections for block in blocks if isinstance(block, Picture)]
    data = {"schema": SCHEMA, "pictures": {picture.name: picture.to_json() for picture in pictures}}
    html = template(_HERE / "report.html.jinja").render(
        recipe=here["recipe"],
        folder=folder,
        opening=[_shown(block) for block in begin],
        sections=[(name, title, [_shown(block) for block in blocks]) for name, title, blocks in sections],
        missing=[*([] if complete else ["The summary"]), *missing_titles(here)],
        live=live,
        data=data,
        **frame([_HERE / "report.css"], [_HERE / "report.js"]),
    )
    return Page(html, data)


def _shown(block: Block) -> dict[str, Any]:
    """A block as the template takes it."""
    if isinstance(block, Paragraph):
        tags = {Code: "code", Strong: "strong"}
        spans = [("", span) if isinstance(span, str) else (tags[type(span)], span.text) for span in block.spans]
        return {"kind": "paragraph", "spans": spans}
    if isinstance(block, Bullets):
        return {"kind": "bullets", "items": block.items}
    if isinstance(block, Subheading):
        return {"kind": "subheading", "text": block.text}
    if isinstance(block, Table):
        align = block.align or ["left"] * len(block.headers)
        rows = [list(zip(align, map(str, row), strict=True)) for row in block.rows]
        return {"kind": "table", "headers": list(zip(align, map(str, block.headers), strict=True)), "rows": rows}
    if isinstance(block, Drawing):
        return _drawing(block)
    svg, places = draw(block)
    label = one_line(f"{block.title}. {block.sentence}")
    return {
        "kind": "picture",
        "name": block.name,
        "title": block.title,
        "sentence": block.sentence,
        "svg": Markup(inline_svg(svg, block.name, label)),
        "places": places,
        "legends": list(_legends(block)),
    }


def _drawing(block: Drawing) -> dict[str, Any]:
    shown = {
        "kind": "drawing",
        "name": block.name,
        "title": block.title,
        "sentence": block.sentence,
        "svg": "",
        "why": "",
    }
    if block.svg:
        try:
            shown["svg"] = Markup(
                inline_svg(block.svg, f"descent-{block.name}", one_line(f"{block.title}. {block.sentence}"))
            )
        except ValueError as error:
            shown["why"] = f"The picture cannot be shown: {error}."
    return shown


def _legends(picture: Picture) -> Iterator[tuple[str, list[tuple[int, str, str]]]]:
    """For each panel with several series its label, and number of the colour, dashes and name of each."""
    before = None
    for panel in picture.panels:
        keys = [(number % 6 + 1, _dashes(panel, number), series.name) for number, series in enumerate(panel.series)]
        if len(keys) > 1 and keys != before:
            yield (panel.y_label if len(picture.panels) > 1 else ""), keys
            before = keys


def _dashes(panel: Panel, number: int) -> str:
    return "" if panel.categories else " ".join(f"{length:g}" for length in DASHES[number % len(DASHES)])
