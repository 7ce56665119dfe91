"""SVG for the page: only what draws is left of it, its names are its own, and its colours are the page's.

A picture that lies in a run folder may come from elsewhere, so elements, attributes and properties are those listed
here; nothing refers to anything outside of the picture. Fixed colours become the page's variables, so that a picture
is readable on light and on dark ground.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree

LONGEST = 1 << 20
"""Characters of a picture: the page holds several in 3 MB."""
PALETTE = tuple(f"#0000c{number}" for number in range(1, 7))
"""What our own pictures are drawn with; the page says which colours these are in light and in dark."""
GRID, MUTED = "#0000d1", "#0000d2"

_TABLEAU = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b")  # matplotlib's own first six
_OKABE_ITO = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_COLOURS = {
    **{c: f"var(--c{n})" for colours in (PALETTE, _TABLEAU, _OKABE_ITO) for n, c in enumerate(colours, 1)},
    **dict.fromkeys((GRID, "#b0b0b0", "#cccccc", "#f5f5f5", "#d3d3d3"), "var(--line)"),
    **dict.fromkeys((MUTED, "#808080", "#696969", "#7f7f7f", "#a9a9a9"), "var(--muted)"),
    **dict.fromkeys(("#000000", "black", "#262626"), "currentColor"),
    **dict.fromkeys(("#ffffff", "white"), "var(--paper)"),
}
_ELEMENTS = frozenset(
    [
        *("svg", "g", "defs", "path", "clipPath", "rect", "use", "text", "tspan", "image"),
        *("circle", "ellipse", "line", "polyline", "polygon"),
    ]
)
_PROPERTIES = frozenset(
    [
        *("fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray"),
        *("stroke-dashoffset", "stroke-linecap", "stroke-linejoin", "stroke-miterlimit", "opacity", "clip-path"),
        *("font", "font-size", "font-family", "font-weight", "font-style", "text-anchor", "dominant-baseline"),
        *("image-rendering", "white-space"),
    ]
)
_ATTRIBUTES = _PROPERTIES | frozenset(
    [
        *("id", "d", "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "ry", "dx", "dy", "width", "height"),
        *("href", "viewBox", "transform", "points", "preserveAspectRatio", "style"),
    ]
)
_OWN = re.compile(r"url\(#([\w.-]+)\)")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b|\b(?:black|white)\b")


def inline_svg(text: str, name: str, label: str) -> str:
    """An `svg` element to stand in HTML, labelled `label`; `name` begins all its ids.

    Raises ValueError for what is no SVG, has entities of its own, or is too long.
    """
    if len(text) > LONGEST:
        raise ValueError(f"a picture of {len(text)} characters, more than {LONGEST}")
    if "<!ENTITY" in text:
        raise ValueError("a picture with entities of its own")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"no SVG: {error}") from error
    if _local(root.tag) != "svg" or "viewBox" not in root.attrib:
        raise ValueError("no SVG with a viewBox")
    _keep_what_draws(root, name)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.attrib |= {"role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def _keep_what_draws(element: ElementTree.Element, name: str) -> None:
    element.tag = _local(element.tag)
    kept = {}
    for key, value in element.attrib.items():
        if shown := _attribute(_local(key), value, name):
            kept[_local(key)] = shown
    element.attrib = kept
    element.tail = None
    if element.tag not in ("text", "tspan"):
        element.text = None
    for child in list(element):
        if _local(child.tag) in _ELEMENTS:
            _keep_what_draws(child, name)
        else:
            element.remove(child)


def _attribute(key: str, value: str, name: str) -> str:
    """The value as the page has it; empty where it is left out."""
    if key not in _ATTRIBUTES:
        return ""
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        if value.startswith("data:image/png;base64,"):
            return value
        return f"#{name}-{value[1:]}" if value.startswith("#") else ""
    if key == "style":
        return "; ".join(_declarations(value, name))
    return _value(value, name)


def _declarations(style: str, name: str) -> Iterator[str]:
    for declaration in style.split(";"):
        key, _, value = declaration.partition(":")
        if key.strip() in _PROPERTIES and (shown := _value(value.strip(), name)):
            yield f"{key.strip()}: {shown}"


def _value(value: str, name: str) -> str:
    if "url(" in _OWN.sub("", value) or "\\" in value:
        return ""
    value = _OWN.sub(rf"url(#{name}-\1)", value)
    return _COLOUR.sub(lambda found: _COLOURS.get(found[0].lower(), found[0]), value)


def _local(tag: object) -> str:
    return str(tag).rpartition("}")[2]
