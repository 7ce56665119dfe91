"""Whether data loading processes can hand over their batches: torch passes them through /dev/shm."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from edgegd.errors import NoSpaceError

SHARED_MEMORY = Path("/dev/shm")
_BATCHES_AHEAD = 2  # torch's prefetch_factor
_RESERVE_BYTES = 1 << 20  # of labels, and of what torch shares beside the images


def require_shared_memory(
    workers: int, batch: int, imgsz: int | Sequence[int], *, folder: Path = SHARED_MEMORY
) -> None:
    """NoSpaceError where `workers` processes cannot hold their batches of (batch, 3, height, width) bytes there.

    `imgsz` is a side, or (height, width), in pixels.

    A process that finds no space dies, and the training waits for it without an end.
    """
    if workers == 0:
        return
    workers = min(workers, os.cpu_count() or 1)
    pixels = imgsz**2 if isinstance(imgsz, int) else math.prod(imgsz)
    needed = workers * _BATCHES_AHEAD * batch * 3 * pixels + _RESERVE_BYTES
    try:
        stat = os.statvfs(folder)
        free = stat.f_bavail * stat.f_frsize
    except OSError:
        free = 0
    if free < needed:
        raise NoSpaceError(
            f"{folder} is too small for train.workers {workers}: the processes that load images share them through it.",
            expected=f"{needed >> 20} MiB free",
            found=f"{free >> 10} KiB free",
            mend="set train.workers to 0, or a smaller train.batch; for a container: docker run --shm-size=1g ...",
        )
