"""The explorer in a real browser: sorting, filters, colours, one image enlarged. Skipped where there is no browser."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("jinja2")

from edgegd.report.explorer import render_explorer
from tests.report.browser import NEEDS_BROWSER, answer
from tests.report.explorer_images import EVIL, explorer

pytestmark = NEEDS_BROWSER
ASK = """
const found = { hit: window.hit };
const form = document.getElementById("choices");
const changed = (element) => element.dispatchEvent(new Event("input", { bubbles: true }));
const set = (element, value) => { element.value = value; changed(element); };
const names = () => [...document.querySelectorAll("#gallery > li:not([hidden]) h3")].map((one) => one.textContent);
const sort = form.elements.sort, split = form.elements.split, classes = form.elements.classes;
found.count = document.getElementById("count").textContent;
found.damage = names();
set(sort, "training_loss"); found.loss = names();
set(sort, "name"); found.name = names();
set(split, "train"); found.train = names();
found.points = [...document.querySelectorAll(".map a")].filter((one) => one.style.display !== "none").length;
set(split, ""); set(classes, [...classes.options].at(-1).value); found.classes = names();
set(classes, ""); set(form.elements.name, "B");
found.search = names();
set(form.elements.name, "");
const colours = () => [...document.querySelectorAll("circle")].map((one) => getComputedStyle(one).fill);
found.first = colours();
const select = document.querySelector("#colouring select");
set(select, "loss_model"); found.second = colours();
found.scale = document.getElementById("scale").textContent;
set(select, "split"); found.third = colours();
const box = form.querySelector("[name=layer][value=model]");
box.checked = false; changed(box);
found.layer = ["model", "labels"].map((name) => getComputedStyle(document.querySelector(`path.${name}`)).display);
set(sort, "damage");
document.querySelector("#image-1 .enlarge").click();
const large = document.getElementById("large");
const title = () => large.querySelector("h3").textContent;
found.open = [large.open, title(), [...large.querySelectorAll("text")].map((one) => one.textContent)];
document.getElementById("next").click(); found.next = title();
document.getElementById("before").click(); document.getElementById("before").click(); found.before = title();
found.hit = window.hit;
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return answer(render_explorer(explorer()), ASK, tmp_path_factory.mktemp("explorer"))


def test_images_are_sorted_worst_first_and_those_without_the_value_last(found: dict[str, Any]) -> None:
    assert found["count"] == "4 of 4 images"
    assert found["damage"] == ["b", "a", "c", "d"]
    assert found["loss"] == ["c", "a", "b", "d"]
    assert found["name"] == ["a", "b", "c", "d"]


def test_filters_hold_for_gallery_and_map(found: dict[str, Any]) -> None:
    assert found["train"] == ["c"] and found["points"] == 1
    assert found["classes"] == ["c", "d"] and found["search"] == ["b"]


def test_points_take_the_colour_of_what_was_chosen(found: dict[str, Any]) -> None:
    first, second, third = found["first"], found["second"], found["third"]
    assert len(set(first)) == 3 and first == second  # the same order in both measures, and one image without
    assert third[0] == third[1] != third[2]
    assert found["scale"] == "Loss, INT8: 0.1000.300"


def test_one_image_is_enlarged_with_its_boxes_and_layers_can_be_hidden(found: dict[str, Any]) -> None:
    assert found["layer"] == ["none", "inline"]
    assert found["open"] == [True, "b", ["car", f"{EVIL} 0.80"]]
    assert found["next"] == "a" and found["before"] == "d"
    assert "hit" not in found
