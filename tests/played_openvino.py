"""A package `openvino` for tests, where the real one is not installed: its calls, answered by onnxruntime.

What is measured and computed through it is real; only the library behind the calls is another one.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

MODULE = """
import onnxruntime

__version__ = "2026.0.0-played"


class Tensor:
    def __init__(self, array, shared_memory):
        assert shared_memory
        self.array = array


class Kind:
    def get_type_name(self):
        return "f32"


class Port:
    def __init__(self, port):
        self.any_name, self.shape, self.element_type = port.name, port.shape, Kind()


class Core:
    def compile_model(self, file, device, hints):
        assert device == "CPU" and hints["PERFORMANCE_HINT"] == "LATENCY", (device, hints)
        return Compiled(file, hints["INFERENCE_NUM_THREADS"])


class Compiled:
    def __init__(self, file, threads):
        print("openvino prints this on stdout, which is the protocol's")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads = threads
        with open(file, "rb") as content:
            self.session = onnxruntime.InferenceSession(content.read(), options, providers=["CPUExecutionProvider"])
        self.inputs = [Port(one) for one in self.session.get_inputs()]

    def get_property(self, name):
        assert name == "INFERENCE_NUM_THREADS"
        return self.threads

    def create_infer_request(self):
        return Request(self.session)


class Request:
    def __init__(self, session):
        self.session = session

    def set_input_tensor(self, tensor):
        self.image = tensor.array

    def infer(self, share_outputs):
        return self.session.run(None, {self.session.get_inputs()[0].name: self.image})
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str = MODULE, name: str = "openvino") -> None:
    """Makes the module `name` that every Python started from now on finds, and this one too."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, name, raising=False)


def as_openvino(model: Path, out: Path, shape: tuple[int, ...]) -> Path:
    """An ONNX file as the .zip that Ultralytics' OpenVINO export becomes, for the played OpenVINO."""
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("model.xml", model.read_bytes())
        archive.writestr("model.bin", b"")
        archive.writestr("shape.txt", " ".join(map(str, shape)))
    return out
