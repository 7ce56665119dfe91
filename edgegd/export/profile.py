"""One checkpoint in the formats of another runtime profile, and whether a file suits a profile."""

from __future__ import annotations

from typing import Any

import onnx
import torch

from edgegd.errors import ProfileError
from edgegd.export.graph_forms import has_signed_activations, largest_weight_code
from edgegd.plan.profiles import TABLES
from edgegd.quant.attach import QuantizedModel


def for_profile(quantized: QuantizedModel, profile: str) -> QuantizedModel:
    """The same model, in evaluation mode, with a plan for `profile`; the float model inside is shared.

    Ranges of activations stay: int8 codes are uint8 codes less 128. Weights of fewer bits than were trained are
    quantized anew, each scale from the largest weight of its channel (`requantizes` says whether). Weights of fewer
    bits than the profile's stay as they were trained.
    """
    wanted = quantized.plan.for_profile(profile)
    quantizers: list[Any] = list(quantized.weights.values())
    learned = any(quantizer.log_scale is not None for quantizer in quantizers)
    other = QuantizedModel(quantized.model, wanted, learned_weight_scales=learned)
    other.load_state_dict(quantized.state_dict())
    trained_qmax = quantized.plan.weight_format.qmax
    if wanted.weight_format.qmax < trained_qmax:
        other.follow_weights(tie=True)
    elif wanted.weight_format.qmax > trained_qmax:
        _saturate_weights(other, trained_qmax)
    return other.eval()


@torch.no_grad()
def _saturate_weights(quantized: QuantizedModel, qmax: int) -> None:
    # A learned scale lets weights saturate at the codes of training, which are fewer than those of this profile.
    for op in [op for op in quantized.plan.ops if op.weight and op.result]:
        weight: Any = quantized.model.get_submodule(op.weight).weight
        limit = (quantized.weight_quantizer(op).scale * qmax).view(-1, 1, 1, 1)
        weight.copy_(weight.clamp(-limit, limit))


def require_suits(graph: onnx.ModelProto, profile: str, name: str) -> None:
    """ProfileError where a file would compute other numbers, or run in float, on CPUs of the profile.

    x86 without VNNI multiplies by VPMADDUBSW, whose int16 sums saturate with 8-bit weights
    (core/mlas/lib/x86_64/ConvSymKernelAvx2.asm); x86 runs int8 activations in float (qdq_selectors.cc). On ARM both
    kinds of activations run in integers, at another speed.
    """
    table = TABLES[profile]
    largest = largest_weight_code(graph)
    export = f"`edgegd export RUN_DIR --profile {profile}`"
    if largest > table.weight.qmax:
        raise ProfileError(
            f"{name} has weights that could saturate on {profile}: its sums of two products are 16 bits wide.",
            expected=f"weight codes in -{table.weight.qmax}..{table.weight.qmax} ({table.weight.bits} bits)",
            found=f"codes up to {largest}",
            mend=f"export the weights with fewer bits ({export}), or set target.profile to {profile} and train so",
        )
    if has_signed_activations(graph) and not table.runs_signed:
        raise ProfileError(
            f"{name} has int8 activations, which onnxruntime runs in float on {profile}.",
            expected=table.activation.name,
            found="int8 activations",
            mend=f"export for the profile: {export}",
        )
