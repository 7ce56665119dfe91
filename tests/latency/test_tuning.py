"""Tuning of threads. Oracle: a scripted device whose times are known, and this machine's own workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from played_target import FACTS, STATE, PlayedTarget, PlayedWorker

from edgegd.device.latency_worker import PROTOCOL
from edgegd.device.threads import ThreadSetting
from edgegd.latency.measuring.tuning import GROUP, Measured, Tuning, best, settings_for, tune
from edgegd.recipe.schema import LatencySection
from edgegd.targets.local import LocalTarget

QUICK = LatencySection(launches=2, quads=1, block_s=0.02, warmup_s=0.05)
PAUSE_NS = 400_000_000
MakeModel = Callable[..., Path]
Times = Callable[[str, ThreadSetting], tuple[float, float, float]]
"""(ms of an image, CPU ms of it, cores busy in a pause) of a file's stem with a setting."""


@dataclass
class PlayedDevice(PlayedTarget):
    """A device of `cores` cores, the last `big` of which are big ones."""

    times: Times = lambda stem, setting: (1.0, 1.0, 0.0)
    cores: int = 4
    big: int = 0
    most_at_once: int = 0
    open: int = 0
    asked: list[ThreadSetting] = field(default_factory=list)

    @property
    def facts(self) -> dict[str, Any]:
        speeds = [
            {"core": core, "capacity": 1024 if core >= self.cores - self.big or not self.big else 500}
            for core in range(self.cores)
        ]
        return FACTS | {"core_mask": list(range(self.cores)), "core_speeds": speeds, "logical_cores": self.cores}

    def start_worker(self, worker_file: Path) -> PlayedThreads:
        assert self.locked
        self.open += 1
        self.most_at_once = max(self.most_at_once, self.open)
        return PlayedThreads(self, 0)


@dataclass
class PlayedThreads(PlayedWorker):
    """A worker of it."""

    setting: ThreadSetting = ThreadSetting()

    def send(self, message: dict[str, Any]) -> None:
        device: PlayedDevice = self.target  # type: ignore[assignment]
        super().send(message)
        if "hello" in message:
            self.answer = {"protocol": PROTOCOL, "machine": device.facts, "state": STATE, "free_bytes": 1}
        elif "configure" in message:
            asked = message["configure"]
            cores = tuple(asked.get("cores", ()))
            self.setting = ThreadSetting(threads=asked["threads"], spinning=asked["spinning"], cores=cores)
            device.asked.append(self.setting)
            self.answer["machine"] = device.facts | ({"core_mask": list(cores)} if cores else {})
        elif "run" in message:
            ms, _, _ = device.times(self.model.stem, self.setting)
            self.answer |= {"first_ns": round(ms * 1e6), "durations_ns": [round(ms * 1e6)] * 3}
        elif "concurrent" in message:
            workers = message["concurrent"]["workers"]
            setting = ThreadSetting(
                threads=self.setting.threads, spinning=self.setting.spinning, cores=self.setting.cores, workers=workers
            )
            ms, cpu_ms, _ = device.times(self.model.stem, setting)
            counts = {"counts": [10] * workers, "walls_ns": [round(10 * workers * ms * 1e6)] * workers}
            self.answer = {**counts, "cpu_ns": round(10 * workers * cpu_ms * 1e6), "before": STATE, "after": STATE}
        elif "paced" in message:
            ms, cpu_ms, busy = device.times(self.model.stem, self.setting)
            count = message["paced"]["inferences"]
            self.answer = {
                "durations_ns": [round(2 * ms * 1e6)] * count,
                "idle_wall_ns": PAUSE_NS,
                "idle_cpu_ns": round(busy * PAUSE_NS),
                "cpu_ns": round(count * cpu_ms * 1e6),
            }

    def close(self) -> None:
        self.target.open -= 1  # type: ignore[attr-defined]


def times(stem: str, setting: ThreadSetting) -> tuple[float, float, float]:
    """Spinning threads gain, sleeping ones nothing; little cores take along; callers gain until the cores are full."""
    single = {"quick": 10.0, "slow": 40.0}[stem]
    count = setting.threads + setting.workers - 1
    gain = 1 + (0.4 if setting.spinning else 0.01) * (setting.threads - 1) + 0.9 * (setting.workers - 1)
    gain *= 1.5 if setting.cores else 1.0
    return single / gain, single * count, 0.25 if setting.spinning else 0.0


def tuned(device: PlayedDevice, make_model: MakeModel, *names: str) -> Tuning:
    return tune({name: make_model(name) for name in names}, QUICK, device)


def played(**more: Any) -> PlayedDevice:
    return PlayedDevice(lambda stem, launch: [1], times=more.pop("times", times), **more)


def test_the_fastest_is_recommended_for_each_question(make_model: MakeModel) -> None:
    device = played(cores=4)
    result = tuned(device, make_model, "quick", "slow")
    assert result.target == "played" and result.machine["logical_cores"] == 4 and result.big_cores == ()
    latency, throughput = (result.best(question, "quick") for question in ("latency", "throughput"))
    assert latency.setting == ThreadSetting(threads=4, spinning=True)
    assert throughput.setting == ThreadSetting(workers=4)
    assert (round(latency.ms, 3), round(latency.ratio, 3)) == (round(10 / 2.2, 3), 2.2)
    assert (latency.idle_load, latency.cpu_ms, latency.paced_ms) == (0.25, 40.0, pytest.approx(2 * 10 / 2.2, rel=1e-5))
    assert throughput.idle_load is None and round(1000 / throughput.ms) == 370  # 100 images/s times 3.7
    assert result.best("latency", "slow").ratio == pytest.approx(2.2 / 4)
    assert result.against["latency"] == pytest.approx((4, 4, 4)) and result.stable and result.faults == ()
    assert device.most_at_once <= GROUP + 1, "a small device holds few processes"
    assert device.open == 0 and not device.locked


def test_what_costs_less_is_preferred_among_equals(make_model: MakeModel) -> None:
    def hardly(stem: str, setting: ThreadSetting) -> tuple[float, float, float]:
        return 10 / (1.015 if setting.threads > 1 else 1), 10.0 * setting.threads, 0.0

    result = tuned(played(times=hardly), make_model, "quick")
    assert result.best("latency", "quick").setting == ThreadSetting() and result.against == {}


def test_big_cores_are_candidates_only_where_there_are_little_ones(make_model: MakeModel) -> None:
    result = tuned(played(cores=6, big=2), make_model, "quick")
    assert result.big_cores == (4, 5)
    assert result.best("latency", "quick").setting == ThreadSetting(threads=6, spinning=True)  # 3 times; big ones 2.1
    bound = [one.setting for one in result.candidates["latency"] if one.setting.cores]
    assert {setting.threads for setting in bound} == {1, 2} and {setting.cores for setting in bound} == {(4, 5)}
    homogeneous = played(cores=6)
    tuned(homogeneous, make_model, "quick")
    assert not [setting for setting in homogeneous.asked if setting.cores]


def test_candidates_fill_the_cores_and_no_more() -> None:
    for cores in (1, 2, 4, 8, 64):
        latency, throughput = (settings_for(question, range(cores), ()) for question in ("latency", "throughput"))
        assert latency[0] == throughput[0] == ThreadSetting(), "the reference"
        assert max(one.threads for one in latency) == cores == max(one.workers for one in throughput)
        assert max(one.threads + one.workers - 1 for one in throughput) == cores
        assert all(not one.spinning for one in [*latency, *throughput] if one.threads == 1)
        assert len({*latency}) == len(latency) == (2 * len({one.threads for one in latency}) - 1)
    assert len(settings_for("latency", range(64), ())) == 13  # 1, 2, 4 ... 64


def test_best_is_one_of_the_fastest() -> None:
    def one(ratio: float, cpu_ms: float) -> Measured:
        return Measured(file="m", setting=ThreadSetting(), ms=1, ratio=ratio, low=ratio, high=ratio, cpu_ms=cpu_ms)

    assert best([one(1, 1), one(1.9, 3), one(1.88, 2.5), one(1.8, 1)]) == one(1.88, 2.5)


def test_real_workers(make_model: MakeModel) -> None:
    seen: list[tuple[int, int]] = []
    models = {"quick": make_model("quick", products=2), "slow": make_model("slow", products=2000)}
    settings = LatencySection(launches=1, quads=1, block_s=0.01, warmup_s=0.05)
    result = tune(models, settings, LocalTarget(), progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1)) and {total for _, total in seen} == {len(seen)}
    for question in ("latency", "throughput"):
        measured = result.candidates[question]
        assert len({(one.file, one.setting) for one in measured}) == len(measured)
        assert all(one.ms > 0 and one.cpu_ms > 0 for one in measured) and measured[0].ratio == 1
        assert result.against[question][0] > 5, "a thousand times the products"
    assert all(one.idle_load is not None and one.idle_load < 0.3 for one in result.candidates["latency"])
