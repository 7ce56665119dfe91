"""ncnn on the CPU with its defaults: light mode, Winograd, packed layouts, float16 where the CPU computes with it."""

from __future__ import annotations

from typing import Any

from edgegd.device.latency_worker import Refusal
from edgegd.device.runtimes.other_model import Input, OtherModel


class NcnnModel(OtherModel):
    """One net, whose OpenMP threads spin for 20 ms after an inference, as is ncnn's default (`openmp_blocktime`)."""

    MODULE = PACKAGE = "ncnn"

    def open(self, path: str, threads: int, shape: list[int]) -> list[Input]:
        """As OtherModel."""
        self._net = self.runtime.Net()
        self._net.opt.use_vulkan_compute = False
        self._net.opt.num_threads = threads
        if self._net.load_param(path + ".param") or self._net.load_model(path + ".bin"):
            raise Refusal("ncnn cannot load these files")
        self._threads = self._net.opt.num_threads
        self._source, self._result = self._net.input_names()[0], self._net.output_names()[0]
        return [Input(self._source, shape)]

    def set_input(self, image: Any) -> None:
        """As OtherModel; ncnn reads the array itself."""
        self._image = image
        self._mat = self.runtime.Mat(image[0])

    def infer(self) -> Any:
        """As OtherModel."""
        with self._net.create_extractor() as extractor:
            extractor.input(self._source, self._mat)
            return extractor.extract(self._result)[1]

    def output(self) -> Any:
        """As OtherModel."""
        import numpy as np

        return np.array(self.infer())[None]  # (4 + classes, N) -> (1, 4 + classes, N)
