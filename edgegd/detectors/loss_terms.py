"""Summands of a loss that are put together again where a batch is computed in parts, one after another or on several
devices.

A detection loss divides a sum over images by an amount of the same images: matched boxes, the scores of targets. The
mean of the parts' losses is another number than the loss of the whole batch, because parts have other amounts. But sums
add up, and so do amounts: with l = S / max(a, least) for each part, the whole batch's loss is

    sum(S) / max(sum(a), least) = sum(l * max(a, least)) / max(sum(a), least),

whose gradient is the sum of the parts' gradients, each times a number that only needs the amounts of all parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

Parts = dict[str, torch.Tensor]
"""The detached parts of a loss by name."""


@dataclass(frozen=True)
class LossTerm:
    """A scalar `loss`, a sum over images divided by the larger of `amount` and `least`; `parts` of it, divided alike.

    `amount` is a scalar without gradient, or a number, and adds up over images.
    """

    loss: torch.Tensor
    parts: Parts
    amount: torch.Tensor | float
    least: float = 1.0

    def times(self, factor: torch.Tensor | float) -> LossTerm:
        """The same summand with another weight."""
        return LossTerm(self.loss * factor, {n: p * factor for n, p in self.parts.items()}, self.amount, self.least)


def amounts_of(terms: Sequence[LossTerm]) -> torch.Tensor:
    """The amounts of a part's terms, float32 (T,), on the device of its losses."""
    device = terms[0].loss.device
    return torch.stack([torch.as_tensor(term.amount, dtype=torch.float32, device=device).detach() for term in terms])


def joined(terms: Sequence[LossTerm], totals: torch.Tensor | None) -> tuple[torch.Tensor, Parts]:
    """What a part adds to the loss of the whole batch, and to its parts: over all parts they add up to it.

    `totals` (T,) are the amounts of all parts together; None: this part is the whole batch.
    """
    if totals is not None:
        own = amounts_of(terms)
        least = own.new_tensor([term.least for term in terms])
        factors = torch.maximum(own, least) / torch.maximum(totals, least)
        terms = [term.times(factor) for term, factor in zip(terms, factors, strict=True)]
    parts: Parts = {}
    for term in terms:
        for name, value in term.parts.items():
            parts[name] = parts[name] + value if name in parts else value
    return torch.stack([term.loss for term in terms]).sum(), parts
