"""One quantized model's weights and ranges in the formats of another runtime profile."""

from __future__ import annotations

import dataclasses

import numpy as np

from edgegd.plan.profiles import TABLES
from edgegd.plan.quant_plan import PlannedOp, QuantPlan
from edgegd.plan.quantized_state import Array, QuantizedState, integer_convolutions, tied_weight_scales


def requantizes(trained_for: str, profile: str) -> bool:
    """Whether a model trained for one profile has other weights in another."""
    return TABLES[profile].weight.qmax < TABLES[trained_for].weight.qmax


def in_profile(plan: QuantPlan, state: QuantizedState, profile: str) -> tuple[QuantPlan, QuantizedState]:
    """The plan and the state of the same model for `profile`.

    Ranges of activations stay: int8 codes are uint8 codes less 128. Weights of fewer bits than were trained are
    quantized anew, each scale from the largest weight of its channel (`requantizes` says whether). Weights of fewer
    bits than the profile's stay as they were trained.
    """
    wanted, trained_qmax = plan.for_profile(profile), plan.weight_format.qmax
    if wanted.weight_format.qmax < trained_qmax:
        return wanted, dataclasses.replace(state, weight_scales=tied_weight_scales(wanted, state))
    if wanted.weight_format.qmax > trained_qmax:
        saturated = {f"{op.weight}.weight": _saturated(op, state, trained_qmax) for op in integer_convolutions(plan)}
        return wanted, dataclasses.replace(state, parameters={**state.parameters, **saturated})
    return wanted, state


def _saturated(op: PlannedOp, state: QuantizedState, qmax: int) -> Array:
    # A learned scale lets weights saturate at the codes of training, which are fewer than those of this profile.
    weight = state.parameters[f"{op.weight}.weight"]
    limit = state.weight_scales[op.weight] * np.float32(qmax)
    per_channel = limit.reshape(-1, *[1] * (weight.ndim - 1))  # (C_out,) -> (C_out, 1, 1, 1)
    return weight.clip(-per_channel, per_channel)
