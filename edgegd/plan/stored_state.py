"""Reading the weights and ranges that a stage stored, as arrays, and checking that they are some."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from edgegd.errors import CheckpointUnreadableError, PlanError
from edgegd.plan.quant_plan import QuantPlan
from edgegd.plan.quantized_state import Array, QuantizedState, state_from_arrays, state_names


def read_arrays(path: Path, plan: QuantPlan, command: str) -> dict[str, Array]:
    """The arrays of a .safetensors file by name; `command` is what makes the file anew, for the message.

    Raises:
        CheckpointUnreadableError: not such a file, truncated, or with values that are no weights and ranges (not
            finite; a scale that is not positive; a zero point outside 0..255).
        PlanError: it was stored under another plan.
    """
    mend = f"make it anew: `{command}`"
    try:
        with safe_open(path, framework="np") as file:
            metadata, arrays = file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointUnreadableError(
            f"{path} is truncated or is no safetensors file.",
            expected="weights and ranges that edgegd stored",
            found=str(error),
            mend=mend,
        ) from error
    if metadata.get("plan_sha256") != plan.sha256:
        raise PlanError(
            f"{path} holds the ranges of another plan.",
            expected=f"plan {plan.sha256[:12]}",
            found=f"plan {metadata.get('plan_sha256', 'unnamed')[:12]}",
            mend=mend,
        )
    for name, value in arrays.items():
        if fault := _fault(name, value):
            raise CheckpointUnreadableError(
                f"{path}: {name} {fault}.",
                expected="finite weights, positive scales, zero points in 0..255",
                found=f"values from {float(value.min()):.3g} to {float(value.max()):.3g}",
                mend=mend,
            )
    return arrays


def read_state(path: Path, plan: QuantPlan, command: str) -> QuantizedState:
    """The weights and ranges of the model that `plan` quantizes.

    Raises, beside what read_arrays raises, CheckpointUnreadableError where one of the plan's is missing or has another
    shape.
    """
    arrays = read_arrays(path, plan, command)
    names = state_names(plan)
    problems = [f"the {what} ({name}) is missing" for name, what in names.items() if name not in arrays]
    for name, what in names.items():
        of_range = name.startswith("ranges.")
        if name in arrays and arrays[name].ndim != (0 if of_range else 1):
            problems.append(f"the {what} ({name}) has shape {arrays[name].shape}")
    if problems:
        raise CheckpointUnreadableError(
            f"{path} is of another version of edgegd, or of another model.",
            expected=f"the {len(names)} ranges and scales of the plan",
            found="; ".join(problems[:3]),
            mend=f"make it anew: `{command}`",
        )
    return state_from_arrays(arrays, plan)


def _fault(name: str, value: Array) -> str:
    if not np.isfinite(value).all():
        return "has values that are not finite"
    of_range = name.startswith(("ranges.", "weights."))
    if of_range and name.endswith(".scale") and (value <= 0).any():
        return "has scales that are not positive"
    if of_range and name.endswith(".zero_point") and not ((value >= 0) & (value <= 255)).all():
        return "is no zero point of uint8"
    return ""
