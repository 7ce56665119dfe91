"""`edgegd operating-point`, by the command. Oracle: models that find a known part of the boxes, at known scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pycocotools")

from played_accuracy import make_set, play_run

from edgegd.report.draw import draw
from edgegd.report.operating_point import operating_blocks
from edgegd.report.picture import Picture

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images of two boxes, found at scores 0.9 and 0.5; PTQ finds those of 30 of them."""
    place = tmp_path_factory.mktemp("operating")
    return play_run(place / "run", make_set(place / "set", 40), {"fp32": 0, "ptq": 10, "qat": 0}).path


def found(command: Command, *arguments: object) -> dict[str, Any]:
    outcome = command("operating-point", *arguments, "--json")
    assert outcome.code == 0, outcome.err
    result: dict[str, Any] = json.loads(outcome.out)
    return result


def test_both_models_stand_side_by_side_at_the_threshold(played: Path, edgegd_command: Command) -> None:
    result = found(edgegd_command, played, "--variant", "ptq", "--conf", "0.6")
    assert json.loads((played / "operating-point.json").read_text()) == result
    overall, cell, dust = result["classes"]
    assert [one["boxes"] for one in (overall, cell, dust)] == [80, 76, 4] and dust["name"] == "dust"
    assert overall["at"]["reference"]["recall"] == 0.5 and overall["at"]["model"]["recall"] == 30 / 80
    assert overall["at"]["model"]["precision"] == 1.0 and overall["keeping"]["precision"]["threshold"] < 0.5
    assert overall["keeping"]["recall"]["recall"] == 60 / 80  # at 0.9 are 30 of 80: FP32's 40 need those at 0.5 too
    low, high = overall["difference_intervals"]["recall"]
    assert low < -0.125 < high < 0
    assert dust["at"]["model"]["recall_interval"] is None and dust["shift"]["lost"] == 1
    assert result["sentence"].startswith("At scores above 0.6, PTQ has a precision of 100.0 % and a recall of 37.5 %")
    assert [one["boxes"] for one in result["sizes"]] == [80, 0, 0] and result["sizes"][1]["map50_95"] is None


def test_people_get_tables(played: Path, edgegd_command: Command) -> None:
    outcome = edgegd_command("operating-point", played)
    assert outcome.code == 0 and "At scores above 0.25, QAT has" in outcome.out
    for line in ("all classes", "dust", "false detections per image, up to", "(64 x 64)"):
        assert line in outcome.out


def test_the_free_response_curve_is_drawn_as_it_was_measured(played: Path, edgegd_command: Command) -> None:
    result = found(edgegd_command, played, "--variant", "ptq")
    (picture,) = [block for block in operating_blocks(result) if isinstance(block, Picture)]
    (panel,) = picture.panels
    for series, model in zip(panel.series, ("fp32", "ptq"), strict=True):
        rows = result["free_response"][model]
        assert list(series.x) == [row["false_per_image"] for row in rows]
        assert series.y == [row["sensitivity"] for row in rows]
        assert series.low is not None and list(series.low) == pytest.approx([row["interval"][0] for row in rows])
    assert panel.series[0].y[0] == 1.0 and panel.series[1].y[0] == 0.75
    svg, places = draw(picture)
    assert "sensitivity" in svg and len(places) == 1


def test_thresholds_that_cannot_be(played: Path, edgegd_command: Command) -> None:
    outcome = edgegd_command("operating-point", played, "--conf", "0.0005")
    assert outcome.code == 10 and "from 0.001 to 1" in outcome.err
    for wrong in ("-1", "1.5", "nan"):
        assert edgegd_command("operating-point", played, "--conf", wrong).code == 2
    result = found(edgegd_command, played, "--conf", "0.95")
    assert result["classes"][0]["at"]["model"]["precision"] is None
    assert result["classes"][0]["keeping"]["precision"] is None


def test_the_thresholds_travel_with_a_copy_of_the_edge_file(
    run_copy: Path, tmp_path: Path, edgegd_command: Command
) -> None:
    from edgegd.runtime import Detector

    before, shipped = (run_copy / "qat.edge.onnx").read_bytes(), tmp_path / "ship/detector.onnx"
    arguments = ("operating-point", run_copy, "--variant", "qat", "--conf", "0.01", "--keep", "f1", "--json")
    outcome = edgegd_command(*arguments, "--embed", shipped)
    kept = json.loads(outcome.out)["classes"][0]["keeping"]["f1"]
    if kept is None:  # the model of random weights found no box at all
        assert outcome.code == 10 and not shipped.exists()
    else:
        assert Detector(shipped, conf="recommended").conf == kept["threshold"]
        assert edgegd_command(*arguments, "--embed", shipped).code == 56  # a file that is there is not replaced
    assert (run_copy / "qat.edge.onnx").read_bytes() == before


def test_the_report_shows_it_until_the_run_has_other_detections(run_copy: Path, edgegd_command: Command) -> None:
    assert edgegd_command("report", run_copy).code == 0
    assert "## Operating point" not in (run_copy / "report.md").read_text()
    result = found(edgegd_command, run_copy, "--conf", "0.01")
    outcome = edgegd_command("report", run_copy)
    assert outcome.code == 0 and "report: done" in outcome.err
    text = (run_copy / "report.md").read_text()
    assert "## Operating point" in text and result["sentence"][:40] in text
    assert json.loads((run_copy / "report.json").read_text())["operating_point"] == result
    (run_copy / "operating-point.json").write_text(json.dumps(result | {"detections": "of other files"}))
    assert edgegd_command("report", run_copy).code == 0
    assert "## Operating point" not in (run_copy / "report.md").read_text()
