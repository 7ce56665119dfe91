"""report.html of a real run, and what `edgegd descent watch` shows of one that goes on. Oracles: report.json, the
parser of the standard library, and the same page with harmless names."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from edgegd.errors import MissingArtifactError
from edgegd.pipeline.report_page import PageSoFar, shown
from edgegd.pipeline.run_folder import RunFolder
from edgegd.report.page import Page, render
from edgegd.report.sections import SECTIONS
from edgegd.report.words import percent
from tests.report.pages import Reader

MARKUP = '</script><script>alert(1)</script><img src=x onerror="alert(1)">\'"&amp; {{ 7 * 7 }} $\\frac{1}$ \u202e'
Command = Callable[..., Any]


@pytest.fixture(scope="module")
def html(finished_run: Path) -> str:
    return (finished_run / "report.html").read_text()


@pytest.fixture(scope="module")
def whole(finished_run: Path) -> dict[str, Any]:
    """The run's report with what its page shows beside it."""
    return shown(RunFolder.open_existing(finished_run), json.loads((finished_run / "report.json").read_text()))


def test_the_page_is_whole_small_and_refers_to_nothing_elsewhere(html: str, finished_run: Path) -> None:
    page = Reader(html)
    assert page.problems == [] and len(html.encode()) < 3_000_000
    beside = {"report.json", "report-data.json"}
    assert {one for one in page.references if not one.startswith(("#", "data:"))} == beside
    assert all((finished_run / name).exists() for name in beside)
    assert "://" not in html.replace("ssh://", "")
    assert [tag for tag, _ in page.elements].count("script") == len(page.scripts) - 1 == 2


def test_it_opens_with_the_verdict_and_the_table_and_has_every_section(html: str, whole: dict[str, Any]) -> None:
    page = Reader(html)
    verdict, table = page.text.index(whole["ship"]["why"]), page.text.index("int8 convolutions")
    assert verdict < table < page.text.index("Contents")
    for variant in ("fp32", "ptq", "qat"):
        assert percent(whole["accuracy"][variant]["map50_95"]) in page.text
    titles = [section.TITLE for section in SECTIONS if section.blocks(whole)]
    assert len(titles) >= 11
    assert [page.text.count(title) >= 2 for title in titles] == [True] * len(titles), (
        "in the contents and above the section"
    )
    assert page.headings() == ["h1", *["h2"] * (len(titles) + 1)]
    targets = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {one[1:] for one in page.references if one.startswith("#")} <= targets


def test_every_table_and_picture_can_be_read_without_seeing(html: str) -> None:
    elements = Reader(html).elements
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in elements if tag == "th")
    pictures = [attributes for tag, attributes in elements if tag == "svg" and attributes.get("aria-hidden") != "true"]
    figures = [attributes["data-picture"] for tag, attributes in elements if tag == "figure"]
    assert len(pictures) == len(figures) > 8
    assert all(one["role"] == "img" and len(one["aria-label"]) > 30 for one in pictures)
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_what_is_drawn_is_in_the_json(html: str, finished_run: Path, whole: dict[str, Any]) -> None:
    stored = json.loads((finished_run / "report-data.json").read_text())
    assert Reader(html).data == stored
    rows = [json.loads(line) for line in (finished_run / "descent.jsonl").read_text().splitlines()]
    (loss, *_) = stored["pictures"]["loss"]["panels"][0]["series"]
    assert loss["x"] == [row["step"] for row in rows]
    assert loss["y"] == pytest.approx([row["loss"] for row in rows], rel=1e-5)
    (accuracy, _) = stored["pictures"]["accuracy"]["panels"]
    assert accuracy["series"][0]["low"][0] == pytest.approx(
        100 * whole["accuracy"]["fp32"]["intervals"]["map50_95"][0], rel=1e-5
    )
    latency = stored["pictures"]["latency"]["panels"][0]["series"]
    assert latency[0]["y"][-1] == pytest.approx(whole["latency"]["qat.edge"]["speedup"], rel=1e-5)
    assert latency[1]["y"] and latency[1]["y"] == pytest.approx(
        [ratio for name in ("ptq", "ptq.edge", "qat", "qat.edge") for ratio in whole["latency_pairs"][name]], rel=1e-5
    )


def test_equal_folders_have_equal_pages(whole: dict[str, Any]) -> None:
    assert render(whole, "run") == render(whole, "run")


def _renamed(whole: dict[str, Any], text: str) -> Page:
    """The page with `text` for recipe, folder, class, loss, layer, range, pass, device, finding and analysis."""
    report = copy.deepcopy(whole)
    report["recipe"] = report["settings"]["model"]["weights"] = report["latency_conditions"]["fingerprint"]["cpu"] = (
        text
    )
    for variant in report["accuracy"].values():
        variant["per_class"] = {text if name == "car" else name: one for name, one in variant["per_class"].items()}
    report["weakest_ranges"][0]["group"] = report["passes"][0]["name"] = text
    report["passes"][0]["refused"] = [[text, text]]
    for row in report["steps"].rows:
        row[text] = row.pop("box_loss")
        row["lr"][text] = row["lr"].pop("weights")
    (step, detail), *_ = report["steps"].probes
    detail["updates"] = {text: 0.1, "a layer": 0.2}
    moved = {text: {"scale": 0.1, "used": 0.5}}
    detail["ranges"] = moved
    report["steps"].probes = [(step, detail), (step + 1, copy.deepcopy(detail))]
    report["diagnosis"] = [dict.fromkeys(("rule", "sentence", "threshold", "change"), text) | {"evidence": {text: 1.5}}]
    report["analyses"] = [{"name": "compare", "title": text, "sentence": text, "svg": ""}]
    return render(report, text)


def test_a_name_is_only_text_wherever_it_stands(whole: dict[str, Any]) -> None:
    evil, plain = _renamed(whole, MARKUP), _renamed(whole, "x" * len(MARKUP))
    pages = [Reader(page.html) for page in (evil, plain)]
    assert pages[0].problems == [] and len(pages[0].scripts) == 3
    kinds = [[(tag, *sorted(attributes)) for tag, attributes in page.elements] for page in pages]
    assert kinds[0] == kinds[1]
    visible = MARKUP.replace("\u202e", "\\u202e")
    assert pages[0].text.count(visible) == pages[1].text.count("x" * len(MARKUP)) > 12
    assert pages[0].data == evil.data and evil.data["pictures"]["updates"]["panels"][0]["heat"]["rows"][0] == visible
    assert "\u202e" not in evil.html + json.dumps(evil.data, ensure_ascii=False)


def test_the_diagnosis_opens_the_descent(whole: dict[str, Any]) -> None:
    finding = {
        "rule": "rate-too-high",
        "kind": "problem",
        "descent": "adapt",
        "sentence": "It jumps.",
        "change": "Less.",
    }
    finding |= {"evidence": {"alpha": 1.23456, "steps": {"all": 3}}, "threshold": 0.5}
    text = Reader(render(whole | {"diagnosis": [finding]}, "run").html).text
    for words in ("rate-too-high (problem, adaptation)", "It jumps.", "alpha 1.235; steps all 3", "0.5", "Less."):
        assert words in text.partition("what to change")[2].partition("Loss and its parts")[0]
    assert "No rule of the diagnosis found anything" in render(whole | {"diagnosis": []}, "run").html
    assert "diagnosis" not in render(whole, "run").html.lower()


def test_a_section_reads_what_it_says(whole: dict[str, Any]) -> None:
    beside = {
        "steps",
        "adaptation_steps",
        "analyses",
        "diagnosis",
        "swap",
        "descent",
        "accuracy",
        "selection",
        "latency_pairs",
    }
    for section in SECTIONS:
        needed = {key: whole[key] for key in section.READS}
        optional = {key: whole[key] for key in beside & set(whole)}
        assert len(section.blocks(needed | optional)) == len(section.blocks(whole)), section.TITLE


def test_the_command_says_where_the_page_is_and_makes_it_anew(edgegd_command: Command, run_copy: Path) -> None:
    said = edgegd_command("report", run_copy).out
    assert said.endswith(f"\n\n{run_copy / 'report.html'}\n{run_copy / 'report.md'}\n")
    assert json.loads(edgegd_command("report", run_copy, "--json").out)["stages"] == {"report": "unchanged"}
    (run_copy / "report.html").write_text("gone")
    assert json.loads(edgegd_command("report", run_copy, "--json").out)["stages"] == {"report": "ran"}
    assert (run_copy / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_an_analysis_is_shown_and_makes_the_report_anew(edgegd_command: Command, run_copy: Path) -> None:
    drawn = '<script>alert(1)</script><path d="M 0 0 L 7 7"/>'
    picture = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">{drawn}</svg>'
    found = {"title": "Two descents", "sentence": "The second is <better>."}
    (run_copy / "descent-compare.json").write_text(json.dumps(found))
    assert json.loads(edgegd_command("report", run_copy, "--json").out)["stages"] == {"report": "ran"}
    page = Reader((run_copy / "report.html").read_text())
    assert "Two descents. The second is <better>." in page.text and "M 0 0 L 7 7" not in str(page.elements)
    assert "Two descents: The second is &lt;better>." in (run_copy / "report.md").read_text()
    (run_copy / "descent-compare.svg").write_text(picture)
    assert json.loads(edgegd_command("report", run_copy, "--json").out)["stages"] == {"report": "ran"}
    page = Reader((run_copy / "report.html").read_text())
    assert ("path", {"d": "M 0 0 L 7 7"}) in page.elements and len(page.scripts) == 3
    assert json.loads(edgegd_command("report", run_copy, "--json").out)["stages"] == {"report": "unchanged"}
    (run_copy / "descent-compare.svg").write_text("<svg")
    edgegd_command("report", run_copy)
    assert "The picture cannot be shown: no SVG" in Reader((run_copy / "report.html").read_text()).text
    (run_copy / "descent-compare.json").write_text("[]")
    outcome = edgegd_command("report", run_copy)
    assert outcome.code == 53 and "edgegd descent compare" in outcome.err and "Traceback" not in outcome.err


def test_a_folder_without_telemetry_says_so(edgegd_command: Command, run_copy: Path) -> None:
    (run_copy / "descent.jsonl").unlink()
    (run_copy / "passes.json").unlink()
    outcome = edgegd_command("report", run_copy)
    assert outcome.code == 0, outcome.err
    page = Reader((run_copy / "report.html").read_text())
    assert "There is no telemetry of the steps. descent.jsonl is not in this folder" in page.text
    assert "Not in this folder, which may be of an earlier version: Passes of the edge file." in page.text
    assert "loss" not in page.data["pictures"] and "accuracy" in page.data["pictures"]


def test_telemetry_of_an_earlier_version_has_the_pictures_that_it_allows(
    edgegd_command: Command, run_copy: Path
) -> None:
    rows = [json.loads(line) for line in (run_copy / "descent.jsonl").read_text().splitlines()]
    kept = ("step", "epoch", "loss", "box_loss", "cls_loss")
    (run_copy / "descent.jsonl").write_text("".join(json.dumps({key: row[key] for key in kept}) + "\n" for row in rows))
    assert edgegd_command("report", run_copy).code == 0
    page = Reader((run_copy / "report.html").read_text())
    assert {"loss"} <= set(page.data["pictures"]) and not {"rates", "gradient", "codes"} & set(page.data["pictures"])
    assert "No step was probed" in page.text


@pytest.fixture
def running(run_copy: Path) -> Path:
    """The folder as it is in the middle of QAT after a former run: later stages have left their files."""
    lines = (run_copy / "descent.jsonl").read_text().splitlines(keepends=True)
    (run_copy / "descent.jsonl").write_text(lines[0])
    (run_copy / "manifests/qat.json").unlink()
    return run_copy


def test_the_page_of_a_training_grows_with_its_lines(finished_run: Path, running: Path) -> None:
    lines = (finished_run / "descent.jsonl").read_text().splitlines(keepends=True)
    page = PageSoFar(RunFolder.open_existing(running), 10)
    first = Reader(page.html())
    assert (
        first.problems == []
        and "Stage qat: step 1, epoch 1 of 2. This page reloads itself every 10 seconds." in first.text
    )
    assert first.data["pictures"]["loss"]["panels"][0]["series"][0]["x"] == [1]
    assert "Which to ship" in first.text.partition("Not in this folder yet:")[2].partition("\n")[0]
    assert "mAP with intervals" not in first.text, "that is of the former run"
    assert page.html() is page.html(), "nothing is drawn twice"
    with (running / "descent.jsonl").open("a") as file:
        file.write(lines[1] + lines[2][:-20])
    assert Reader(page.html()).data["pictures"]["loss"]["panels"][0]["series"][0]["x"] == [1, 2]
    with (running / "descent.jsonl").open("a") as file:
        file.write(lines[2][-20:])
    assert Reader(page.html()).data["pictures"]["loss"]["panels"][0]["series"][0]["x"] == [1, 2, 3]


def test_epochs_so_far_come_from_the_checkpoint(running: Path) -> None:
    from safetensors.numpy import save_file

    record = {"epochs": [{"epoch": 1, "loss": 1.0, "parts": {"box_loss": 1.0}, "lr": 0.1, "map50_95": 0.25}]}
    content = {"record": record | {"start_map50_95": 0.2}}
    save_file({}, running / "qat-checkpoint.safetensors", {"edgegd.descent": json.dumps(content)})
    page = Reader(PageSoFar(RunFolder.open_existing(running), 10).html())
    assert page.data["pictures"]["loss"]["panels"][1]["series"][0]["y"] == [20.0, 25.0]
    (running / "qat-checkpoint.safetensors").write_bytes(b"half of")
    assert len(Reader(PageSoFar(RunFolder.open_existing(running), 10).html()).data["pictures"]["loss"]["panels"]) == 1


@pytest.mark.parametrize("stage", ["data", "ptq"])
def test_before_the_training_nothing_of_a_former_one_is_shown(running: Path, stage: str) -> None:
    (running / f"manifests/{stage}.json").unlink()
    page = Reader(PageSoFar(RunFolder.open_existing(running), 10).html())
    assert f"Stage {stage}: not finished." in page.text and page.data["pictures"] == {}


def test_a_finished_run_has_the_page_of_its_report(finished_run: Path, html: str) -> None:
    assert PageSoFar(RunFolder.open_existing(finished_run), 10).html() == html


def test_a_damaged_report_is_one_error(run_copy: Path) -> None:
    (run_copy / "report.json").write_text("{")
    with pytest.raises(MissingArtifactError):
        PageSoFar(RunFolder.open_existing(run_copy), 10).html()


def test_watching_changes_nothing(running: Path, contents: Callable[[Path], Any]) -> None:
    before = contents(running)
    PageSoFar(RunFolder.open_existing(running), 10).html()
    assert contents(running) == before


def test_a_report_of_an_earlier_version_is_shown_as_far_as_it_goes(run_copy: Path) -> None:
    report = json.loads((run_copy / "report.json").read_text())
    for key in ("passes", "latency_pairs", "devices"):
        del report[key]
    (run_copy / "report.json").write_text(json.dumps(report))
    page = Reader(PageSoFar(RunFolder.open_existing(run_copy), 10).html())
    assert "earlier version: Proved on the devices; Passes of the edge file." in page.text
    shutil.rmtree(run_copy / "manifests")
    assert "Stage data" in PageSoFar(RunFolder.open_existing(run_copy), 10).html()
