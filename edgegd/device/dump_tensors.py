"""A program in one file that stores everything ONNX models output; needs Python 3.9, numpy and onnxruntime alone.

    python codes.py INPUTS.npy FOLDER [--optimization all] MODEL.onnx [MODEL.onnx ...]

It also runs where edgegd is not installed: on an emulated CPU. Integer codes inside a model come out too where they
were made outputs of the graph beforehand (edgegd/export/graph_forms.py).
"""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime

LEVELS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}


def load(model: Path, optimization: str) -> onnxruntime.InferenceSession:
    """A CPU session of one thread; `optimization` is a key of LEVELS."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[optimization])
    options.log_severity_level = 4  # fatal ones only
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def store_outputs(model: Path, inputs: np.ndarray, folder: Path, optimization: str) -> None:
    """Runs the model on each of `inputs` (N, ...), one at a time, and writes FOLDER/STEM-INDEX.npz.

    Such a file holds `names`, the names of the outputs, and their values as `0`, `1`, ... in the same order.
    """
    session = load(model, optimization)
    names = [output.name for output in session.get_outputs()]
    (source,) = session.get_inputs()
    for index in range(len(inputs)):
        values = session.run(names, {source.name: inputs[index : index + 1]})
        arrays = {str(number): value for number, value in enumerate(values)}
        np.savez(str(folder / f"{model.stem}-{index}.npz"), names=np.array(names), **arrays)


def main() -> None:
    """Reads the command line and stores the outputs of every model."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever started this may ignore it, and that is inherited
    parser = argparse.ArgumentParser(description="Store everything that ONNX models output.")
    parser.add_argument("inputs", type=Path, help="a .npy file of inputs, the first axis counting them")
    parser.add_argument("folder", type=Path, help="where the .npz files go")
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--optimization", choices=sorted(LEVELS), default="all")
    arguments = parser.parse_args()
    inputs = np.load(arguments.inputs)
    for model in arguments.models:
        store_outputs(model, inputs, arguments.folder, arguments.optimization)


if __name__ == "__main__":
    main()
