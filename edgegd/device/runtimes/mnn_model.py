"""MNN on the CPU at low precision and low memory: float16 where the CPU computes with it, 8-bit weights as they are."""

from __future__ import annotations

from typing import Any

from edgegd.device.runtimes.other_model import Input, OtherModel


class MnnModel(OtherModel):
    """One module, as Ultralytics loads it."""

    MODULE, PACKAGE = "MNN", "MNN"

    def open(self, path: str, threads: int, shape: list[int]) -> list[Input]:
        """As OtherModel."""
        config = {"backend": "CPU", "precision": "low", "memory": "low", "numThread": threads}
        manager = self.runtime.nn.create_runtime_manager((config,))
        load = self.runtime.nn.load_module_from_file
        self._net = load(path + ".mnn", [], [], runtime_manager=manager, rearrange=True)
        return [Input(self._net.get_info()["inputNames"][0], shape)]

    def set_input(self, image: Any) -> None:
        """As OtherModel; MNN copies the array."""
        self._image = self.runtime.expr.const(image.ctypes.data, image.shape)

    def infer(self) -> Any:
        """As OtherModel."""
        return self._net.onForward([self._image])[0].read()
