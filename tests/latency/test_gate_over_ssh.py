"""`edgegd gate` as a process of its own, here and through a real sshd: its verdict, and what an interrupt leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loopback_sshd import Device, wait_until
from processes import hears_interrupts

pytest.importorskip("onnx")

from edgegd.latency.measuring.recording import load_measurement

RECIPE = """\
version: 1
data: {source: streets, path: set, train_images: 1, val_images: 1}
gate: {quads: 2, block_s: 0.02, warmup_s: 5}
"""
Gate = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(params=["local", "ssh"])
def device(request: pytest.FixtureRequest) -> Device | None:
    return request.getfixturevalue("sshd_device") if request.param == "ssh" else None


@pytest.fixture
def start_gate(device: Device | None, make_model: Any, tmp_path: Path) -> Gate:
    """start_gate(candidate, baseline) -> the running command, on the device `board`."""
    environment = os.environ | {name: str(tmp_path / name) for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    environment["EDGEGD_DEVICE_LOCK"] = str(tmp_path / "lock")
    command = [sys.executable, "-m", "edgegd.cli.main"]
    url = ["local"] if device is None else [device.url, "--python", sys.executable, "--ssh-config", str(device.config)]
    subprocess.run([*command, "target", "add", "board", *url], check=True, env=environment, capture_output=True)

    def start(candidate: Path, baseline: Path) -> subprocess.Popen[str]:
        run = tmp_path / "run"
        run.mkdir()
        (run / "qat.edge.onnx").write_bytes(candidate.read_bytes())
        (run / "recipe.yaml").write_text(RECIPE)
        arguments = [
            "gate",
            str(run),
            "--baseline",
            str(baseline),
            "--target",
            "board",
            "--json",
            "--out",
            str(tmp_path / "gates"),
        ]
        return subprocess.Popen(
            [*command, *arguments],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=hears_interrupts,
        )

    return start


@pytest.mark.slow
def test_verdict(start_gate: Gate, make_model: Any) -> None:
    gate = start_gate(make_model("thrice", products=900), make_model("once", products=300))
    out, err = gate.communicate(timeout=400)
    answer = json.loads(out)
    assert gate.returncode == 90, err
    assert (answer["relative"][0]["verdict"], answer["relative"][0]["target"]) == ("REGRESSED", "board")
    measurement = load_measurement(Path(answer["folder"]) / "board.jsonl")
    assert measurement.complete and measurement.medians_ms()["candidate"] > 2 * measurement.medians_ms()["baseline"]


def workers_of(gate: subprocess.Popen[str], device: Device | None) -> list[int]:
    """The workers and the keeper of the lock that still run."""
    if device is not None:
        return device.programs()
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    return [pid for pid, parent in parents.items() if parent == gate.pid]


def test_an_interrupt_leaves_no_worker_and_keeps_the_samples(
    start_gate: Gate, device: Device | None, make_model: Any, tmp_path: Path
) -> None:
    gate = start_gate(make_model("first", products=300), make_model("second", products=300))

    def raw() -> list[Path]:
        return list((tmp_path / "gates").glob("*/board.jsonl"))

    wait_until(lambda: bool(raw()) and raw()[0].read_text().count('"kind": "block"') > 3, 120)
    running = workers_of(gate, device)
    assert len(running) >= 3, "two workers and the keeper of the lock"
    os.kill(gate.pid, signal.SIGINT)
    out, err = gate.communicate(timeout=60)
    assert gate.returncode == 130 and json.loads(out)["error"] == "InterruptedRunError"
    assert "is kept" in err and str(raw()[0].parent) in err
    wait_until(lambda: not [pid for pid in running if Path(f"/proc/{pid}/stat").exists()])
    partial = load_measurement(raw()[0])
    assert not partial.complete and len(partial.blocks) > 3
