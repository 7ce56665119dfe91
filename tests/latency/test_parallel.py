"""Several targets at once: threads that wait for each other, and real processes that an interrupt ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from played_target import PlayedTarget
from processes import END_S, hears_interrupts

from edgegd.errors import WorkerError
from edgegd.latency.measuring.parallel import on_each

INTERRUPTED = """
import sys, threading, os, signal, time
from pathlib import Path
from edgegd.targets.worker_protocol import WORKER_FILE
from edgegd.latency.measuring.parallel import on_each
from edgegd.targets.local import LocalTarget

def hang(target):
    worker = target.start_worker(WORKER_FILE)
    os.write(1, f"{worker.pid}\\n".encode())  # at once: two threads write
    worker.receive(600)  # nothing was asked, so nothing comes

on_each([LocalTarget("one"), LocalTarget("two")], hang)
"""


def test_targets_are_measured_at_the_same_time_and_fail_alone() -> None:
    both = threading.Barrier(2, timeout=20)

    def work(target: Any) -> str:
        both.wait()  # passes only when both are there
        if target.name == "broken":
            raise WorkerError("It broke.")
        return f"{target.name} done"

    targets = [PlayedTarget(lambda model, launch: [1], name=name) for name in ("broken", "sound")]
    results = on_each(targets, work)
    assert results["sound"] == "sound done" and isinstance(results["broken"], WorkerError)


def test_a_fault_of_ours_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        on_each([PlayedTarget(lambda model, launch: [1])], lambda target: 1 / 0)


def test_an_interrupt_ends_the_workers_of_all_targets() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=hears_interrupts
    )
    assert process.stdout is not None
    workers = [int(process.stdout.readline()) for _ in range(2)]
    assert all(Path(f"/proc/{pid}").exists() for pid in workers)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(END_S) != 0
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < end, "a worker outlived the interrupt"
        time.sleep(0.05)
    assert b"KeyboardInterrupt" in process.stderr.read() if process.stderr else True
