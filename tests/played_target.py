"""A target whose workers are objects here: inferences take a known time, no clock is read, nothing is started."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgegd.device.latency_worker import PROTOCOL, machine_facts

FACTS = machine_facts()
STATE: dict[str, Any] = {"clocks_ns": {"monotonic": 0, "boottime": 0, "wall": 0}}
Play = Callable[[str, int], list[int]]
"""play(file's stem, the number of the launch) -> durations in ns of a block, without its first inference."""


@dataclass
class PlayedTarget:
    """`unstable` are launches whose warm-up does not settle; `throttled` launches in which every block is throttled."""

    play: Play
    unstable: tuple[int, ...] = ()
    throttled: tuple[int, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    name: str = "played"
    emulated: bool = False
    started: int = 0
    locked: bool = False
    per_launch: int = 2

    def deliver(self, file: Path) -> str:
        return str(file)

    def start_worker(self, worker_file: Path) -> PlayedWorker:
        assert self.locked, "a worker was started without the device's lock"
        self.started += 1
        return PlayedWorker(self, (self.started - 1) // self.per_launch)

    def check(self) -> tuple[()]:
        return ()

    def close(self) -> None:
        self.locked = False

    @contextmanager
    def lock(self) -> Iterator[None]:
        self.locked = True
        yield
        self.locked = False


@dataclass
class PlayedWorker:
    target: PlayedTarget
    launch: int
    model: Path = Path()
    answer: dict[str, Any] = field(default_factory=dict)

    def send(self, message: dict[str, Any]) -> None:
        target = self.target
        if "configure" in message:
            asked = message["configure"]
            self.model = Path(asked["model"])
            found = hashlib.sha256(self.model.read_bytes()).hexdigest()
            session = {"threads": asked["threads"], "spinning": asked["spinning"], "providers": [asked["provider"]]}
            self.answer = {
                "protocol": PROTOCOL,
                "load_ms": 1.0,
                "inputs": {},
                "session": session | target.options,
                "machine": FACTS,
                "model_sha256": found,
            }
            if asked["sha256"] != found:
                self.answer = {"error": f"SHA-256 {found}", "about": "hash"}
        elif "warm_up" in message:
            self.answer = {"stable": self.launch not in target.unstable}
        elif "memory" in message:
            self.answer = {"peak_bytes": 1000}
        elif "run" in message:
            durations = target.play(self.model.stem, self.launch)
            after = STATE | ({"cgroup_throttled_us": 5} if self.launch in target.throttled else {})
            self.answer = {
                "first_ns": 10 * durations[0],
                "durations_ns": durations,
                "before": STATE | {"cgroup_throttled_us": 0},
                "after": {"cgroup_throttled_us": 0} | after,
            }

    def receive(self, timeout_s: float) -> dict[str, Any]:
        return self.answer

    def close(self) -> None:
        self.answer = {}
