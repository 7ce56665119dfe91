"""Starting the processes that train together on this machine, by torch's own launcher, and waiting for their end.

The launcher watches its processes, and ends all of them where one ends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import edgegd


class EndedError(Exception):
    """Processes ended before the others: `codes` are their exit codes by rank, negative for a signal's number."""

    def __init__(self, codes: dict[int, int]) -> None:
        super().__init__(str(codes))
        self.codes = codes


def run_together(program: str, arguments: Sequence[str], processes: int, logs: Path) -> None:
    """Runs Python's `program` with `arguments` in so many processes, and waits for the end of all of them.

    They find this edgegd, share the CPU's threads between them, and write to this process's stderr. `logs` is a folder
    for what the launcher writes. Raises EndedError, and KeyboardInterrupt on SIGINT and SIGTERM, after the processes
    have ended.
    """
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=str(logs)),
        signals_to_handle="SIGTERM",
    )
    with _environment(processes), _signals_kept(), _launcher_silent():
        try:
            elastic_launch(config, sys.executable)("-c", program, *arguments)
        except SignalException as error:
            raise KeyboardInterrupt from error
        except ChildFailedError as error:
            raise EndedError({rank: failure.exitcode for rank, failure in error.failures.items()}) from None


@contextlib.contextmanager
def _environment(processes: int) -> Iterator[None]:
    packages = str(Path(edgegd.__file__).parents[1])
    own = {
        "PYTHONPATH": os.pathsep.join([packages, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TORCH_CPP_LOG_LEVEL": "ERROR",  # advice on find_unused_parameters, which some models need and others do not
        "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // processes)),
    }
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """The launcher installs a handler and leaves it: afterwards they are those of before.

    On SIGINT too, unless it is ignored as in a shell's background, it sends its processes SIGTERM, by which Python ends
    silently while it is still importing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if before[signal.SIGINT] != signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end_processes)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _end_processes(number: int, frame: FrameType | None) -> None:
    raise SignalException("interrupted", signal.SIGTERM)


@contextlib.contextmanager
def _launcher_silent() -> Iterator[None]:
    """What ends a process is told once, by edgegd."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed")]
    quiet = [logger for logger in map(logging.getLogger, names) if not logger.disabled]
    for logger in quiet:
        logger.disabled = True
    try:
        yield
    finally:
        for logger in quiet:
            logger.disabled = False
