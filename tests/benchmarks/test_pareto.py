"""The points of mAP against milliseconds and their picture. Oracle: entries written by hand."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")

from pareto import Point, draw, peer_files, points_of, pyplot
from result_file import ResultFile


def entry(**files: tuple[float, str]) -> dict[str, Any]:
    """A launch: name -> (median ms, hash), with `_` for a space."""
    named = {name.replace("_", " "): file for name, file in files.items()}
    return {
        "files": {name: {"median_ms": ms, "sha256": sha} for name, (ms, sha) in named.items()},
        "map50_95": {name: [0.5] for name in named},
    }


def test_one_float_file_under_two_labels_is_one_point_by_its_activation() -> None:
    points = points_of(
        [
            entry(
                edgegd_relu_fp32=(18.0, "f"),
                edgegd_auto_fp32=(20.0, "f"),
                edgegd_relu_edge=(7.0, "r"),
                openvino_relu_fp32=(17.0, "f"),
                peer=(30.0, "p"),
            )
        ]
    )
    assert [(point.name, point.median_ms) for point in points] == [
        ("edgegd relu edge", 7.0),
        ("openvino silu fp32", 17.0),
        ("edgegd silu fp32", 19.0),
        ("peer", 30.0),
    ]
    assert points[2].stored == ("edgegd relu fp32", "edgegd auto fp32")


def test_float_files_that_differ_keep_their_labels() -> None:
    points = points_of([entry(edgegd_relu_fp32=(18.0, "f"), edgegd_auto_fp32=(20.0, "g"))])
    assert [point.name for point in points] == ["edgegd silu fp32 (relu)", "edgegd silu fp32 (auto)"]


def test_numbers_lie_on_no_other_number_and_the_legend_has_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    monkeypatch.setattr(pyplot, "close", kept.append)
    points = [Point(f"edgegd {index}", (0.5,), 10 + index / 10) for index in range(6)]  # almost at one place
    draw({"set": points}, tmp_path / "pareto.png")
    (figure,) = kept
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.texts] == [str(number) for number in range(1, 7)]
    boxes = [text.get_window_extent() for text in axis.texts]
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [
        f"{index + 1}  edgegd {index}: {10 + index / 10:.1f} ms, 50.0" for index in range(6)
    ]


def test_peers_are_the_measured_onnx_files_of_the_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(
        row: str, seed: int, map50_95: float, arithmetic: str = "exact", of_set: str = "bccd"
    ) -> dict[str, Any]:
        return {
            "set": of_set,
            "row": row,
            "seed": seed,
            "file": "best",
            "arithmetic": arithmetic,
            "date": "2026-01-01",
            "map50_95": map50_95,
        }

    results = ResultFile("any", tmp_path / "any.json")
    results.entries = [
        measured("ultralytics-qat", 1, 0.2),
        measured("ultralytics-qat", 0, 0.1),
        measured("ultralytics-qat", 0, 0.3, "x86-avx2"),
        measured("nncf", 0, 0.4),
        measured("ultralytics-ptq", 0, 0.5),
        measured("ultralytics-fp32", 0, 0.6, of_set="streets"),
    ]
    monkeypatch.setattr(ResultFile, "of_all_machines", classmethod(lambda cls, name: [results]))
    file = tmp_path / "ultralytics-qat-0/best.onnx"
    file.parent.mkdir()
    file.touch()
    assert peer_files("bccd", tmp_path) == ({"ultralytics-qat": file}, {"ultralytics-qat": [0.1, 0.2]})
    assert "ultralytics-ptq is left out" in capsys.readouterr().err
