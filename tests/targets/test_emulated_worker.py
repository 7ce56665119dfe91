"""The worker on an emulated ARM64 CPU: its fingerprint and its numbers are those of that CPU's onnxruntime."""

from __future__ import annotations

import shlex
from contextlib import closing
from pathlib import Path

import onnxruntime
import pytest
from this_cpu import skip_without_emulation

from edgegd.device.fingerprint import fingerprint
from edgegd.device.latency_worker import PROTOCOL
from edgegd.errors import EmulatedTargetError, EmulationError
from edgegd.targets.base import Target, require_real
from edgegd.targets.check import WORKER_FILE
from edgegd.targets.command import CommandTarget
from edgegd.targets.emulation_packages import FETCH_FAILED
from edgegd.targets.emulator import CPUS, prepare

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def raspberry_pi(tmp_path_factory: pytest.TempPathFactory) -> Target:
    skip_without_emulation()
    try:
        command, environment = prepare(CPUS["cortex-a76"], print)
    except EmulationError as error:
        if error.what != FETCH_FAILED:
            raise
        pytest.skip(str(error))
    prefix = ["env", *(f"{name}={value}" for name, value in environment.items()), *command]
    folder = tmp_path_factory.mktemp("emulated")
    return CommandTarget.of("pi5", f"command:{shlex.join(prefix)}", emulated=True, folder=str(folder))


def test_the_worker_reports_the_fingerprint_of_the_emulated_cpu(raspberry_pi: Target) -> None:
    with closing(raspberry_pi.start_worker(WORKER_FILE)) as worker:
        worker.send({"hello": PROTOCOL})
        answer = worker.receive(600)
    found = fingerprint(answer["machine"])
    assert found["architecture"] == "aarch64" and "Cortex-A76" in found["cpu"]
    assert "asimddp" in found["instruction_sets"] and found["onnxruntime"] == onnxruntime.__version__
    assert answer["protocol"] == PROTOCOL and answer["state"]["clocks_ns"]["monotonic"] > 0


def test_it_runs_a_model_for_correctness_but_its_latency_is_refused(raspberry_pi: Target, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    values = [helper.make_tensor_value_info(name, kind, [1, 8]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", values[:1], values[1:])
    model = tmp_path / "relu.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    with closing(raspberry_pi.start_worker(WORKER_FILE)) as worker:
        worker.send(
            {
                "configure": {
                    "model": raspberry_pi.deliver(model),
                    "threads": 1,
                    "spinning": False,
                    "optimization": "all",
                    "seed": 0,
                    "input": None,
                }
            }
        )
        assert worker.receive(600)["ready"] is True
        worker.send({"burst": 2})
        assert len(worker.receive(600)["durations_ns"]) == 2
    with pytest.raises(EmulatedTargetError):
        require_real(raspberry_pi)


def test_check_of_an_emulated_device(raspberry_pi: Target) -> None:
    items = {item.subject: item for item in raspberry_pi.check()}
    assert items["onnxruntime"].found == onnxruntime.__version__
    assert not [item for item in items.values() if item.level == "missing"]
