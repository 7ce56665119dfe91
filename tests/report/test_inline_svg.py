"""Of an SVG only what draws reaches the page. Oracle: what a parser finds in it afterwards."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from edgegd.report.inline_svg import LONGEST, PALETTE, inline_svg

HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9" width="9pt">'
)


def shown(inner: str) -> ElementTree.Element:
    return ElementTree.fromstring(inline_svg(f"{HEAD}{inner}</svg>", "loss", 'a "label" <b>'))


def test_what_draws_stays_and_ids_are_the_pictures_own() -> None:
    root = shown(
        '<defs><clipPath id="c"><rect width="3" height="3"/></clipPath></defs>'
        '<g clip-path="url(#c)"><path id="p" d="M 0 0 L 1 1" style="fill: none; stroke: #1f77b4"/>'
        '<use xlink:href="#p" x="1"/><text x="2">a &lt; b &amp; c</text></g>'
    )
    assert root.attrib == {"viewBox": "0 0 9 9", "role": "img", "aria-label": 'a "label" <b>'}
    assert root.find("g").get("clip-path") == "url(#loss-c)"  # type: ignore[union-attr]
    assert root.find("g/use").attrib == {"href": "#loss-p", "x": "1"}  # type: ignore[union-attr]
    assert root.find("g/path").get("style") == "fill: none; stroke: var(--c1)"  # type: ignore[union-attr]
    assert root.findtext("g/text") == "a < b & c"
    assert not inline_svg(f"{HEAD}</svg>", "x", "y").count("http")


@pytest.mark.parametrize(
    "inner",
    [
        "<script>alert(1)</script>",
        '<a href="http://example.org"><path d="M 0 0"/></a>',
        '<g onload="alert(1)" onclick="alert(1)"/>',
        '<image href="http://example.org/x.png"/>',
        '<image href="data:image/svg+xml;base64,AAAA"/>',
        '<use href="http://example.org/x.svg#p"/>',
        '<style>@import "http://example.org";</style>',
        "<g style=\"fill: url(http://example.org#x); background-image: image-set('http://example.org' 1x)\"/>",
        '<g fill="url(http://example.org#x)" style="fill: u\\72l(http://example.org)"/>',
        '<foreignObject><iframe xmlns="http://www.w3.org/1999/xhtml" src="http://example.org"/></foreignObject>',
        '<set attributeName="href" to="javascript:alert(1)"/>',
        '<text><animate attributeName="href"/></text>',
    ],
)
def test_what_could_run_or_load_is_left_out(inner: str) -> None:
    text = inline_svg(f"{HEAD}{inner}</svg>", "loss", "label")
    assert not [word for word in ("http", "alert", "script", "import", "data:", "url(", "72l", "anim") if word in text]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('<!DOCTYPE svg [<!ENTITY a "aaaa">]><svg viewBox="0 0 1 1">&a;</svg>', "entities"),
        ("<svg", "no SVG"),
        ("<html viewBox='0 0 1 1'/>", "no SVG"),
        ("<svg/>", "no SVG"),
        (f"<svg viewBox='0 0 1 1'>{' ' * LONGEST}</svg>", "more than"),
    ],
)
def test_what_is_no_picture_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        inline_svg(text, "loss", "label")


def test_each_colour_of_ours_is_one_of_the_pages() -> None:
    for number, colour in enumerate(PALETTE, 1):
        assert f"stroke: var(--c{number})" in inline_svg(f'{HEAD}<path style="stroke: {colour}"/></svg>', "x", "y")
