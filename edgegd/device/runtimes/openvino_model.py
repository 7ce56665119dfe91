"""OpenVINO's CPU plugin: the latency hint, the thread count, the input without a copy."""

from __future__ import annotations

from typing import Any, ClassVar

from edgegd.device.runtimes.other_model import Input, OtherModel

TYPES = {"f32": "tensor(float)", "u8": "tensor(uint8)"}


class OpenVinoModel(OtherModel):
    """One compiled model and its request; float parts in the plugin's own precision (bfloat16 where the CPU has it).

    An .onnx file is opened as it is.
    """

    MODULE = PACKAGE = "openvino"
    HINTS: ClassVar[dict[str, Any]] = {"PERFORMANCE_HINT": "LATENCY"}

    def _unpacked(self, model: str, folder: str) -> tuple[str, list[int]]:
        if model.endswith(".onnx"):
            return model, []
        path, shape = super()._unpacked(model, folder)
        return path + ".xml", shape

    def open(self, path: str, threads: int, shape: list[int]) -> list[Input]:
        """As OtherModel; threads are read back from the compiled model."""
        hints = {**self.HINTS, "INFERENCE_NUM_THREADS": threads}
        self._compiled = self.runtime.Core().compile_model(path, "CPU", hints)
        self._threads = self._compiled.get_property("INFERENCE_NUM_THREADS")
        self._request = self._compiled.create_infer_request()
        return [
            Input(one.any_name, list(one.shape), TYPES.get(one.element_type.get_type_name(), "unknown"))
            for one in self._compiled.inputs
        ]

    def set_input(self, image: Any) -> None:
        """As OtherModel; the plugin reads the array itself."""
        self._image = image
        self._request.set_input_tensor(self.runtime.Tensor(image, shared_memory=True))

    def infer(self) -> Any:
        """As OtherModel."""
        return self._request.infer(share_outputs=True)[0]


class OpenVinoFloat32Model(OpenVinoModel):
    """The same with float32 for what is float, whatever the CPU has."""

    HINTS: ClassVar[dict[str, Any]] = {**OpenVinoModel.HINTS, "INFERENCE_PRECISION_HINT": "f32"}
