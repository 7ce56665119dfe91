"""What is said of other runtimes beside ours. Oracle: intervals written by hand."""

from __future__ import annotations

from typing import Any

import pytest

from edgegd.report.beside import beside_rivals, beside_sentences, beside_table, rival
from edgegd.report.blocks import as_text


def speed(value: float, low: float, high: float, ms: float = 10.0) -> dict[str, float]:
    return {"speedup": value, "speedup_low": low, "speedup_high": high, "median_ms": ms, "p90_ms": ms + 1}


def difference(value: float, low: float, high: float) -> dict[str, Any]:
    return {"difference": value, "interval": [low, high]}


FASTER, SLOWER, EQUAL = speed(1.2, 1.1, 1.3), speed(0.5, 0.4, 0.6), speed(1.0, 0.98, 1.02)
SAME, LESS, MORE = difference(-0.001, -0.004, 0.002), difference(-0.05, -0.06, -0.04), difference(0.02, 0.01, 0.03)


@pytest.mark.parametrize(
    ("of_speed", "of_map", "verdict", "accuracy"),
    [
        (FASTER, SAME, "faster", "same"),
        (FASTER, LESS, "faster", "less"),
        (FASTER, MORE, "faster", "more"),
        (SLOWER, SAME, "slower", "same"),
        (EQUAL, SAME, "undecided", "same"),
    ],
)
def test_verdicts_are_those_of_the_intervals(of_speed: Any, of_map: Any, verdict: str, accuracy: str) -> None:
    one = rival("ncnn", of_speed, of_map)
    assert (one["verdict"], one["accuracy"]) == (verdict, accuracy)


def stored(**others: tuple[dict[str, float], dict[str, Any]]) -> dict[str, Any]:
    """What is stored of a target on one thread, with these runtimes: their speed and their difference of mAP."""
    models = {"qat.edge": speed(1, 1, 1, 10), "fp32": speed(0.6, 0.5, 0.7, 17)}
    threads = {"1": {"models": models | {name: one[0] for name, one in others.items()}}}
    accuracy = {name: {"differences": {f"{name}_vs_qat": {"map50_95": one[1]}}} for name, one in others.items()}
    return {
        "edge": "qat.edge",
        "threads": threads,
        "versions": {name: "1.0" for name in others},
        "map50_95": {"qat.edge": 0.5, "fp32": 0.51}
        | {name: 0.5 + one[1]["difference"] for name, one in others.items()},
        "rivals": beside_rivals(threads, accuracy, "qat"),
    }


def test_a_faster_runtime_at_the_same_accuracy_is_named() -> None:
    (said,) = beside_sentences({"pi5": stored(mnn=(FASTER, LESS), ncnn=(FASTER, SAME), openvino=(SLOWER, SAME))})
    assert said == (
        "On pi5 with 1 thread ncnn is faster at the same accuracy: 1.20x [1.10, 1.30], mAP50-95 -0.1 [-0.4, +0.2] "
        "points; all compared with qat.edge."
    )


def test_a_faster_runtime_that_is_less_accurate_is_told_apart() -> None:
    (said,) = beside_sentences({"pi5": stored(mnn=(FASTER, LESS), openvino=(SLOWER, SAME), litert=(EQUAL, SAME))})
    assert said == (
        "On pi5 with 1 thread no other runtime is shown to be faster than qat.edge at the same accuracy; litert is as "
        "fast within 1.00x [0.98, 1.02]; mnn is faster but less accurate: 1.20x [1.10, 1.30], mAP50-95 -5.0 "
        "[-6.0, -4.0] points."
    )


def test_the_table_has_every_model_and_fp32_beside() -> None:
    lines = as_text([beside_table({"pi5": stored(ncnn=(SLOWER, MORE))})], "github").splitlines()[2:]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert [row[2] for row in rows] == ["qat.edge.onnx in onnxruntime", "fp32.onnx in onnxruntime", "ncnn (1.0)"]
    assert rows[1][3:] == ["17.00", "18.00", "0.60x [0.50, 0.70]", "51.0", "", ""]
    assert rows[2][5:] == ["0.50x [0.40, 0.60]", "52.0", "+2.0 [+1.0, +3.0]", "slower, more accurate"]
