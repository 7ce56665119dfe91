"""Rounding of a convolution's weights so that its sums, not its weights, change least (GPTQ, Frantar et al. 2023).

Weights are rounded one input at a time, the strongest input first; what a rounding adds to the sums, the weights that
are still to be rounded take back as far as their inputs are correlated with its own. The correlations come from the
quantized inputs of real images. The same closed form is Optimal Brain Quantization's (Frantar et al. 2022, section 4).
"""

from __future__ import annotations

import torch

# The share of the mean power of an input that is added to all of them. Frantar et al. take 0.01; with activations of 8
# bits, whose noise correlations do not know, 1 was better at the head (docs/design.md, "Refinement").
DAMPING = 1.0
_BLOCK = 64  # inputs after which the compensation of all later ones is made at once


def round_weights(
    weight: torch.Tensor, correlations: torch.Tensor, scale: torch.Tensor, qmax: int, damping: float = DAMPING
) -> torch.Tensor:
    """Codes (whole numbers in float32) of `weight` (C_out, d), of which each row has a scale (C_out,).

    `correlations` (d, d) are those of the d inputs, about their means. Codes are within -qmax..qmax.
    """
    order = torch.argsort(correlations.diagonal(), descending=True, stable=True)
    power = correlations.double()[order][:, order]
    power.diagonal().add_(damping * power.diagonal().mean().clamp(min=torch.finfo(torch.float32).tiny))
    # Rows of the upper Cholesky factor of the inverse: how a change of one weight is taken back by the later ones.
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(power)), upper=True).float()
    left, codes = (weight / scale[:, None])[:, order], torch.empty_like(weight)
    for start in range(0, len(order), _BLOCK):
        stop = min(start + _BLOCK, len(order))
        errors = left.new_empty(len(weight), stop - start)
        for column in range(start, stop):
            codes[:, column] = left[:, column].round().clamp_(-qmax, qmax)
            errors[:, column - start] = (left[:, column] - codes[:, column]) / factor[column, column]
            left[:, column:stop] -= errors[:, column - start, None] * factor[column, column:stop]
        left[:, stop:] -= errors @ factor[start:stop, stop:]
    result = torch.empty_like(codes)
    result[:, order] = codes
    return result
