"""Threads of the worker: cores, session entries, several callers at once, pauses between inferences; with real workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edgegd.device.latency_worker import core_speeds
from edgegd.device.threads import ThreadSetting, big_cores
from edgegd.errors import WorkerError
from edgegd.latency.measuring.record import Design
from edgegd.targets.base import Worker
from edgegd.targets.local import LocalTarget
from edgegd.targets.worker_protocol import WORKER_FILE, ask, configure

DESIGN = Design(launches=1, quads=1, block_s=0.02, warmup_s=0.1, threads=1, spinning=False)
MakeModel = Callable[..., Path]


@pytest.fixture
def worker() -> Iterator[Worker]:
    with closing(LocalTarget().start_worker(WORKER_FILE)) as started:
        yield started


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no threads to cores")
def test_all_threads_of_a_session_run_on_the_cores_asked_for(worker: Worker, make_model: MakeModel) -> None:
    core = max(os.sched_getaffinity(0))
    setting = ThreadSetting(threads=3, spinning=True, cores=(core,))
    ready = configure(worker, str(make_model("bound")), DESIGN, setting=setting)
    assert ready["machine"]["core_mask"] == [core] and ready["session"]["threads"] == 3
    masks = [os.sched_getaffinity(int(task.name)) for task in Path(f"/proc/{worker.pid}/task").iterdir()]  # type: ignore[attr-defined]
    assert masks.count({core}) >= 3, "the main thread and the two that onnxruntime made"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no threads to cores")
def test_cores_that_the_device_does_not_have_are_an_error(worker: Worker, make_model: MakeModel) -> None:
    with pytest.raises(WorkerError, match=r"cores \[900\]"):
        configure(worker, str(make_model("far")), DESIGN, setting=ThreadSetting(cores=(900,)))


def test_entries_reach_the_session_and_nothing_is_told_without_any(worker: Worker, make_model: MakeModel) -> None:
    model = str(make_model("entries"))
    entries = {"session.dynamic_block_base": "4"}
    assert configure(worker, model, DESIGN, entries=entries)["session"]["entries"] == entries
    assert "entries" not in configure(worker, model, DESIGN)["session"], "stored fingerprints hold the session"


@pytest.mark.parametrize("workers", [1, 3])
def test_callers_at_once_are_counted_each(worker: Worker, make_model: MakeModel, workers: int) -> None:
    configure(worker, str(make_model("at once", products=50)), DESIGN)
    answer = ask(worker, {"concurrent": {"workers": workers, "seconds": 0.2}}, 0.2)
    assert len(answer["counts"]) == len(answer["walls_ns"]) == workers and min(answer["counts"]) > 2
    assert all(0.2e9 <= wall < 5e9 for wall in answer["walls_ns"]) and answer["cpu_ns"] > 0.05e9
    once = ask(worker, {"concurrent": {"workers": workers, "seconds": 0}}, 0)
    assert once["counts"] == [1] * workers


def test_threads_neither_spin_nor_work_in_a_pause(worker: Worker, make_model: MakeModel) -> None:
    """What `spinning` means here: session.force_spinning_stop ends it with the inference. Without, a core would burn."""
    model = str(make_model("paced", products=20, shape=(4096, 64)))  # enough rows for two threads
    paced = {"paced": {"inferences": 10, "pause_s": 0.03}}
    loads = {}
    for stop in ("1", "0"):
        setting = ThreadSetting(threads=2, spinning=True)
        configure(worker, model, DESIGN, setting=setting, entries={"session.force_spinning_stop": stop})
        answer = ask(worker, paced, 1)
        assert len(answer["durations_ns"]) == 10 and answer["idle_wall_ns"] >= 0.3e9
        assert answer["cpu_ns"] >= answer["idle_cpu_ns"]
        loads[stop] = answer["idle_cpu_ns"] / answer["idle_wall_ns"]
    assert loads["1"] < 0.5 * loads["0"] and loads["0"] > 0.1, loads


class Miscounting:
    """A worker that answers for one inference, or caller, less than it was asked for."""

    device = "board"

    def __init__(self, inner: Worker) -> None:
        self.inner = inner

    def send(self, message: dict[str, Any]) -> None:
        self.inner.send(message)

    def receive(self, timeout_s: float) -> dict[str, Any]:
        answer = self.inner.receive(timeout_s)
        return {key: value[1:] if isinstance(value, list) else value for key, value in answer.items()}

    def close(self) -> None:
        self.inner.close()


def test_another_number_than_asked_for_is_an_error(worker: Worker, make_model: MakeModel) -> None:
    configure(worker, str(make_model("miscounted")), DESIGN)
    with pytest.raises(WorkerError, match="another number of callers"):
        ask(Miscounting(worker), {"concurrent": {"workers": 2, "seconds": 0}}, 0)
    with pytest.raises(WorkerError, match="another number of inferences"):
        ask(Miscounting(worker), {"paced": {"inferences": 3, "pause_s": 0.001}}, 0)


def made_system(root: Path, **files: list[int]) -> list[dict[str, int]]:
    """What core_speeds reads where every core has these files."""
    for name, values in files.items():
        for core, value in enumerate(values):
            file = root / f"sys/devices/system/cpu/cpu{core}" / name.replace("cpufreq_", "cpufreq/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{value}\n")
    (root / "sys/devices/system/cpu/cpufreq").mkdir(parents=True, exist_ok=True)
    return core_speeds(str(root))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu_capacity": [530] * 4 + [1024] * 4}, (4, 5, 6, 7)),  # RK3588
        ({"cpu_capacity": [325] * 4 + [828] * 3 + [1024]}, (4, 5, 6, 7)),  # Snapdragon 865: three kinds
        ({"cpu_capacity": [1024] * 4}, ()),  # Raspberry Pi 5
        ({"cpufreq_cpuinfo_max_freq": [1_800_000] * 4 + [2_256_000] * 2}, (4, 5)),
        ({"cpufreq_cpuinfo_max_freq": [5_000_000, 5_200_000]}, ()),  # favoured cores of one kind
        ({"cpu_capacity": [1024] * 4, "cpufreq_cpuinfo_max_freq": [1] * 2 + [9] * 2}, (2, 3)),
        ({}, ()),
    ],
    ids=str,
)
def test_big_cores_are_read_from_the_system(tmp_path: Path, files: dict[str, list[int]], expected: tuple[int, ...]) -> None:
    speeds = made_system(tmp_path, **files)
    count = max((len(values) for values in files.values()), default=2)
    facts = {"core_mask": list(range(count)), "core_speeds": speeds}
    assert big_cores(facts) == expected
    assert big_cores({"core_mask": list(range(count))}) == (), "an older worker tells nothing of cores"
    if expected:
        assert big_cores({**facts, "core_mask": list(expected)}) == (), "only big ones may be used: no choice"
