"""Processes that train together, forked from a test's own process: nothing is imported anew."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

from edgegd.descent.ranks import Ranks, joined_ranks
from edgegd.errors import EdgegdError

END_S = 300.0
"""How long their end is waited for; far more than it takes on a loaded machine."""


def launched(rank: int, size: int, port: int) -> Mapping[str, str]:
    """The environment that torch's launcher gives process `rank` of `size` on one machine."""
    numbers = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    return {"MASTER_ADDR": "localhost", **{name: str(number) for name, number in numbers.items()}}


def free_port() -> int:
    """A port that nobody listens at now."""
    with contextlib.closing(socket.socket()) as one:
        one.bind(("localhost", 0))
        return int(one.getsockname()[1])


def start(size: int, work: Callable[[Ranks], Any]) -> list[Any]:
    """`work(ranks)` in `size` processes, which end with 0, or with the exit code of an EdgegdError."""
    port = free_port()

    def one(rank: int) -> None:
        os.environ.update(launched(rank, size, port))
        try:
            with joined_ranks() as ranks:
                work(ranks)
        except EdgegdError as error:
            print(error, file=sys.stderr)
            os._exit(error.exit_code)

    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=one, args=(rank,)) for rank in range(size)]
    for process in processes:
        process.start()
    return processes


def ended(processes: list[Any]) -> list[int]:
    """Their exit codes, once all have ended."""
    for process in processes:
        process.join(END_S)
    return [process.exitcode for process in processes]
