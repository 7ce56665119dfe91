"""`edgegd baseline` as a user types it. Oracle: the files that it leaves and the models that it was given."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")

import onnx

from edgegd.latency.baseline.baseline import Baseline
from edgegd.latency.baseline.history import HistoryEntry, append_history

Command = Callable[..., Any]


def save(path: Path, operators: tuple[str, ...], side: int = 16) -> Path:
    """A float model of a chain of operators that onnxruntime does not fuse."""
    helper, shape = onnx.helper, (1, 3, side, side)
    names = ["images", *(f"x{index}" for index in range(1, len(operators))), "output0"]
    nodes = [helper.make_node(operator, [names[index]], [names[index + 1]]) for index, operator in enumerate(operators)]
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("images", "output0")]
    graph = helper.make_graph(nodes, "chain", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "baselines"


@pytest.fixture
def shipped(edgegd_command: Command, tmp_path: Path, root: Path) -> Path:
    """A model that is the baseline `shipped`."""
    model = save(tmp_path / "shipped.onnx", ("Exp", "Neg"))
    outcome = edgegd_command("baseline", "set", model, "--name", "shipped", "--dir", root, "--note", "release 1.4")
    assert outcome.code == 0 and str(root / "shipped" / "model.onnx") in outcome.out, outcome.err
    return model


def test_set_and_ls_and_the_refusal_to_overwrite(edgegd_command: Command, shipped: Path, root: Path) -> None:
    listed = edgegd_command("baseline", "ls", "--dir", root).out.splitlines()[2]
    assert listed.startswith("shipped") and "images float32 (1, 3, 16, 16)" in listed and "release 1.4" in listed
    again = edgegd_command("baseline", "set", shipped, "--name", "shipped", "--dir", root)
    assert again.code == 26 and "--force" in again.err
    forced = edgegd_command("baseline", "set", shipped, "--name", "shipped", "--dir", root, "--force", "--json")
    assert json.loads(forced.out)["static"]["nodes"] == {"Exp": 1, "Neg": 1}


def test_a_damaged_baseline_is_listed_as_such(edgegd_command: Command, shipped: Path, root: Path) -> None:
    (root / "shipped" / "model.onnx").unlink()
    assert "damaged" in edgegd_command("baseline", "ls", "--dir", root).out
    found = json.loads(edgegd_command("baseline", "ls", "--dir", root, "--json").out)
    assert found["baselines"] == [] and "model.onnx" in found["damaged"]["shipped"]


def test_no_baselines_yet(edgegd_command: Command, root: Path) -> None:
    assert edgegd_command("baseline", "ls", "--dir", root).out == f"no baselines in {root}\n"
    assert json.loads(edgegd_command("baseline", "ls", "--dir", root, "--json").out) == {"baselines": [], "damaged": {}}


def test_a_run_folder_gives_its_edge_file_or_another_by_name(
    edgegd_command: Command, tmp_path: Path, root: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    missing = edgegd_command("baseline", "set", run, "--name", "edge", "--dir", root)
    assert missing.code == 53 and f"edgegd export {run}" in missing.err and not root.exists()
    save(run / "qat.edge.onnx", ("Exp",))
    save(run / "qat.onnx", ("Neg",))
    for name, options, operator in (("edge", (), "Exp"), ("portable", ("--file", "qat.onnx"), "Neg")):
        assert edgegd_command("baseline", "set", run, "--name", name, "--dir", root, *options).code == 0
        assert Baseline.load(name, root).static["nodes"] == {operator: 1}
    of_a_file = edgegd_command("baseline", "set", run / "qat.onnx", "--name", "x", "--file", "y", "--dir", root)
    assert of_a_file.code == 2 and "is no folder" in of_a_file.err


def test_diff_says_what_differs_and_what_would_fail(
    edgegd_command: Command, shipped: Path, root: Path, tmp_path: Path
) -> None:
    same = edgegd_command("baseline", "diff", "shipped", shipped, "--dir", root)
    assert same.out == f"{shipped} is the baseline shipped\n"
    other = save(tmp_path / "other.onnx", ("Exp", "Neg", "Abs"), side=32)
    found = json.loads(edgegd_command("baseline", "diff", "shipped", other, "--dir", root, "--json").out)
    rows = {one["what"]: one for one in found["differences"]}
    assert rows["inputs"] == {
        "what": "inputs",
        "baseline": "images float32 (1, 3, 16, 16)",
        "candidate": "images float32 (1, 3, 32, 32)",
        "fails": "another shape: cannot be gated",
    }
    assert rows["nodes: Abs"]["fails"] == "1 more Abs" and rows["nodes in float: Abs"]["fails"]
    assert rows["SHA-256"]["fails"] == "" and "nodes: Exp" not in rows
    assert "1 more Abs" in edgegd_command("baseline", "diff", "shipped", other, "--dir", root).out


def test_an_unknown_baseline_is_answered_by_those_that_exist(
    edgegd_command: Command, shipped: Path, root: Path
) -> None:
    for arguments in (("diff", "shiped", shipped), ("trend", "shiped")):
        outcome = edgegd_command("baseline", *arguments, "--dir", root, "--json")
        assert outcome.code == 94 and json.loads(outcome.out)["found"] == "shipped"


def test_trend_is_a_table_and_a_picture(edgegd_command: Command, shipped: Path, root: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "trend.png"
    nothing = edgegd_command("baseline", "trend", "shipped", "--dir", root, "--output", picture)
    assert nothing.out == "no gate against shipped yet\n" and not picture.exists()
    for day, fingerprint in ((1, "f"), (2, "f"), (3, "g")):
        append_history(
            Baseline.load("shipped", root),
            HistoryEntry(
                f"2026-01-0{day}T00:00:00+00:00",
                "pi5",
                fingerprint,
                10.0,
                10.0 + day,
                1 + day / 10,
                "REGRESSED",
                "c" * 64,
                "b" * 64,
            ),
        )
    lines = edgegd_command("baseline", "trend", "shipped", "--dir", root, "--output", picture).out.splitlines()
    assert len(lines) == 5 and "1.300" in lines[4] and lines[4].endswith("device or settings changed")
    assert "changed" not in lines[3] and picture.read_bytes().startswith(b"\x89PNG")
    stored = json.loads(edgegd_command("baseline", "trend", "shipped", "--dir", root, "--json").out)
    assert [one["ratio"] for one in stored["history"]] == [1.1, 1.2, 1.3]
