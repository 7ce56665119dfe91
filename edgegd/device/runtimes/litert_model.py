"""LiteRT (TensorFlow Lite) on the CPU, with the XNNPACK delegate that it takes by itself."""

from __future__ import annotations

from typing import Any

from edgegd.device.runtimes.other_model import Input, OtherModel


class LiteRtModel(OtherModel):
    """One interpreter of an Ultralytics export: NCHW, float input and output, boxes in fractions of the image.

    The interpreter keeps its input in an arena that it uses again, so that every inference copies the image.
    """

    MODULE, PACKAGE = "ai_edge_litert.interpreter", "ai-edge-litert"

    def open(self, path: str, threads: int, shape: list[int]) -> list[Input]:
        """As OtherModel."""
        self._interpreter = self.runtime.Interpreter(path + ".tflite", num_threads=threads)
        self._interpreter.allocate_tensors()
        (source,), (result,) = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._source, self._result = source["index"], result["index"]
        return [Input(source["name"], shape)]

    def set_input(self, image: Any) -> None:
        """As OtherModel."""
        self._image = image

    def infer(self) -> Any:
        """As OtherModel."""
        self._interpreter.set_tensor(self._source, self._image)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._result)

    def output(self) -> Any:
        """As OtherModel: raw boxes become pixels, those of the head that needs no NMS are pixels already."""
        output = self.infer()
        if output.shape[2] != 6:
            height, width = self._image.shape[2:]
            output[:, [0, 2]] *= width
            output[:, [1, 3]] *= height
        return output
