"""Sessions that compute as the CPUs of a file's profile do: exactly, whatever CPU runs them.

x86 without VNNI multiplies uint8 activations and int8 weights by VPMADDUBSW, whose 16-bit sums saturate with weights of
8 bits (onnxruntime/core/mlas/lib/platform.cpp). Products of uint8 and uint8 are summed in 32 bits on every CPU. So,
where this machine's kernels would saturate, a session gets the file's exact form: weights as uint8 with zero point 128,
which are the same numbers. onnxruntime's own option for that, session.x64quantprecision, does it for the standard
QLinearConv only, not for the channels-last one of edge files (docs/emulation.md).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime

from edgegd.device.profile import SATURATING, runs_signed, this_machine
from edgegd.export.graph_forms import (
    has_signed_activations,
    is_edge,
    largest_weight_code,
    with_unsigned_activations,
    with_unsigned_weights,
)
from edgegd.export.load_onnx import load_onnx
from edgegd.runtime.session import load_session

HIGHEST_7BIT_CODE = 64  # 2 * 255 * 64 is below 2^15: VPMADDUBSW cannot saturate


def exact_form(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model itself where this machine's own kernels compute it exactly, else a form that they do.

    A portable file with int8 activations, which x86 runs in float, becomes uint8. An edge file with them stays: x86 has
    slow kernels for int8 activations, which sum in 32 bits.
    """
    machine = this_machine().profile
    if not runs_signed(machine) and has_signed_activations(model) and not is_edge(model):
        model = with_unsigned_activations(model)
    saturates = machine == SATURATING and largest_weight_code(model) > HIGHEST_7BIT_CODE
    return with_unsigned_weights(model) if saturates and not has_signed_activations(model) else model


def load_exact(source: Path | onnx.ModelProto, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """A fully optimized session of a file or model that computes exactly on this machine.

    Raises OnnxUnreadableError for a file that is missing, or that onnxruntime cannot load.
    """
    model = load_onnx(source) if isinstance(source, Path) else source
    form = exact_form(model)
    if isinstance(source, Path) and form is model:
        return load_session(source, threads=threads)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exact.onnx"
        onnx.save(form, path)
        return load_session(path, threads=threads)
