"""The models of a run, and what their files are called."""

from __future__ import annotations

VARIANTS = ("fp32", "ptq", "qat")
"""The float model, the calibrated one, and the fine-tuned one."""
QUANTIZED = VARIANTS[1:]


def edge_file(portable: str) -> str:
    """The name of the edge file that is made from a portable file of this name."""
    return portable.removesuffix(".onnx") + ".edge.onnx"


def profile_file(variant: str, profile: str) -> str:
    """The name of a portable file exported for a profile that is not the recipe's."""
    return f"{variant}-{profile}.onnx"
