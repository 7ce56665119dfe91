"""measure() on this machine with real workers, and on a scripted target for the order of what it does."""

from __future__ import annotations

import hashlib
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgegd.errors import OnnxUnreadableError, WorkerError
from edgegd.latency.fingerprint import fingerprint
from edgegd.latency.measure import block_order, measure
from edgegd.latency.result import Block
from edgegd.latency.worker import machine_facts
from edgegd.recipe.schema import LatencySection
from edgegd.targets.local import LocalTarget
from edgegd.targets.process import WorkerProcess

QUICK = LatencySection(launches=2, blocks=2, block_s=0.02, warmup_s=0.05)


@pytest.fixture
def models(make_model: Any) -> dict[str, Path]:
    return {"fp32": make_model("slow", products=400), "ptq": make_model("middle", products=40),
            "qat": make_model("quick", products=4)}


@dataclass
class Recording:
    """LocalTarget that remembers its workers and every message, and can kill the next worker that is asked to run."""

    name: str = "local"
    log: list[tuple[str, str]] = field(default_factory=list)
    workers: list[WorkerProcess] = field(default_factory=list)
    kill_on: str = ""

    def deliver(self, file: Path) -> str:
        return LocalTarget().deliver(file)

    def start_worker(self, worker_file: Path) -> RecordedWorker:
        self.workers.append(LocalTarget().start_worker(worker_file))
        return RecordedWorker(self, self.workers[-1])


@dataclass
class RecordedWorker:
    target: Recording
    inner: WorkerProcess
    model: str = ""

    def send(self, message: dict[str, Any]) -> None:
        kind = next(iter(message))
        self.model = Path(message["configure"]["model"]).stem if kind == "configure" else self.model
        self.target.log.append((kind, self.model))
        if kind == self.target.kill_on:
            os.kill(self.inner.pid, signal.SIGKILL)
        self.inner.send(message)

    def receive(self, timeout_s: float) -> dict[str, Any]:
        answer = self.inner.receive(timeout_s)
        self.target.log.append(("answered", self.model))
        return answer

    def close(self) -> None:
        self.inner.close()


def alive(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_result_of_real_workers(models: dict[str, Path]) -> None:
    seen: list[tuple[Block, int, int]] = []
    result = measure(models, QUICK, LocalTarget(), progress=lambda *step: seen.append(step))
    assert list(result.models) == ["fp32", "ptq", "qat"] and result.target == "local"
    assert result.fingerprint == fingerprint(machine_facts())
    assert result.settings == QUICK and isinstance(result.stable, bool)
    assert [done for _, done, _ in seen] == list(range(1, 13)) and {total for _, _, total in seen} == {12}
    assert tuple(block for block, _, _ in seen) == result.blocks
    for name, latency in result.models.items():
        assert latency.samples == sum(len(b.durations_ns) for b in result.blocks if b.model == name)
        assert latency.median_ms <= latency.p90_ms <= latency.p99_ms


@dataclass(frozen=True)
class Played:
    """A target whose workers are objects here: inferences take a known time, and warm-ups are stable as told."""

    durations_ns: dict[str, list[int]]
    unstable: str = ""
    name: str = "played"

    def deliver(self, file: Path) -> str:
        return str(file)

    def start_worker(self, worker_file: Path) -> PlayedWorker:
        return PlayedWorker(self)


@dataclass
class PlayedWorker:
    target: Played
    model: Path = Path()
    answer: dict[str, Any] = field(default_factory=dict)

    def send(self, message: dict[str, Any]) -> None:
        if "configure" in message:
            asked = message["configure"]
            self.model = Path(asked["model"])
            session = {"threads": min(asked["threads"], 4), "spinning": asked["spinning"]}
            self.answer = {"model_sha256": hashlib.sha256(self.model.read_bytes()).hexdigest(), "session": session,
                           "machine": machine_facts()}
        elif "warm_up" in message:
            self.answer = {"stable": self.model.stem != self.target.unstable}
        else:
            self.answer = {"durations_ns": self.target.durations_ns[self.model.stem]}

    def receive(self, timeout_s: float) -> dict[str, Any]:
        return self.answer

    def close(self) -> None:
        self.answer = {}


DURATIONS_NS = {"slow": [40_000_000] * 9 + [80_000_000], "middle": [32_000_000] * 3, "quick": [16_000_000] * 5}


def test_durations_of_the_workers_become_the_result(models: dict[str, Path]) -> None:
    result = measure(models, QUICK, Played(DURATIONS_NS))
    assert {name: round(m.speedup_vs_fp32, 9) for name, m in result.models.items()} == {
        "fp32": 1.0, "ptq": 1.25, "qat": 2.5}
    assert (result.models["fp32"].median_ms, result.models["fp32"].p99_ms) == (40.0, 80.0)
    assert {name: m.samples for name, m in result.models.items()} == {"fp32": 40, "ptq": 12, "qat": 20}
    assert result.models["qat"].model_sha256 == hashlib.sha256(models["qat"].read_bytes()).hexdigest()
    assert result.stable is True and result.target == "played"


def test_one_unstable_warm_up_makes_the_result_unstable(models: dict[str, Path]) -> None:
    assert measure(models, QUICK, Played(DURATIONS_NS, unstable="middle")).stable is False


def test_options_that_the_session_did_not_take_are_an_error(models: dict[str, Path]) -> None:
    with pytest.raises(WorkerError, match="did not take the session options"):
        measure(models, LatencySection(threads=8), Played(DURATIONS_NS))


def test_blocks_alternate_mirrored_and_across_launches(models: dict[str, Path]) -> None:
    result = measure(models, LatencySection(launches=2, blocks=3, block_s=0.01, warmup_s=0), LocalTarget())
    order = ["".join(b.model[0] for b in result.blocks[i:i + 3]) for i in range(0, 18, 3)]
    assert order == ["fpq", "qpf", "fpq", "qpf", "fpq", "qpf"]
    assert [b.launch for b in result.blocks] == [0] * 9 + [1] * 9


def test_two_models_run_abba() -> None:
    assert [block_order(["A", "B"], i) for i in range(4)] == [["A", "B"], ["B", "A"], ["A", "B"], ["B", "A"]]


def test_never_two_workers_at_work_and_fresh_ones_each_launch(models: dict[str, Path]) -> None:
    target = Recording()
    measure(models, QUICK, target)
    requests = target.log[0::2]
    assert all(kind == "answered" for kind, _ in target.log[1::2]), "each request is answered before the next"
    assert [model for _, model in requests] == [model for _, model in target.log[1::2]]
    start = [("configure", "slow"), ("warm_up", "slow"), ("configure", "middle"), ("warm_up", "middle"),
             ("configure", "quick"), ("warm_up", "quick")]
    assert requests[:6] == start and requests[12:18] == start
    assert len({worker.pid for worker in target.workers}) == 6
    assert not any(alive(worker.pid) for worker in target.workers)


def test_worker_killed_in_a_run_is_an_error_and_the_others_are_ended(models: dict[str, Path]) -> None:
    target = Recording(kill_on="run")
    with pytest.raises(WorkerError, match="signal 9"):
        measure(models, QUICK, target)
    assert len(target.workers) == 3 and not any(alive(worker.pid) for worker in target.workers)


def test_interrupting_ends_every_worker(models: dict[str, Path]) -> None:
    target = Recording()

    def interrupt(block: Block, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(models, QUICK, target, progress=interrupt)
    assert len(target.workers) == 3 and not any(alive(worker.pid) for worker in target.workers)


def test_a_model_that_changes_between_launches_is_an_error(make_model: Any, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(make_model("before", products=2).read_bytes())

    def replace(block: Block, done: int, total: int) -> None:
        model.write_bytes(make_model("after", products=3).read_bytes())

    with pytest.raises(WorkerError, match="changed while it was being measured"):
        measure({"fp32": model}, QUICK, LocalTarget(), progress=replace)


def test_unusable_models_are_named(make_model: Any, tmp_path: Path) -> None:
    with pytest.raises(OnnxUnreadableError, match=r"missing\.onnx"):
        measure({"fp32": tmp_path / "missing.onnx"}, QUICK, LocalTarget())
    truncated = tmp_path / "truncated.onnx"
    truncated.write_bytes(make_model("whole").read_bytes()[:200])
    with pytest.raises(OnnxUnreadableError, match="cannot time this model"):
        measure({"fp32": truncated}, QUICK, LocalTarget())
