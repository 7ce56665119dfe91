"""Reading the weights and ranges of a quantized model that a stage stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from edgegd.errors import CheckpointUnreadableError, PlanError
from edgegd.quant.attach import QuantizedModel


def load_state(path: Path, quantized: QuantizedModel, command: str) -> None:
    """Loads a .safetensors file of `quantized.state_dict()`; `command` is what makes the file anew, for the message.

    Raises:
        CheckpointUnreadableError: not such a file, truncated, of another version, or with values that are no weights
            and ranges (not finite; a scale that is not positive; a zero point outside 0..255).
        PlanError: it was stored under another plan.
    """
    mend = f"make it anew: `{command}`"
    try:
        with safe_open(path, framework="pt") as file:
            metadata, state = file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointUnreadableError(
            f"{path} is truncated or is no safetensors file.",
            expected="weights and ranges that edgegd stored",
            found=str(error),
            mend=mend,
        ) from error
    if metadata.get("plan_sha256") != quantized.plan.sha256:
        raise PlanError(
            f"{path} holds the ranges of another plan.",
            expected=f"plan {quantized.plan.sha256[:12]}",
            found=f"plan {metadata.get('plan_sha256', 'unnamed')[:12]}",
            mend=mend,
        )
    _require_layout(path, state, quantized.state_dict(), mend)
    for name, value in state.items():
        if fault := _fault(name, value):
            raise CheckpointUnreadableError(
                f"{path}: {name} {fault}.",
                expected="finite weights, positive scales, zero points in 0..255",
                found=f"values from {float(value.min()):.3g} to {float(value.max()):.3g}",
                mend=mend,
            )
    quantized.load_state_dict(state)


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


def _fault(name: str, value: torch.Tensor) -> str:
    if not value.isfinite().all():
        return "has values that are not finite"
    of_range = name.startswith(("ranges.", "weights."))
    if of_range and name.endswith(".scale") and (value <= 0).any():
        return "has scales that are not positive"
    if of_range and name.endswith(".zero_point") and not 0 <= int(value) <= 255:
        return "is no zero point of uint8"
    return ""
