"""measure() on this machine with real workers, and on a scripted target for the order of what it does."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from played_target import PlayedTarget

from edgegd.device.fingerprint import fingerprint
from edgegd.device.latency_worker import machine_facts
from edgegd.errors import OnnxUnreadableError, WorkerError
from edgegd.latency.measuring.measure import measure
from edgegd.latency.measuring.record import Block, Design
from edgegd.recipe.schema import LatencySection
from edgegd.targets.local import LocalTarget
from edgegd.targets.process import WorkerProcess
from edgegd.targets.worker_protocol import WORKER_FILE, ask, configure

QUICK = LatencySection(launches=2, quads=1, block_s=0.02, warmup_s=0.05)


@pytest.fixture
def models(make_model: Any) -> dict[str, Path]:
    return {
        "fp32": make_model("slow", products=400),
        "ptq": make_model("middle", products=40),
        "qat": make_model("quick", products=4),
    }


@dataclass
class Recording:
    """LocalTarget that remembers its workers and every message, and can kill the next worker that is asked to run."""

    name: str = "local"
    emulated: bool = False
    log: list[tuple[str, str]] = field(default_factory=list)
    workers: list[WorkerProcess] = field(default_factory=list)
    kill_on: str = ""

    def deliver(self, file: Path) -> str:
        return LocalTarget().deliver(file)

    def lock(self) -> AbstractContextManager[None]:
        return LocalTarget().lock()

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
    session = result.fingerprint.pop("session")
    assert result.fingerprint.pop("inputs") == {"images": ["float32", 1, 64]}
    assert result.fingerprint == fingerprint(machine_facts())
    assert (session["threads"], session["spinning"], session["providers"]) == (1, False, ["CPUExecutionProvider"])
    assert result.settings == QUICK and isinstance(result.stable, bool)
    assert [done for _, done, _ in seen] == list(range(1, 13)) and {total for _, _, total in seen} == {12}
    assert tuple(block for block, _, _ in seen) == result.blocks
    for name, latency in result.models.items():
        assert latency.samples == sum(len(b.durations_ns) for b in result.blocks if b.model == name)
        assert latency.median_ms <= latency.p90_ms <= latency.p99_ms


DURATIONS_NS = {"slow": [40_000_000] * 9 + [80_000_000], "middle": [32_000_000] * 3, "quick": [16_000_000] * 5}


def played(**options: Any) -> PlayedTarget:
    return PlayedTarget(lambda model, launch: DURATIONS_NS[model], per_launch=3, **options)


def test_durations_of_the_workers_become_the_result(models: dict[str, Path]) -> None:
    result = measure(models, QUICK, played())
    assert {name: round(m.speedup, 9) for name, m in result.models.items()} == {
        "fp32": 1.0,
        "ptq": 1.25,
        "qat": 2.5,
    }
    assert (result.models["fp32"].median_ms, result.models["fp32"].p99_ms) == (40.0, 80.0)
    assert {name: m.samples for name, m in result.models.items()} == {"fp32": 40, "ptq": 12, "qat": 20}
    assert result.models["qat"].model_sha256 == hashlib.sha256(models["qat"].read_bytes()).hexdigest()
    assert result.stable is True and result.faults == () and result.target == "played"


def test_what_was_wrong_is_told_and_counts_all_the_same(models: dict[str, Path]) -> None:
    assert measure(models, QUICK, played(unstable=(1,))).stable is False
    throttled = measure(models, QUICK, played(throttled=(0,)))
    assert throttled.faults == ("throttled: cgroup",) and len(throttled.blocks) == 12


def test_options_that_the_session_did_not_take_are_an_error(models: dict[str, Path]) -> None:
    with pytest.raises(WorkerError, match="did not take the session options"):
        measure(models, LatencySection(threads=8), played(options={"threads": 4}))
    with pytest.raises(WorkerError, match="did not take the session options"):
        measure(models, LatencySection(), played(options={"providers": ["XnnpackExecutionProvider"]}))


def test_every_quad_is_an_order_and_its_reverse(models: dict[str, Path]) -> None:
    settings = LatencySection(launches=4, quads=6, block_s=0.01, warmup_s=0)
    result = measure(models, settings, played(), seed=1)
    quads = ["".join(b.model[0] for b in result.blocks[i : i + 6]) for i in range(0, len(result.blocks), 6)]
    assert len(quads) == 24 and all(quad == quad[::-1] and set(quad) == set("fpq") for quad in quads)
    assert len(set(quads)) == 6, "all orders of three models occur"
    assert [(b.launch, b.quad) for b in result.blocks[::6]] == [(i // 6, i % 6) for i in range(24)]
    again = measure(models, settings, played(), seed=1)
    assert [b.model for b in again.blocks] == [b.model for b in result.blocks], "a seed repeats the order"
    assert [b.model for b in measure(models, settings, played(), seed=2).blocks] != [b.model for b in result.blocks]


def test_never_two_workers_at_work_and_fresh_ones_each_launch(models: dict[str, Path]) -> None:
    target = Recording()
    measure(models, QUICK, target)
    requests = target.log[0::2]
    assert all(kind == "answered" for kind, _ in target.log[1::2]), "each request is answered before the next"
    assert [model for _, model in requests] == [model for _, model in target.log[1::2]]
    start = ("configure", "warm_up", "memory")
    for launch in (0, 15):
        started = [model for _, model in requests[launch : launch + 9 : 3]]
        assert sorted(started) == ["middle", "quick", "slow"]
        assert requests[launch : launch + 9] == [(kind, model) for model in started for kind in start]
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

    with pytest.raises(WorkerError, match="not the model that was sent"):
        measure({"fp32": model}, QUICK, LocalTarget(), progress=replace)


def test_unusable_models_are_named(make_model: Any, tmp_path: Path) -> None:
    with pytest.raises(OnnxUnreadableError, match=r"missing\.onnx"):
        measure({"fp32": tmp_path / "missing.onnx"}, QUICK, LocalTarget())
    truncated = tmp_path / "truncated.onnx"
    truncated.write_bytes(make_model("whole").read_bytes()[:200])
    with pytest.raises(OnnxUnreadableError, match="cannot run this model"):
        measure({"fp32": truncated}, QUICK, LocalTarget())


def test_an_idle_worker_that_may_spin_does_not(make_model: Any) -> None:
    with closing(LocalTarget().start_worker(WORKER_FILE)) as worker:
        design = Design(launches=1, quads=1, block_s=0.2, warmup_s=1, threads=2, spinning=True)
        configure(worker, str(make_model("spinning", products=8, shape=(4096, 64))), design)

        def busy_ticks() -> int:
            fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])  # utime and stime, in hundredths of a second

        idle = 0
        for _ in range(10):
            ask(worker, {"run": 0.02}, 0.02)
            before = busy_ticks()
            time.sleep(0.06)
            idle += busy_ticks() - before
    assert idle <= 5, "spinning threads take 3 hundredths after every block"
