"""explorer.html: a run's images as a gallery and a map, in one page that needs nothing but itself.

Template, style and script lie beside this module. Without scripts all images, values and boxes can be seen; with them
they sort, filter, are coloured and enlarged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from edgegd.foreign_text import one_line
from edgegd.report.page.template import frame, template

_HERE = Path(__file__).parent
_PAGE = _HERE.parent / "page"
MEASURES = {
    "damage": "Damage by quantization",
    "loss_model": "Loss, INT8",
    "loss_reference": "Loss, FP32",
    "training_loss": "Loss of the last training epoch",
    "suspect": "Suspicion of a wrong label",
}
"""What images are sorted and coloured by, in the order in which it is offered; each is higher where it is worse."""
LAYERS = {"labels": "Label", "reference": "FP32", "model": "INT8", "suspects": "Suspected label"}
"""What is drawn over an image."""


@dataclass(frozen=True)
class Shown:
    """One image of the page.

    `thumbnail` is a data URI, empty where the image is not there; `size` is the image's (height, width) in pixels.
    `boxes` has for each of LAYERS rows [x1, y1, x2, y2, text] in those pixels. `values` has what is known of MEASURES;
    `classes`, `sizes`, `errors` and `learned` are what can be filtered by; `facts` are its lines of text. `place` is x,
    y on the map, in -1..1.
    """

    name: str
    split: str
    size: tuple[int, int]
    thumbnail: str
    boxes: Mapping[str, Sequence[Sequence[Any]]]
    values: Mapping[str, float]
    classes: Sequence[str] = ()
    sizes: Sequence[str] = ()
    errors: Sequence[str] = ()
    learned: str = ""
    facts: Sequence[str] = ()
    place: tuple[float, float] | None = None


@dataclass(frozen=True)
class Explorer:
    """What the page shows: `images`, `sentences` about all of them, and each map component's share of the variance."""

    recipe: str
    folder: str
    images: Sequence[Shown]
    sentences: Sequence[str] = field(default=())
    explained: Sequence[float] = field(default=())


def render_explorer(explorer: Explorer) -> str:
    """The page."""
    images = explorer.images
    measures = [name for name in MEASURES if any(name in image.values for image in images)]
    filters = {
        "split": ("Split", _all([image.split] for image in images)),
        "classes": ("Class", _all(image.classes for image in images)),
        "sizes": ("Size of objects", _all(image.sizes for image in images)),
        "errors": ("Kind of error", _all(image.errors for image in images)),
        "learned": ("Training", _all([image.learned] for image in images if image.learned)),
    }
    ranges = {name: _range([image.values[name] for image in images if name in image.values]) for name in measures}
    data = {
        "measures": {name: [MEASURES[name], *ranges[name]] for name in measures},
        "images": [
            {
                "name": one_line(image.name),
                "values": {name: _rounded(value) for name, value in image.values.items()},
                "split": [image.split],
                "classes": list(image.classes),
                "sizes": list(image.sizes),
                "errors": list(image.errors),
                "learned": [image.learned] if image.learned else [],
                "boxes": {
                    layer: [[*map(_rounded, row[:4]), one_line(row[4])] for row in rows]
                    for layer, rows in image.boxes.items()
                },
            }
            for image in images
        ],
    }
    first = measures[0] if measures else ""
    return template(_HERE / "explorer.html.jinja").render(
        recipe=explorer.recipe,
        folder=explorer.folder,
        live=None,
        sentences=explorer.sentences,
        measures=[(name, MEASURES[name]) for name in measures],
        filters={key: (title, options) for key, (title, options) in filters.items() if len(options) > 1},
        layers=[(name, title) for name, title in LAYERS.items() if any(image.boxes.get(name) for image in images)],
        images=[{"index": index, **_item(image, first, ranges)} for index, image in enumerate(images)],
        explained=explorer.explained,
        data=data,
        **frame([_PAGE / "report.css", _HERE / "explorer.css"], [_HERE / "explorer.js"]),
    )


def _item(image: Shown, measure: str, ranges: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """An image as the template takes it: boxes of a layer as one path, and how far it is along the first measure."""
    share = None
    if measure in image.values:
        low, high = ranges[measure]
        share = (image.values[measure] - low) / (high - low) if high > low else 0.0
    return {
        "name": image.name,
        "split": image.split,
        "height": image.size[0],
        "width": image.size[1],
        "thumbnail": Markup(image.thumbnail),  # base64, longer than any text
        "paths": [(layer, _path(rows)) for layer, rows in image.boxes.items() if rows],
        "facts": image.facts,
        "place": None if image.place is None else [f"{100 * value:.2f}" for value in image.place],
        "share": "" if share is None else f"{share:.3f}",
    }


def _path(rows: Sequence[Sequence[Any]]) -> str:
    return "".join(f"M{x1:.1f} {y1:.1f}H{x2:.1f}V{y2:.1f}H{x1:.1f}Z" for x1, y1, x2, y2, *_ in rows)


def _range(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _all(several: Iterable[Iterable[str]]) -> list[str]:
    """Every value once, by how often it occurs."""
    counts: dict[str, int] = {}
    for values in several:
        for value in values:
            counts[value] = counts.get(value, 0) + 1
    return sorted(counts, key=lambda value: (-counts[value], value))
