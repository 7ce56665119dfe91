"""Pictures: what is drawn is what their data say. Oracle: matplotlib's own coordinates, read from the SVG."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from edgegd.report.descent_pictures import probe_pictures, step_pictures
from edgegd.report.draw import DASHES, WIDTH, draw
from edgegd.report.inline_svg import PALETTE
from edgegd.report.picture import Heat, Panel, Picture, Series, rounded
from edgegd.report.telemetry import Steps

SVG = "{http://www.w3.org/2000/svg}"
EVIL = '$\\frac{1}$ <script>alert(1)</script> "\u202e&'


def picture(**panel: Any) -> Picture:
    return Picture("loss", "Loss", "What is seen.", [Panel("step", "loss", **panel)])


LINE = picture(series=[Series("loss", [1, 2, 4], [2.0, None, 8.0], "points")], marks=[("limit", 5.0)])


def test_equal_pictures_are_equal_bytes() -> None:
    assert draw(LINE) == draw(LINE)
    assert not re.search(r"dc:date|\d\d:\d\d:\d\d", draw(LINE)[0])


def test_places_say_where_values_are() -> None:
    svg, ((left, top, right, bottom, x0, x1, y0, y1),) = draw(LINE)
    root = ElementTree.fromstring(svg)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert width == WIDTH
    markers = [
        (float(use.attrib["x"]), float(use.attrib["y"]))
        for use in root.iter(f"{SVG}use")
        if PALETTE[0] in use.attrib["style"]
    ]
    for (x, y), (step, loss) in zip(markers, [(1, 2.0), (4, 8.0)], strict=True):
        assert x / width == pytest.approx(left + (step - x0) / (x1 - x0) * (right - left), abs=2e-3)
        assert y / height == pytest.approx(bottom - (loss - y0) / (y1 - y0) * (bottom - top), abs=4e-3)


def test_categories_stand_below_each_other_with_their_intervals() -> None:
    values = Series("mAP", [0, 1], [40.0, 50.0], "points", [39.0, 48.0], [41.0, 53.0])
    svg, ((_, top, _, bottom, *_),) = draw(picture(series=[values], categories=["FP32", EVIL]))
    texts = ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert "FP32" in texts and [text for text in texts if text.startswith("$\\frac{1}$ <script>alert(1)</scr")]
    assert "\u202e" not in svg and top < bottom


def test_every_kind_of_series_is_drawn() -> None:
    x = [1, 2, 3]
    kinds = [Series(kind, x, [1.0, 3.0, 2.0], kind, [0.5, 1, 1], [2, 4, 3]) for kind in ("line", "band", "dots")]
    svg, _ = draw(picture(series=kinds))
    assert [colour for colour in PALETTE if colour in svg] == list(PALETTE[:3])
    assert "stroke-dasharray" in svg and len(DASHES) == len(PALETTE)
    assert draw(picture(series=[Series("a", [0, 1], [1, 2], "bars")]))[0].count(PALETTE[0]) == 2
    heat = Heat(["a", "b"], x, [[1.0, None, 2.0], [3.0, 4.0, 5.0]])
    assert draw(picture(heat=heat))[0].count("data:image/png;base64,") == 1
    assert "0.001" in draw(picture(series=[Series("a", [1, 2], [0.001, 10.0])], logarithmic=True))[0]


def test_the_json_holds_what_is_drawn_and_nothing_else() -> None:
    data = json.loads(json.dumps(LINE.to_json(), allow_nan=False))
    series = {"name": "loss", "x": [1, 2, 4], "y": [2.0, None, 8.0], "kind": "points"}
    panel = {"x_label": "step", "y_label": "loss", "series": [series], "marks": [["limit", 5.0]]}
    assert data == {"name": "loss", "title": "Loss", "sentence": "What is seen.", "panels": [panel]}


def test_numbers_are_rounded_once() -> None:
    assert rounded([1 / 3, None, float("nan"), float("inf"), 12345678.0]) == [0.333333, None, None, None, 12345700.0]


def test_telemetry_of_another_form_leaves_gaps() -> None:
    """Whatever stands where a number should: the picture is drawn without it."""
    detail = {"step_length": {"all": "x"}, "noise_scale": "x", "ema_distance": None, "codes_changed": {"a": []}}
    detail |= {"updates": {"a": "x", "b": 0.1}, "ranges": {"a": {"scale": "x", "used": 0.5, "below": "x"}}}
    rows = [
        {"step": step, "epoch": 1, "loss": "x", "lr": {"weights": None}, "gradient": {"all": 1.0}} for step in (1, 2)
    ]
    steps = Steps(rows, [(1, detail), (2, detail)])
    pictures = [*step_pictures(steps, {"grad_clip": "x"}, []), *probe_pictures(steps, {"batch": None})]
    found = {one.name: one.to_json()["panels"] for one in pictures if draw(one)}
    assert list(found) == ["loss", "rates", "gradient", "noise", "codes", "updates"]
    assert found["loss"][0]["series"][0]["y"] == [None, None] and found["gradient"][0]["series"][0]["y"] == [1.0, 1.0]
    assert found["noise"][0]["series"][0]["y"] == [None, None] and "marks" not in found["noise"][0]
    assert [panel["y_label"] for panel in found["codes"]] == ["codes used, %"]
    assert found["updates"][0]["heat"]["rows"] == ["b"]
