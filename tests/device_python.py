"""A Python for a device of tests whose onnxruntime is the real one, and tells what a tensor worker computes with it."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from pathlib import Path

_ONNXRUNTIME = """
import hashlib, sys, time
sys.path.remove({folder!r})
del sys.modules["onnxruntime"]
import onnxruntime
onnxruntime.__version__ = {version!r} or onnxruntime.__version__
_Session = onnxruntime.InferenceSession


class InferenceSession(_Session):
    def __init__(self, model, *arguments, **options):
        super().__init__(model, *arguments, **options)
        self._told = hashlib.sha256(model).hexdigest() if isinstance(model, bytes) else None

    def run(self, names, feed, *rest):
        results = super().run(names, feed, *rest)
        if self._told:  # a tensor worker loads a file's content, the latency worker its path
            time.sleep({delay_s})
            (image,) = feed.values()
            with open({log!r}, "a") as log:
                log.write(self._told + " " + hashlib.sha256(image.tobytes()).hexdigest() + "\\n")
        return results


onnxruntime.InferenceSession = InferenceSession
"""


def device_python(folder: Path, *, version: str = "", delay_s: float = 0.0) -> str:
    """The command of a Python whose onnxruntime says it is `version`, and takes `delay_s` longer for an image; what it
    computes is counted by `computed`."""
    folder.mkdir(exist_ok=True)
    source = _ONNXRUNTIME.format(folder=str(folder), version=version, delay_s=delay_s, log=str(folder / "log"))
    (folder / "onnxruntime.py").write_text(source)
    (folder / "log").touch()
    return f"env PYTHONPATH={shlex.quote(str(folder))} {shlex.quote(sys.executable)}"


def computed(folder: Path) -> Counter[str]:
    """`MODEL IMAGE` (SHA-256 of the file and of the model's input) -> how often a tensor worker computed it."""
    return Counter((folder / "log").read_text().splitlines())
