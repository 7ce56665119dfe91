"""Our own latency regression test: the edge file that this code exports, against the one that it exported before.

Run by `make latency-test`, on a machine where nothing else runs. A change that makes the edge file faster on purpose
is followed by `edgegd baseline set runs/latency-test --file ptq.edge.onnx --name streets-yolo26n --force
--dir tests/latency/baselines`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "runs/latency-test"


@pytest.fixture(scope="module")
def edge_file() -> Path:
    """The PTQ edge file of the shipped checkpoint: the descent would change its values, not its graph."""
    command = [
        sys.executable,
        "-m",
        "edgegd.cli.main",
        "run",
        "streets/yolo26n",
        "--run-dir",
        str(RUN),
        "--until",
        "export",
        "--set",
        "train.epochs=1",
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    return RUN / "ptq.edge.onnx"


def test_our_edge_file_is_no_slower_than_before(edge_file: Path, latency_gate: Callable[..., Any]) -> None:
    latency_gate(edge_file, baseline="streets-yolo26n", root=ROOT / "tests/latency/baselines")
