"""AdaRound (Nagel et al. 2020), layer by layer: each weight is rounded up or down, and gradient descent learns which.

A trial that stands beside edgegd.quant.rounding (GPTQ) in benchmarks/refinements.py, with its arguments and result. A
layer's error is a quadratic form of its weights' errors, so the correlations of the inputs are all that is needed.
"""

from __future__ import annotations

import torch

STEPS, RATE, PENALTY = 300, 3e-2, 1e-2  # Adam's; PENALTY is of the mean squared error before the descent
WARM_UP, BETA = 0.2, (20.0, 2.0)  # the share of steps without penalty; its exponent falls from the first to the second
ZETA, GAMMA = 1.1, -0.1  # the ends of the stretched sigmoid


@torch.enable_grad()
def round_weights(weight: torch.Tensor, correlations: torch.Tensor, scale: torch.Tensor, qmax: int) -> torch.Tensor:
    """Codes (whole numbers in float32) of `weight` (C_out, d), of which each row has a scale (C_out,).

    `correlations` (d, d) are those of the d inputs, about their means. Codes are within -qmax..qmax.
    """
    exact = (weight / scale[:, None]).detach()
    below = exact.floor()
    share = (exact - below).clamp(0.01, 0.99)
    ratio = (share - GAMMA) / (ZETA - GAMMA)
    free = torch.log(ratio / (1 - ratio)).requires_grad_()
    power = correlations.detach() * 1.0
    row_weight = scale.square()[:, None]  # errors of rows count in the units of the sums

    def error(codes: torch.Tensor) -> torch.Tensor:
        difference = codes - exact
        return ((difference @ power) * difference * row_weight).sum()

    unit = error(exact.round()).clamp(min=torch.finfo(torch.float32).tiny)
    optimizer = torch.optim.Adam([free], lr=RATE)
    for step in range(STEPS):
        up = (torch.sigmoid(free) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)
        loss = error((below + up).clamp(-qmax, qmax)) / unit
        progress = (step / STEPS - WARM_UP) / (1 - WARM_UP)
        if progress >= 0:
            beta = BETA[1] + (BETA[0] - BETA[1]) * (1 - progress)
            loss = loss + PENALTY * (1 - (2 * up - 1).abs().pow(beta)).mean() * 100
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    up = torch.sigmoid(free.detach()) * (ZETA - GAMMA) + GAMMA
    return (below + (up > 0.5)).clamp(-qmax, qmax)
