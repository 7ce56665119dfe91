"""Which of PTQ and QAT to ship. Oracles: the rule as docs/design.md states it, and the records of a real run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgegd.report.blocks import as_text
from edgegd.report.ship import ship, ship_blocks, ship_lines, signed_points

AGAIN = "PTQ needs no labels and no training to be made again."
OPTIMISTIC = "The epoch of QAT was chosen on these same images, so the intervals are optimistic for QAT."


def accuracy(
    qat_vs_ptq: tuple[float, float, float],
    *,
    ptq_vs_fp32: tuple[float, float, float] = (-0.01, -0.02, 0.005),
    qat_vs_fp32: tuple[float, float, float] = (-0.02, -0.03, -0.01),
    labelled: int = 87,
) -> dict[str, Any]:
    """accuracy.json of 87 images with these differences and intervals, in 0..1."""
    pairs = {"qat_vs_ptq": qat_vs_ptq, "ptq_vs_fp32": ptq_vs_fp32, "qat_vs_fp32": qat_vs_fp32}
    return {
        "differences": {
            name: {key: {"difference": value, "interval": [low, high]} for key in ("map50_95", "map50")}
            for name, (value, low, high) in pairs.items()
        },
        "bootstrap": {
            "method": "percentile",
            "level": 0.95,
            "draws": 1000,
            "seed": 0,
            "images": 87,
            "labelled_images": labelled,
        },
    }


# Difference and interval, best epoch, labelled images -> model, reason, why.
VERDICTS: dict[str, tuple[tuple[float, float, float], int, int, str, str, str]] = {
    "better": (
        (0.006, 0.001, 0.011),
        3,
        87,
        "qat",
        "qat_better",
        "Ship QAT: +0.6 points of mAP50-95 over PTQ on 87 images (95 % interval +0.1 to +1.1).",
    ),
    "just better": (
        (0.006, 0.0001, 0.0121),
        3,
        87,
        "qat",
        "qat_better",
        "Ship QAT: +0.60 points of mAP50-95 over PTQ on 87 images (95 % interval +0.01 to +1.21).",
    ),
    "not shown": (
        (0.002, -0.003, 0.007),
        1,
        87,
        "ptq",
        "not_shown",
        "Ship PTQ: QAT is not shown to be better: +0.2 points of mAP50-95 over PTQ on 87 images "
        f"(95 % interval -0.3 to +0.7), which includes 0. {AGAIN}",
    ),
    "up to 0": (
        (0.002, 0.0, 0.007),
        1,
        87,
        "ptq",
        "not_shown",
        "Ship PTQ: QAT is not shown to be better: +0.2 points of mAP50-95 over PTQ on 87 images (95 % interval "
        f"0.0 to +0.7), which includes 0. {AGAIN}",
    ),
    "worse": (
        (-0.006, -0.011, -0.001),
        2,
        87,
        "ptq",
        "ptq_better",
        "Ship PTQ: QAT is worse: -0.6 points of mAP50-95 over PTQ on 87 images (95 % interval -1.1 to -0.1).",
    ),
    "calibrated": (
        (0.0, 0.0, 0.0),
        0,
        87,
        "ptq",
        "calibrated",
        "Ship PTQ: the QAT file is the calibrated model, because no epoch was better.",
    ),
    "calibrated on few": (
        (0.0, 0.0, 0.0),
        0,
        4,
        "ptq",
        "calibrated",
        "Ship PTQ: the QAT file is the calibrated model, because no epoch was better.",
    ),
    "few": (
        (0.06, 0.01, 0.11),
        3,
        19,
        "ptq",
        "few_images",
        "Ship PTQ: QAT is not shown to be better: +6.0 points of mAP50-95 over PTQ on 87 images "
        "(95 % interval +1.0 to +11.0), but only 19 of the images have labels, and fewer than 20 are too few to "
        f"rely on the interval. {AGAIN}",
    ),
    "enough": (
        (0.06, 0.01, 0.11),
        3,
        20,
        "qat",
        "qat_better",
        "Ship QAT: +6.0 points of mAP50-95 over PTQ on 87 images (95 % interval +1.0 to +11.0).",
    ),
}


@pytest.mark.parametrize(("difference", "epoch", "labelled", "model", "reason", "why"), VERDICTS.values(), ids=VERDICTS)
def test_every_verdict_and_its_words(
    difference: tuple[float, float, float], epoch: int, labelled: int, model: str, reason: str, why: str
) -> None:
    verdict = ship(accuracy(difference, labelled=labelled), {"best_epoch": epoch})
    assert (verdict["model"], verdict["reason"], verdict["why"]) == (model, reason, why)
    assert (verdict["difference"], *verdict["interval"]) == difference
    assert (verdict["images"], verdict["labelled_images"], verdict["level"]) == (87, labelled, 0.95)
    lines = ship_lines(verdict)
    assert lines[0] == why and verdict["optimistic_for_qat"] == (OPTIMISTIC in lines) == (epoch > 0)
    assert json.loads(json.dumps(verdict)) == verdict


@pytest.mark.parametrize(
    ("interval", "labelled", "distinguishable"),
    [
        ((-0.02, 0.005), 87, False),
        ((-0.02, -0.001), 87, True),
        ((0.001, 0.02), 87, True),
        ((0.0, 0.02), 87, False),
        ((-0.02, -0.001), 19, False),
    ],
    ids=str,
)
def test_whether_each_can_be_distinguished_from_fp32(
    interval: tuple[float, float], labelled: int, distinguishable: bool
) -> None:
    of = accuracy((0.002, -0.003, 0.007), ptq_vs_fp32=(-0.01, *interval), labelled=labelled)
    verdict = ship(of, {"best_epoch": 1})
    assert verdict["vs_fp32"]["ptq"] == {
        "difference": -0.01,
        "interval": list(interval),
        "distinguishable": distinguishable,
    }
    assert verdict["vs_fp32"]["qat"]["distinguishable"] == (labelled == 87)
    (line,) = [line for line in ship_lines(verdict) if line.startswith("PTQ can")]
    assert line.startswith(
        "PTQ can be distinguished from FP32" if distinguishable else "PTQ cannot be distinguished from FP32"
    )


def test_the_models_against_fp32_in_words() -> None:
    lines = ship_lines(ship(accuracy((0.002, -0.003, 0.007)), {"best_epoch": 1}))
    assert lines[2:] == [
        "PTQ cannot be distinguished from FP32 on these images: -1.0 points (95 % interval -2.0 to +0.5).",
        "QAT can be distinguished from FP32 on these images: -2.0 points (95 % interval -3.0 to -1.0).",
    ]
    same_file = ship_lines(ship(accuracy((0.0, 0.0, 0.0)), {"best_epoch": 0}))
    assert [line.split()[0] for line in same_file] == ["Ship", "PTQ"]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.006, 0.001, 0.011], ["+0.6", "+0.1", "+1.1"]),
        ([0.0, -0.0, 0.0], ["0.0", "0.0", "0.0"]),
        ([0.0049, -0.0002, 0.01], ["+0.49", "-0.02", "+1.00"]),
        ([0.1, 0.00003, 0.2], ["+10.000", "+0.003", "+20.000"]),
        ([0.1, 1e-9, 0.2], ["+10.000", "+0.000", "+20.000"]),
    ],
    ids=str,
)
def test_a_bound_next_to_0_is_shown_with_its_sign(values: list[float], shown: list[str]) -> None:
    assert signed_points(values) == shown


@pytest.fixture(scope="module")
def report(finished_run: Path) -> dict[str, Any]:
    return dict(json.loads((finished_run / "report.json").read_text()))


def test_a_run_keeps_intervals_and_the_verdict(report: dict[str, Any], finished_run: Path) -> None:
    stored = json.loads((finished_run / "accuracy.json").read_text())
    descent = json.loads((finished_run / "descent.json").read_text())
    assert stored["bootstrap"] == {
        "method": "percentile",
        "level": 0.95,
        "draws": 1000,
        "seed": 0,
        "images": 4,
        "labelled_images": 4,
    }
    for variant in ("fp32", "ptq", "qat"):
        assert set(stored[variant]) == {"map50_95", "map50", "per_class", "images", "boxes", "intervals"}
        for key in ("map50_95", "map50"):
            low, high = stored[variant]["intervals"][key]
            assert 0 <= low <= high <= 1
        assert report["accuracy"][variant]["intervals"] == stored[variant]["intervals"]
    assert list(stored["differences"]) == ["qat_vs_ptq", "ptq_vs_fp32", "qat_vs_fp32"]
    for name, maps in stored["differences"].items():
        first, second = name.split("_vs_")
        for key, of_pair in maps.items():
            assert of_pair["difference"] == stored[first][key] - stored[second][key]
            assert of_pair["interval"][0] <= of_pair["interval"][1]
    assert (report["differences"], report["bootstrap"]) == (stored["differences"], stored["bootstrap"])
    assert report["ship"] == ship(stored, descent)
    assert report["ship"]["model"] == "ptq", "four images decide nothing"


def test_the_section_shows_every_model_and_difference(report: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(report)) | accuracy((0.006, 0.001, 0.011))
    changed["ship"] = ship(changed, {"best_epoch": 2})
    changed["accuracy"]["qat"] |= {"map50_95": 0.5436, "intervals": {"map50_95": [0.51, 0.5777], "map50": [0.8, 0.9]}}
    text = as_text(ship_blocks(changed), "github")
    assert text.startswith(
        "Ship QAT: +0.6 points of mAP50-95 over PTQ on 87 images (95 % interval +0.1 to +1.1). "
        f"{OPTIMISTIC} PTQ cannot be distinguished from FP32"
    )
    rows = [[part.strip() for part in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows] == [
        "onnxruntime",
        "FP32",
        "PTQ",
        "QAT",
        "difference in points",
        "QAT - PTQ",
        "PTQ - FP32",
        "QAT - FP32",
    ]
    assert rows[3][1] == "54.4 [51.0, 57.8]" and rows[5][1:] == ["+0.6 [+0.1, +1.1]"] * 2
    assert "1000 times 87 images were drawn with replacement (seed 0)" in text


def test_run_prints_the_verdict_last_and_json_has_it(
    report: dict[str, Any], run_copy: Path, tiny_recipe: Path, edgegd_command: Callable[..., Any]
) -> None:
    printed = edgegd_command("run", tiny_recipe, "--run-dir", run_copy).out.rstrip().splitlines()
    lines = ship_lines(report["ship"])
    reports = [str(run_copy / name) for name in ("report.html", "report.md")]
    assert printed[-len(lines) - 3 :] == [*lines, "", *reports]
    as_json = json.loads(edgegd_command("run", tiny_recipe, "--run-dir", run_copy, "--json").out)
    assert as_json["report"]["ship"] == report["ship"] and as_json["report"]["differences"] == report["differences"]


def test_an_epoch_chosen_on_other_images_is_not_optimistic() -> None:
    verdict = ship(accuracy((0.01, 0.005, 0.02)), {"best_epoch": 3}, apart=True)
    assert not verdict["optimistic_for_qat"] and OPTIMISTIC not in ship_lines(verdict)
    assert "The epoch of QAT was chosen on other images than these." in ship_lines(verdict)
