"""Another runtime's model on this machine, in the worker that times it: an image in, the output out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegd.device.runtime_workers import worker_files
from edgegd.targets.local import LocalTarget
from edgegd.targets.worker_protocol import ask, configure

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class _Options:
    threads: int
    spinning: bool = False
    provider: str = "CPUExecutionProvider"
    optimization: str = "all"


@contextmanager
def running(path: Path, runtime: str, threads: int) -> Iterator[Network]:
    """The model as a function of (1, C, H, W) float32: (1, 4 + classes, N), or (1, K, 6) from a head without NMS.

    `runtime` is a key of edgegd.device.runtime_workers.WORKERS. Raises as edgegd.targets.worker_protocol.ask, also
    within.
    """
    with (
        worker_files([runtime]) as files,
        tempfile.TemporaryDirectory() as folder,
        closing(LocalTarget().start_worker(files[runtime])) as worker,
    ):
        exchanged = {"image": f"{folder}/image.npy", "output": f"{folder}/output.npy"}
        configure(worker, str(path.resolve()), _Options(threads))

        def network(image: NDArray[np.float32]) -> NDArray[np.float32]:
            np.save(exchanged["image"], image)
            ask(worker, {"outputs": exchanged}, 0)
            output: NDArray[np.float32] = np.load(exchanged["output"])
            return output

        yield network
