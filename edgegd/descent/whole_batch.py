"""The gradient of one batch that is computed in parts: one after another, and on several devices at once.

Both leave what one device would compute from the whole batch, to the rounding of sums (edgegd.detectors.loss_terms):

- On several devices each process has a share of every batch. Amounts are added before they divide, and
  DistributedDataParallel adds the gradients while the backward pass still runs. It sees the loss and not the model's
  outputs, so that it knows what has no gradient: the head that is not deployed, RT-DETR's embedding of labels where
  there are none, frozen ranges.
- In several parts, one after another, the amounts of later parts are not known yet when the first is differentiated. So
  all parts go through the model once without a gradient, which is the price: a forward pass more.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from edgegd.descent.ranks import Ranks, connected
from edgegd.detectors.loss_terms import LossTerm, Parts, amounts_of, joined
from edgegd.detectors.student import Student

Batch = dict[str, Any]
TermsOf = Callable[[Batch], list[LossTerm]]


class WholeBatch:
    """Losses and gradients of batches in parts, of this process and of all others.

    `terms_of` makes the summands of a part's loss, always equally many of them.
    """

    def __init__(self, student: Student, terms_of: TermsOf, ranks: Ranks) -> None:
        self._student, self._terms_of, self._ranks = student, terms_of, ranks
        self._loss = _PartOfLoss(student, terms_of, ranks)
        self._parallel: DistributedDataParallel | None = None
        self._learning: list[bool] = []

    def backward(
        self, parts: Sequence[Batch], scale: Callable[[torch.Tensor], torch.Tensor], lap: Callable[[str], None]
    ) -> tuple[torch.Tensor, Parts]:
        """Adds the gradient of the whole batch's loss, through `scale`, to that of every parameter, in every process.

        Returns this process's summands of the loss and of its parts, detached. `lap` is called with what just ended.
        """
        totals = self._totals(parts)
        module = self._module()
        sums: Parts = {}
        for number, part in enumerate(parts, 1):
            with contextlib.ExitStack() as stack:
                stack.enter_context(connected())
                if isinstance(module, DistributedDataParallel) and number < len(parts):
                    stack.enter_context(module.no_sync())
                loss, named = module(part, totals)
                lap("forward")
                scale(loss).backward()
            for name, value in {"loss": loss.detach(), **named}.items():
                sums[name] = sums[name] + value if name in sums else value
            lap("backward")
        return sums.pop("loss"), sums

    def gradients(self, parts: Sequence[Batch], parameters: Sequence[nn.Parameter]) -> tuple[float, list[torch.Tensor]]:
        """The whole batch's loss and its gradient by parameter, in every process; nothing is added to any parameter."""
        totals = self._totals(parts)
        total, gradients = 0.0, [torch.zeros_like(parameter) for parameter in parameters]
        for part in parts:
            loss, _ = self._loss(part, totals)
            total += float(loss.detach())
            for sum_, one in zip(gradients, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
                if one is not None:
                    sum_ += one
        self._ranks.sum_gradients(gradients)
        return self._ranks.sum_numbers({"loss": total})["loss"], gradients

    def _totals(self, parts: Sequence[Batch]) -> torch.Tensor | None:
        """The amounts of all parts of all processes; None where the only part's own say it (see _PartOfLoss)."""
        if len(parts) < 2:
            return None
        with torch.no_grad(), torch.random.fork_rng(_cuda_devices(parts)), _statistics_kept(self._student):
            own = torch.stack([amounts_of(self._terms_of(part)) for part in parts]).sum(0)
        return self._ranks.sum(own)

    def _module(self) -> DistributedDataParallel | _PartOfLoss:
        """What is called with a part; DistributedDataParallel anew where other parameters learn than before."""
        if self._ranks.size == 1:
            return self._loss
        learning = [parameter.requires_grad for parameter in self._student.parameters()]
        if self._parallel is None or learning != self._learning:
            self._parallel = None  # its hooks go first
            self._learning = learning
            with connected(), warnings.catch_warnings():
                # Buffers follow from parameters in every process; the argument that is to replace this one sends them.
                warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
                self._parallel = DistributedDataParallel(
                    self._loss,
                    process_group=self._ranks.outer,
                    broadcast_buffers=False,
                    find_unused_parameters=True,
                )
                # Without annotations: torch compares them with its own, and here they are text.
                self._parallel.register_comm_hook(self._ranks.outer, lambda group, bucket: _added_up(bucket, group))
        return self._parallel


class _PartOfLoss(nn.Module):
    """A module whose result is a part's share of the whole batch's loss, and its parts by name."""

    def __init__(self, student: Student, terms_of: TermsOf, ranks: Ranks) -> None:
        super().__init__()
        self.student, self._terms_of, self._ranks = student, terms_of, ranks

    def forward(self, part: Batch, totals: torch.Tensor | None) -> tuple[torch.Tensor, Parts]:
        terms = self._terms_of(part)
        if totals is None and self._ranks.size > 1:
            totals = self._ranks.sum(amounts_of(terms))
        return joined(terms, totals)


def _added_up(bucket: distributed.GradBucket, group: Any) -> torch.futures.Future[torch.Tensor]:
    """The sum of a bucket of gradients over all processes, where DistributedDataParallel would take the mean."""
    work: Any = distributed.all_reduce(bucket.buffer(), group=group, async_op=True)
    future: torch.futures.Future[torch.Tensor] = work.get_future().then(lambda done: done.value()[0])
    return future


def _cuda_devices(parts: Sequence[Batch]) -> list[torch.device]:
    device = parts[0]["img"].device
    return [device] if device.type == "cuda" else []


@contextlib.contextmanager
def _statistics_kept(student: Student) -> Iterator[None]:
    """Within it, a forward pass leaves no trace in the running statistics of BatchNorm."""
    norms = [module for module in student.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    buffers = [buffer for norm in norms for buffer in norm.buffers()]
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
