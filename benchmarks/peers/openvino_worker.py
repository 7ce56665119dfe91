"""The latency worker for OpenVINO: the protocol, clock and blocks of edgegd.device.latency_worker, its CPU plugin.

edgegd's target for benchmarks starts it (benchmarks/peers/target.py), with the Python that has OpenVINO installed and
this project on PYTHONPATH. OpenVINO gets the latency hint, the thread count, float32 for what is float, and the input
without a copy.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import openvino

from edgegd.device.latency_worker import PROTOCOL, LoadedModel, Refusal, checked_sha256, machine_facts, main, make_feed

TYPES = {"f32": "tensor(float)", "u8": "tensor(uint8)"}


class Input(NamedTuple):
    """An input as onnxruntime describes one."""

    name: str
    shape: list[int]
    type: str


class OpenVinoModel(LoadedModel):
    """One compiled model and its request. Whether idle threads spin is OpenVINO's own affair: it has no option."""

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
    ) -> None:
        if (optimization, provider) != ("all", "CPUExecutionProvider"):
            raise Refusal("OpenVINO is timed on the CPU with all its optimizations")
        self._spinning = spinning
        self.sha256 = checked_sha256(model, sha256)
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        start = time.perf_counter_ns()
        try:
            self._compiled = openvino.Core().compile_model(model, "CPU", hints)
        except RuntimeError as error:
            raise Refusal(str(error)) from error
        self.load_ms = (time.perf_counter_ns() - start) / 1e6
        inputs = [
            Input(one.any_name, list(one.shape), TYPES.get(one.element_type.get_type_name(), "unknown"))
            for one in self._compiled.inputs
        ]
        self.feed = make_feed(inputs, seed, input)
        self._request = self._compiled.create_infer_request()
        for name, array in self.feed.items():
            self._request.set_tensor(name, openvino.Tensor(array, shared_memory=True))

    def ready(self) -> dict[str, Any]:
        """The answer to `configure`; threads are read back from the compiled model."""
        return {
            "ready": True,
            "protocol": PROTOCOL,
            "load_ms": self.load_ms,
            "model_sha256": self.sha256,
            "machine": machine_facts(),
            "openvino": openvino.__version__,
            "session": {
                "threads": self._compiled.get_property("INFERENCE_NUM_THREADS"),
                "spinning": self._spinning,
                "providers": ["CPUExecutionProvider"],
            },
            "inputs": {name: [str(array.dtype), *array.shape] for name, array in self.feed.items()},
        }

    def time_once(self) -> int:
        """Duration of one inference in ns."""
        start = time.perf_counter_ns()
        self._request.infer(share_outputs=True)
        return time.perf_counter_ns() - start


if __name__ == "__main__":
    main(OpenVinoModel)
