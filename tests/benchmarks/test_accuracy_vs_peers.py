"""The comparison with peers: what is measured, stored and shown. Oracle: files, detections and entries made by hand."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("pycocotools")
pytest.importorskip("tabulate")

import accuracy_vs_peers
from peers.accuracy_table import (
    EXACT,
    HEADERS,
    PAGE_HEADERS,
    SATURATED,
    SHIPPED,
    accuracy_lines,
    newest,
    page_lines,
    with_shipped,
)
from peers.comparison_sets import SETS, ComparisonSet, chosen_sets
from peers.detect import detections, in_openvino, read_detections, write_detections
from peers.making import StepFailedError, make
from peers.measuring import Bench
from peers.rows import CONTROLS, REFERENCE, REFINEMENTS, ROWS, Row, Steps
from result_file import ResultFile

from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.device.profile import Machine
from edgegd.recipe.load import load_recipe
from edgegd.recipe.schema import AccuracySection
from edgegd.runtime.detector import Detections
from edgegd.runtime.images import read_image


def found(boxes: list[list[float]], class_ids: list[int], names: tuple[str, ...] = ("a", "b")) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, len(boxes), dtype=np.float32),
        np.array(class_ids, np.int64),
        names,
    )


def test_steps_are_costed_and_not_run_twice(tmp_path: Path) -> None:
    log = tmp_path / "ran"
    code = f"import time; x = bytearray(700 << 20); time.sleep(0.3); open({str(log)!r}, 'a').write('x')"
    steps: Steps = [("first", [sys.executable, "-c", code]), ("second", [sys.executable, "-c", "pass"])]
    done = make(steps, tmp_path / "row-0")
    assert 0.3 <= done["first"]["seconds"] < 60 and done["first"]["peak_mb"] >= 700
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # a step's peak is never below it
    assert done["second"]["peak_mb"] < own + 100 and done["second"]["cpu_seconds"] >= 0
    assert make(steps, tmp_path / "row-0") == done and log.read_text() == "x"
    changed: Steps = [("first", [sys.executable, "-c", code, "other"]), steps[1]]
    assert make(changed, tmp_path / "row-0")["first"]["command"][-1] == "other" and log.read_text() == "xx"


def test_a_killed_step_runs_again_and_is_marked(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    code = (
        f"import pathlib, time; marker = pathlib.Path({str(marker)!r}); again = marker.exists(); marker.touch();"
        " time.sleep(0 if again else 60)"
    )
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'benchmarks'); from peers.making import make;"
        f" make([('long', [sys.executable, '-c', {code!r}])], Path({str(tmp_path / 'row-0')!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=accuracy_vs_peers.ROOT)
    deadline = time.monotonic() + 60
    while not marker.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    record = json.loads((tmp_path / "row-0.steps.json").read_text())
    assert "seconds" not in record["long"]
    done = make([("long", record["long"]["command"])], tmp_path / "row-0")
    assert done["long"]["interrupted"] and done["long"]["seconds"] < 30


def test_a_failing_step_names_its_log(tmp_path: Path) -> None:
    with pytest.raises(StepFailedError, match=r"exit code 3; its output is in .*row-0\.log"):
        make([("bad", [sys.executable, "-c", "print('why'); raise SystemExit(3)"])], tmp_path / "row-0")
    assert (tmp_path / "row-0.log").read_text() == "why\n"
    assert "seconds" not in json.loads((tmp_path / "row-0.steps.json").read_text())["bad"]


def test_detections_survive_their_file(tmp_path: Path) -> None:
    images = [found([[0, 1, 2, 3], [4, 5, 6, 7]], [0, 1]), found([], []), found([[8, 9, 10, 11]], [1])]
    write_detections(tmp_path / "d.npz", images, {"convs": 3})
    read, facts = read_detections(tmp_path / "d.npz", ("a", "b"))
    assert facts == {"convs": 3} and [len(one) for one in read] == [2, 0, 1]
    for one, other in zip(images, read, strict=True):
        for name in ("xyxy", "scores", "class_ids"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("kind", ["raw", "end2end"])
def test_outputs_of_both_kinds_are_boxes_of_the_image(kind: str, tiny_set: Path) -> None:
    image = next(iter((tiny_set / "images/val").iterdir()))
    height, width = read_image(image).shape[:2]
    gain = 64 / max(height, width)
    if kind == "raw":  # centre, size, two scores; the second place is empty
        output = np.zeros((1, 6, 2), np.float32)
        output[0, :, 0] = [32, 32, 16, 8, 0.1, 0.8]
    else:
        output = np.zeros((1, 2, 6), np.float32)
        output[0, 0] = [24, 28, 40, 36, 0.8, 1]
    (one,) = detections(lambda _: output, (image,), ("a", "b"), (64, 64), AccuracySection(conf=0.5))
    expected = [width / 2 - 8 / gain, height / 2 - 4 / gain, width / 2 + 8 / gain, height / 2 + 4 / gain]
    np.testing.assert_allclose(one.xyxy, [expected], atol=1 / gain)
    assert one.class_ids.tolist() == [1]


def test_openvino_in_float_multiplies_what_saturates_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = pytest.importorskip("openvino", reason="openvino is not installed (edgegd[bench])")
    ops = openvino.opset13
    image = ops.parameter([1, 2, 4, 4], np.float32, "images")
    limits = [ops.constant(np.float32(value)) for value in (0, 255, 0, 255)]
    codes = ops.constant(np.full((8, 2, 1, 1), 127, np.int8))
    weight = ops.multiply(ops.convert(codes, np.float32), ops.constant(np.ones((8, 1, 1, 1), np.float32)))
    quantized = ops.fake_quantize(image, *limits, 256)
    output = ops.convolution(quantized, weight, [1, 1], [0, 0], [0, 0], [1, 1])
    openvino.save_model(openvino.Model([output], [image]), tmp_path / "m.xml", compress_to_fp16=False)
    monkeypatch.setattr("peers.detect.this_machine", lambda: Machine("an old CPU", SATURATED))
    network, census = in_openvino(tmp_path / "m.xml", "exact")
    assert census["convs"] == 1 and (network(np.full((1, 2, 4, 4), 255, np.float32)) == 2 * 127 * 255).all()


@pytest.mark.parametrize("of", SETS.values(), ids=lambda of: of.name)
def test_every_row_is_a_valid_recipe_of_every_set(of: ComparisonSet, tmp_path: Path) -> None:
    bench = Bench(of, tmp_path, "PEERS")
    for row in ROWS.values():
        for name, command in row.steps(of.recipe, of.overrides, of.weights, of.data, 1, tmp_path, "PEERS"):
            overrides = [value for flag, value in pairwise(command) if flag == "--set"]
            recipe = load_recipe(of.recipe, overrides)
            assert name != "qat" or recipe.train.seed == 1
            assert not row.name.endswith("x86-avx2") or not overrides or recipe.target.profile == "x86-avx2"
            shown = bench._shown(command)  # what is committed names no folder of the machine that measured
            assert str(accuracy_vs_peers.ROOT) not in shown and str(tmp_path) not in shown
            assert (command[0] == "PEERS") == (row.script in ("make_onnx.py", "make_openvino.py", "make_other.py"))
    chosen = [name for name in ROWS if name not in CONTROLS]
    profiles = ("x86-vnni", "x86-avx2")
    assert {f"edgegd-ptq-{refine}-{profile}" for refine, profile in product(REFINEMENTS, profiles)} <= {*chosen}
    assert chosen[0] == REFERENCE and {"nncf", "ultralytics-ptq", "ultralytics-qat", "onnxruntime-entropy"} <= {*chosen}


class CopyRow(Row):
    """A row whose file says which of the detections below it has."""

    def steps(
        self, recipe: str, overrides: Any, weights: Path, data: Path, seed: int, folder: Path, peer_python: str
    ) -> Steps:
        code = "import pathlib, sys; f = pathlib.Path(sys.argv[1]); f.parent.mkdir(); f.write_text(sys.argv[2])"
        return [("make", [sys.executable, "-c", code, str(folder / "best.onnx"), self.name])]


@pytest.fixture
def bench(tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench whose FP32 finds every box and whose other rows find those of the first two images."""
    (tmp_path / "weights.pt").touch()
    of = ComparisonSet(
        "streets",
        "streets/yolo26n",
        tmp_path / "weights.pt",
        tiny_set,
        settings=("data.train_images=8", "data.val_images=4"),
    )

    def detect(self: Bench, file: Path, arithmetic: str, stored: Path) -> None:
        truth: GroundTruth = self.set.truth
        keep = 4 if file.read_text() == REFERENCE else 2
        boxes = [
            found(boxes.tolist() if index < keep else [], ids.tolist() if index < keep else [], truth.names)
            for index, (boxes, ids) in enumerate(zip(truth.boxes, truth.class_ids, strict=True))
        ]
        write_detections(stored, boxes, {"int8_convs": 1, "convs": 2})

    monkeypatch.setattr(Bench, "_detect", detect)
    monkeypatch.setitem(ROWS, REFERENCE, CopyRow(REFERENCE))
    return Bench(of, tmp_path / "work", "PEERS")


def test_a_row_has_its_interval_and_its_difference_to_fp32(bench: Bench) -> None:
    (entry,) = bench.measure(CopyRow("worse"), 0)  # makes FP32 for the comparison
    (fp32,) = bench.measure(ROWS[REFERENCE], 0)
    assert fp32["map50_95"] == pytest.approx(1.0) and fp32["differences"] == {}
    low, high = fp32["interval"]["map50_95"]
    assert low == pytest.approx(1.0) and high == pytest.approx(1.0)
    value, low, high = entry["differences"][REFERENCE]["map50_95"]
    assert value == pytest.approx(entry["map50_95"] - 1) and low < value < high <= 1e-9
    shown = entry["steps"]["make"]["command"]
    assert shown.startswith("python -c ") and shown.endswith(" WORK/streets/worse-0/best.onnx worse")
    assert entry["steps"]["make"]["peak_mb"] == entry["peak_mb"] > 0 and entry["images"] == 4
    assert (entry["int8_convs"], entry["convs"]) == (1, 2)
    bench.discard(CopyRow("worse"), 0)
    assert [path.name for path in bench.folder.iterdir() if path.is_dir()] == [f"{REFERENCE}-0"]


def test_rows_are_measured_once_for_each_checkpoint(tmp_path: Path, bench: Bench) -> None:
    path, row = tmp_path / "r.json", CopyRow("worse")
    accuracy_vs_peers.store(path, [bench.set.identity | entry for entry in bench.measure(row, 0)])
    results = ResultFile("any", path)
    assert accuracy_vs_peers.is_measured(results, bench.set, row, 0)
    assert not accuracy_vs_peers.is_measured(results, bench.set, row, 1)
    assert {"cpu", "onnxruntime"} <= set(results.entries[0]["machine"]) and results.entries[0]["commit"]
    bench.set.weights.write_bytes(b"other")
    other = ComparisonSet("streets", bench.set.recipe, bench.set.weights, bench.set.data, settings=bench.set.settings)
    assert not accuracy_vs_peers.is_measured(results, other, row, 0)
    accuracy_vs_peers.store(path, [other.identity | {"row": "worse", "seed": 1}])
    assert [entry["seed"] for entry in ResultFile("any", path).entries] == [1]  # the other checkpoint's is gone
    accuracy_vs_peers.store(path, [other.identity | {"row": "worse", "seed": 0}])
    assert [entry["seed"] for entry in ResultFile("any", path).entries] == [1, 0]


def test_an_absent_set_is_left_out_with_a_note(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "benchmarks/accuracy_vs_peers.py",
        "--sets",
        "bccd",
        "--weights",
        f"bccd={tmp_path / 'no.pt'}",
        "--result",
        str(tmp_path / "r.json"),
        "--work",
        str(tmp_path / "w"),
    ]
    done = subprocess.run(command, cwd=accuracy_vs_peers.ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and f"bccd is left out: there is no {tmp_path / 'no.pt'}" in done.stderr
    assert [*tmp_path.iterdir()] == []
    wrong = subprocess.run([*command[:5], "bcd=x"], cwd=accuracy_vs_peers.ROOT, capture_output=True, text=True)
    assert wrong.returncode == 2 and f"one of the sets {', '.join(SETS)}, not bcd" in wrong.stderr
    (streets,) = chosen_sets(["streets"], {}, {"streets": tmp_path / "drawn later"}, [])
    assert streets.absent() == []


def entry(
    row: str,
    seed: int,
    map50_95: float,
    arithmetic: str = EXACT,
    *,
    date: str = "2026-01-01",
    difference: tuple[float, float, float] | None = None,
) -> dict[str, Any]:
    differences = {"differences": {REFERENCE: {"map50_95": [*difference]}}} if difference else {}
    return {
        "set": "bccd",
        "row": row,
        "file": "best",
        "arithmetic": arithmetic,
        "seed": seed,
        "map50_95": map50_95,
        "map50": 0.8,
        "int8_convs": 99,
        "convs": 102,
        "seconds": 90,
        "date": date,
        **differences,
    }


def test_tables_show_means_seeds_and_the_widest_interval() -> None:
    entries = [
        entry("ultralytics-qat", 1, 0.52, difference=(0.02, -0.01, 0.03)),
        entry(REFERENCE, 0, 0.5),
        entry("ultralytics-qat", 0, 0.51, difference=(0.01, -0.02, 0.02)),
        entry("ultralytics-qat", 0, 0.4, SATURATED),
    ]
    exact, saturated = (line for line in accuracy_lines(entries) if line[1] == "ultralytics-qat/best")
    assert exact[:6] == ["bccd", "ultralytics-qat/best", EXACT, "51.50", "51.00 52.00", "+1.50 (-2.00 to +3.00)"]
    assert len(exact) == len(HEADERS) and len(page_lines(entries)[0]) == len(PAGE_HEADERS)
    assert exact[-2:] == ["1.5", ""] and saturated[2:4] == [SATURATED, "40.00"]
    assert page_lines(entries) == [
        ["bccd", f"FP32 (`{REFERENCE}/best`)", "50.00", "50.00", "", "", "99 of 102"],
        [
            "bccd",
            "Ultralytics QAT (`ultralytics-qat/best`)",
            "51.50",
            "51.00 52.00",
            "+1.50 (-2.00 to +3.00)",
            "40.00",
            "99 of 102",
        ],
    ]


def test_each_row_is_of_the_machine_measured_last() -> None:
    old = [entry(REFERENCE, 0, 0.5), entry("nncf", 0, 0.4, date="2026-03-01"), entry("ultralytics-float", 0, 0.3)]
    new = [entry(REFERENCE, 0, 0.6, date="2026-02-01"), entry("nncf", 0, 0.7, date="2026-02-01")]
    for machines in ([old, new], [new, old]):
        chosen = {one["row"]: one["map50_95"] for one in newest(machines)}
        assert chosen == {REFERENCE: 0.6, "nncf": 0.4, "ultralytics-float": 0.3}


def test_what_the_report_ships_is_a_row_of_its_own() -> None:
    def entry(file: str, seed: int, value: float, gain: tuple[float, float, float] | None = None) -> dict[str, Any]:
        differences = {"ptq": {"map50_95": list(gain)}} if gain else {}
        return {"set": "s", "row": "edgegd-qat-x86-vnni", "file": file, "arithmetic": EXACT, "seed": seed,
                "map50_95": value, "map50": value, "differences": differences, "int8_convs": 1, "convs": 1,
                "seconds": 60.0}  # fmt: skip

    entries = [entry("ptq", 0, 0.40), entry("qat", 0, 0.45, (0.05, 0.01, 0.09)),
               entry("ptq", 1, 0.41), entry("qat", 1, 0.42, (0.01, -0.01, 0.03)),
               entry("qat", 2, 0.50, (0.1, 0.05, 0.15))]  # fmt: skip
    shipped = [one for one in with_shipped(entries) if one["file"] == SHIPPED]
    assert [(one["seed"], one["map50_95"]) for one in shipped] == [(0, 0.45), (1, 0.41)]
    assert with_shipped(entries)[: len(entries)] == entries
    (line,) = [line for line in page_lines(entries) if "what its report ships" in line[1]]
    assert line[3] == "45.00 41.00" and "`edgegd-qat-x86-vnni/shipped`" in line[1]
