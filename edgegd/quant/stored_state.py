"""Loading the weights and ranges that a stage stored into a quantized model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from edgegd.errors import CheckpointUnreadableError
from edgegd.plan.stored_state import read_arrays
from edgegd.quant.attach import QuantizedModel


def load_state(path: Path, quantized: QuantizedModel, command: str) -> None:
    """Loads a .safetensors file of `quantized.state_dict()`; `command` is what makes the file anew, for the message.

    Raises, beside what read_arrays raises, CheckpointUnreadableError for a file of another version of edgegd.
    """
    arrays = read_arrays(path, quantized.plan, command)
    _require_layout(path, arrays, quantized.state_dict(), f"make it anew: `{command}`")
    quantized.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})


def _require_layout(path: Path, state: dict[str, Any], expected: dict[str, Any], mend: str) -> None:
    problems = [f"{name} is missing" for name in expected if name not in state]
    problems += [f"{name} is not of this model" for name in state if name not in expected]
    problems += [
        f"{name} has shape {tuple(state[name].shape)}, not {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    if problems:
        raise CheckpointUnreadableError(
            f"{path} is of another version of edgegd, or of another model.",
            expected=f"the {len(expected)} tensors of this model",
            found="; ".join(problems[:3]),
            mend=mend,
        )
