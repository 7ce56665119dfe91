"""What the models of all other runtimes share in a latency worker: the protocol, its clock, its blocks.

A runtime's own module beside this one says how it opens a file and runs it. It is one text with this one and
edgegd.device.latency_worker where it runs (edgegd.device.runtime_workers): nothing here may import another of edgegd's
modules than that one.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import time
import zipfile
from typing import Any, NamedTuple

from edgegd.device.latency_worker import PROTOCOL, LoadedModel, Refusal, checked_sha256, machine_facts, make_feed


class Input(NamedTuple):
    """An input as onnxruntime describes one."""

    name: str
    shape: list[int]
    type: str = "tensor(float)"


def imported(name: str, package: str) -> Any:
    """A module; Refusal, with the command that installs its package for this Python, where it cannot be imported."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # also a library for another CPU, or half an installation
        found = f"{sys.executable}: {type(error).__name__}: {error}"
        raise Refusal(f"{found}\n{sys.executable} -m pip install {package}", "runtime") from error


class OtherModel(LoadedModel):
    """One model of another runtime, which keeps its own settings in all but the number of threads.

    `spinning` is asked of onnxruntime alone. The file is a .zip of the runtime's own files, `model` with the suffixes
    that it gives them, and `shape.txt`, the sides of the input; it is unpacked for as long as it takes to open them.
    """

    MODULE = PACKAGE = ""
    """The runtime's module, and what pip calls it."""

    def __init__(
        self,
        model: str,
        threads: int,
        spinning: bool,
        optimization: str,
        seed: int,
        input: str | None,
        sha256: str | None = None,
        provider: str = "CPUExecutionProvider",
        cores: list[int] | None = None,
    ) -> None:
        if (optimization, provider) != ("all", "CPUExecutionProvider"):
            raise Refusal(f"{self.MODULE} is timed on the CPU with all its optimizations")
        if cores:
            os.sched_setaffinity(0, cores)  # before the runtime makes its threads
        self._threads, self._spinning = threads, spinning
        self.sha256 = checked_sha256(model, sha256)
        self.runtime = imported(self.MODULE, self.PACKAGE)
        try:
            with tempfile.TemporaryDirectory() as folder:
                path, shape = self._unpacked(model, folder)
                start = time.perf_counter_ns()
                inputs = self.open(path, threads, shape)
                self.load_ms = (time.perf_counter_ns() - start) / 1e6
        except Refusal:
            raise
        except Exception as error:  # each runtime has its own for a file that is none of its
            raise Refusal(f"{type(error).__name__}: {error}") from error
        self.feed = make_feed(inputs, seed, input)
        self.set_input(next(iter(self.feed.values())))

    @classmethod
    def runtime_version(cls) -> str:
        """The runtime's version; Refusal where it is not installed."""
        imported(cls.MODULE, cls.PACKAGE)
        module = sys.modules[cls.MODULE.partition(".")[0]]
        version = str(getattr(module, "__version__", "") or module.version())
        return version.partition("-")[0]  # OpenVINO's has its branch behind it

    def _unpacked(self, model: str, folder: str) -> tuple[str, list[int]]:
        """The path of the model's files without their suffixes, in `folder`, and the shape of the input."""
        with zipfile.ZipFile(model) as parts:
            parts.extractall(folder)
        with open(os.path.join(folder, "shape.txt"), encoding="ascii") as text:
            return os.path.join(folder, "model"), [int(side) for side in text.read().split()]

    def open(self, path: str, threads: int, shape: list[int]) -> list[Input]:
        """Opens the files `path` and its suffixes, and says what they take."""
        raise NotImplementedError

    def set_input(self, image: Any) -> None:
        """Gives the runtime the image (1, C, H, W) float32, which stays as it is until the next one."""
        raise NotImplementedError

    def infer(self) -> Any:
        """One inference: the first output as the runtime has it."""
        raise NotImplementedError

    def output(self) -> Any:
        """The output (1, 4 + classes, N) or (1, N, 6) of an inference, boxes in pixels of the network's input."""
        return self.infer()

    def ready(self) -> dict[str, Any]:
        """The answer to `configure`. Providers are onnxruntime's word for the CPU."""
        return {
            "ready": True,
            "protocol": PROTOCOL,
            "load_ms": self.load_ms,
            "model_sha256": self.sha256,
            "machine": machine_facts(),
            "session": {
                "threads": self._threads,
                "spinning": self._spinning,
                "providers": ["CPUExecutionProvider"],
            },
            "inputs": {name: [str(array.dtype), *array.shape] for name, array in self.feed.items()},
        }

    def time_once(self) -> int:
        """Duration of one inference in ns."""
        start = time.perf_counter_ns()
        self.infer()
        return time.perf_counter_ns() - start

    def outputs(self, files: dict[str, str]) -> dict[str, Any]:
        """Runs the image in the .npy file `image` and writes what comes out to the .npy file `output`."""
        import numpy as np

        self.set_input(np.load(files["image"]))
        output = np.ascontiguousarray(self.output(), dtype=np.float32)
        np.save(files["output"], output)
        return {"shape": list(output.shape)}
