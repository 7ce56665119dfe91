"""The page in a real browser: values under the pointer, tables that sort, both themes, and no request to anywhere.

Oracles: report-data.json's numbers, computed styles, and Chromium's own log of requests. Skipped where there is neither
Chromium nor Chrome.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from edgegd.report.page import Live, Page, render
from edgegd.report.serve import PageServer
from edgegd.report.telemetry import Steps
from tests.report.browser import NEEDS_BROWSER, answer, browse, command_line
from tests.report.pages import Reader

pytestmark = NEEDS_BROWSER
EVIL = '</script><script>window.hit = 1</script><img src=x onerror="window.hit = 1"> "\'&'
POINTER = (0.55, 0.3)
"""Where the pointer is put in each panel, as shares of it from the left and the top."""
ASK = """
const [right, down] = [%s, %s];
const found = { values: [], hit: window.hit, title: document.title, sorted: [] };
for (const figure of document.querySelectorAll("figure[data-picture]")) {
  const drawn = figure.querySelector(".drawn"), area = drawn.getBoundingClientRect();
  for (const [x0, y0, x1, y1] of JSON.parse(figure.dataset.places)) {
    const at = { clientX: area.left + (x0 + right * (x1 - x0)) * area.width,
                 clientY: area.top + (y0 + down * (y1 - y0)) * area.height, bubbles: true };
    drawn.dispatchEvent(new PointerEvent("pointermove", at));
    const value = figure.querySelector(".value");
    found.values.push([figure.dataset.picture, value.hidden ? "" : value.textContent]);
  }
  drawn.dispatchEvent(new PointerEvent("pointerleave"));
  if (!figure.querySelector(".value").hidden) found.values.push([figure.dataset.picture, "it stays"]);
}
const cells = (table) => [...table.tBodies[0].rows].map((row) => row.cells[1].textContent);
const table = document.querySelector("#ranges table"), button = table.tHead.rows[0].cells[1].querySelector("button");
for (let click = 0; click < 2; click++) { button.click(); found.sorted.push(cells(table)); }
const colours = () => [document.body, document.querySelector("figure svg text")].map(
  (element, number) => getComputedStyle(element)[number ? "fill" : "backgroundColor"]);
found.before = colours();
document.getElementById("theme").click();
found.after = colours();
"""
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(22, 24, 28)"


def report() -> dict[str, Any]:
    """A run in the middle of its training, with foreign names wherever a picture or a table has one."""
    groups = ("weights", "biases", EVIL)
    rows = [
        {"step": step, "epoch": 1, "loss": 3 / step, EVIL: 1 / step, "clipped": step % 3 == 0}
        | {"lr": dict.fromkeys(groups, 0.1 / step), "gradient": dict.fromkeys(groups, 5.0 + step)}
        for step in range(1, 41)
    ]
    ranges = {name: {"scale": 0.5, "used": 0.4, "below": 0.0, "above": 0.01} for name in (EVIL, "a", "b")}
    probes = [
        (step, {"ranges": ranges, "updates": {EVIL: 1e-3 / step, "layer": 1e-4 * step}, "codes_changed": {EVIL: 0.1}})
        for step in (5, 20, 40)
    ]
    more = {"step_length": {"all": -0.3}, "noise_scale": 12.5, "ema_distance": 0.01}
    steps = Steps(rows, [(step, detail | more) for step, detail in probes])
    weakest = [
        {"group": name, "sqnr_db": value} for name, value in ((EVIL, 9.5), ("b", 10.0), ("c", 100.0), ("d", 2.0))
    ]
    train = {"grad_clip": 10.0, "batch": 8}
    return {"recipe": EVIL, "settings": {"train": train}, "steps": steps, "weakest_ranges": weakest}


def asked(page: Page, folder: Path, theme: str) -> dict[str, Any]:
    """What ASK finds in the page."""
    return answer(page.html, ASK % POINTER, folder, theme)


@pytest.fixture(scope="module")
def page() -> Page:
    return render(report(), EVIL)


def expected(panel: dict[str, Any], place: list[float]) -> set[str]:
    """The lines of numbers that belong under the pointer."""
    right, down = POINTER
    if heat := panel.get("heat"):
        row, column = int(down * len(heat["rows"])), int(right * len(heat["x"]))
        return {f"{panel['x_label']} {heat['x'][column]:g}: {heat['values'][row][column]:g}"}
    if names := panel.get("categories"):
        at = int(down * len(names))
        return {f"{one['name']}: {one['y'][one['x'].index(at)]:g}" for one in panel["series"]}
    wanted = place[4] + right * (place[5] - place[4])
    lines = set()
    for one in panel["series"]:
        nearest = min(range(len(one["x"])), key=lambda index: abs(one["x"][index] - wanted))
        lines.add(f"{panel['x_label']} {one['x'][nearest]:g}")
        bounds = f" [{one['low'][nearest]:g}, {one['high'][nearest]:g}]" if "low" in one else ""
        lines.add(f"{one['name']}: {one['y'][nearest]:g}{bounds}")
    return lines


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_values_themes_and_sorting(page: Page, tmp_path: Path, theme: str) -> None:
    found = asked(page, tmp_path, theme)
    figures = [attributes for tag, attributes in Reader(page.html).elements if tag == "figure"]
    panels = [
        (one["data-picture"], panel, place)
        for one in figures
        for panel, place in zip(
            page.data["pictures"][one["data-picture"]]["panels"], json.loads(one["data-places"]), strict=True
        )
    ]
    assert len(panels) > 10 and len(found["values"]) == len(panels)
    for (name, text), (picture, panel, place) in zip(found["values"], panels, strict=True):
        assert name == picture and expected(panel, place) <= set(text.split("\n")), (name, text)
    assert found["sorted"] == [["2.0", "9.5", "10.0", "100.0"], ["100.0", "10.0", "9.5", "2.0"]]
    paper, other = (LIGHT, DARK) if theme == "light" else (DARK, LIGHT)
    assert [found["before"][0], found["after"][0]] == [paper, other]
    assert found["before"][1] != found["after"][1], "pictures follow the theme"
    assert "hit" not in found and found["title"] == f"{EVIL}, {EVIL}"


def requests(address: str, folder: Path) -> set[str]:
    """Every address that the browser asked for while it showed a page."""
    log = folder / "net.json"
    browse(address, folder, f"--log-net-log={log}", "--net-log-capture-mode=Everything")
    return set(re.findall(r'"url":"([a-z]+://[^"]*)"', log.read_text()))


def test_no_request_goes_anywhere(page: Page, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page.html)
    foreign = [one for one in requests(f"file://{tmp_path / 'page.html'}", tmp_path) if "127.0.0.1" in one]
    assert foreign == []
    (tmp_path / "other.html").write_text('<img src="http://127.0.0.1:9/x.png">')
    assert "http://127.0.0.1:9/x.png" in requests(f"file://{tmp_path / 'other.html'}", tmp_path), (
        "the log would show it"
    )


def test_a_page_of_a_running_training_reloads_itself(tmp_path: Path) -> None:
    made, again = [], threading.Event()

    def html() -> str:
        made.append(render(report(), f"time {len(made)}", Live("Stage qat.", 1)).html)
        if len(made) > 1:
            again.set()
        return made[-1]

    with PageServer(html) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        command = [*command_line(tmp_path), "--remote-debugging-port=0", server.address]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            try:
                assert again.wait(120)
            finally:
                browser.terminate()
                server.shutdown()
        thread.join()
