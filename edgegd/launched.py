"""What torch's launcher (torchrun) says in the environment of the processes that it starts; needs no torch."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass

_PR_SET_PDEATHSIG = 1
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launched:
    """Process `rank` (from 0) of `size`; `local_rank` of the `local_size` on its machine."""

    rank: int
    size: int
    local_rank: int
    local_size: int


def launched_as(environment: Mapping[str, str] | None = None) -> Launched | None:
    """Which process this is; None without a launcher, and where it started a single process."""
    values = os.environ if environment is None else environment
    if not all(values.get(name) for name in VARIABLES):
        return None
    rank, size, local_rank, local_size = (int(values[name]) for name in VARIABLES[:4])
    return Launched(rank, size, local_rank, local_size) if size > 1 else None


def end_with_parent(parent: int = 0) -> None:
    """This process ends with the one that started it, however that ends, as if it were killed; on Linux.

    `parent` is that one's id: where it has ended already, this process ends here.
    """
    if sys.platform != "linux":
        return
    if os.getppid() > 1:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent and os.getppid() != parent:
        sys.exit(-signal.SIGKILL)
