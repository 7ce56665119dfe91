"""The processes that make one descent together: each has a share of every batch, and all of them the same model.

torch's launcher (torchrun, or edgegd.pipeline.launch) starts them and says in the environment who is who. They talk
through torch.distributed: gloo between CPUs, NCCL between CUDA devices, gloo again for everything that is no gradient.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

from edgegd.errors import TrainingProcessError
from edgegd.launched import VARIABLES, end_with_parent, launched_as

_Value = TypeVar("_Value")
_LONGEST_START = timedelta(minutes=10)  # until all processes are there
_LONGEST_WAIT = timedelta(days=7)  # the others wait while rank 0 trains in float, exports and measures
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}


class OtherEndedError(TrainingProcessError):
    """What a process says that cannot go on because another one has ended; that one's error is the cause."""


@dataclass(frozen=True)
class Ranks:
    """Process `rank` (from 0) of `size`; `local_rank` of `local_size` on its machine. Alone, every method does nothing.

    Every method is called by all processes in the same order. Raises OtherEndedError where another one has ended.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    outer: Any = None
    inner: Any = None
    """torch's groups: `inner` of what is exchanged within a forward or backward pass beside the gradients, `outer` of
    these and of all else."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    @property
    def share(self) -> tuple[int, int]:
        """Which share of a batch is this process's (edgegd.detectors.data_order.share_of)."""
        return self.rank, self.size

    def device(self, named: str) -> str:
        """The device of this process where train.device names `named`: on CUDA one each."""
        return f"cuda:{self.local_rank}" if self.size > 1 and named == "cuda" else named

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, the same bits in each; without a gradient."""
        if self.size == 1:
            return tensor
        total = tensor.detach().clone()
        with connected():
            distributed.all_reduce(total, group=self.inner)
        return total

    def sum_gradients(self, gradients: Iterable[torch.Tensor]) -> None:
        """Replaces each tensor by its sum over all processes; all have equally many of the same shapes."""
        found = list(gradients)
        if self.size == 1 or not found:
            return
        flat = self.sum(torch.cat([gradient.flatten() for gradient in found]))
        for gradient, total in zip(found, flat.split([gradient.numel() for gradient in found]), strict=True):
            gradient.copy_(total.view_as(gradient))

    def sum_numbers(self, numbers: dict[str, float]) -> dict[str, float]:
        """The sums by name of what all processes have; a name may be missing in some."""
        if self.size == 1:
            return numbers
        total: dict[str, float] = {}
        for one in self.gather(numbers):
            for name, value in one.items():
                total[name] = total.get(name, 0.0) + value
        return total

    def gather(self, value: _Value) -> list[_Value]:
        """The values of all processes by rank, in each of them."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        with connected():
            distributed.all_gather_object(found, value, group=self.outer)
        return found

    def of_first(self, make: Callable[[], _Value]) -> _Value:
        """What `make()` returns in process 0, in all of them; the others do not call it."""
        if self.size == 1:
            return make()
        found: list[Any] = [make() if self.is_first else None]
        with connected():
            distributed.broadcast_object_list(found, group=self.outer)
        value: _Value = found[0]
        return value

    def first_before_others(self, make: Callable[[], _Value]) -> _Value:
        """What `make()` returns in this process; the others begin when the first has ended."""
        made = [make()] if self.is_first else []
        self.of_first(lambda: None)
        return made[0] if made else make()

    def require_equal(self, tensors: Iterable[torch.Tensor], what: str) -> None:
        """Raises TrainingProcessError where these tensors are not the same bits in all processes."""
        found = [*tensors]
        if self.size == 1 or not found:
            return
        codes = fingerprint(found)
        ends = torch.stack([codes, -codes])  # the largest, and the smallest with its sign changed
        with connected():
            distributed.all_reduce(ends, distributed.ReduceOp.MAX, group=self.inner)
        if not torch.equal(ends[0], -ends[1]):
            raise TrainingProcessError(
                f"The processes of this training no longer have the same {what}.",
                expected=f"equal bits in all {self.size} of them",
                mend="train on machines of one kind, with the same versions of torch, or on one device: "
                "--set train.devices=1; the checkpoint stands",
            )


ALONE = Ranks()
_joined = [ALONE]


def current_ranks() -> Ranks:
    """The processes that this one was joined with, ALONE without any."""
    return _joined[0]


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """In this block the processes of torch's launcher are one group, whose `current_ranks` this one is part of.

    Without a launcher, or with a single process, it is alone. What the launcher said in the environment is taken away.
    """
    launched = launched_as()
    if launched is None:
        yield ALONE
        return
    end_with_parent()
    if launched.size == launched.local_size and sys.platform in _LOOPBACK:
        # Elsewhere gloo takes the network's interface that the host's name stands for, which may lead nowhere.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK[sys.platform])
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(launched.local_rank % torch.cuda.device_count())
    with connected():
        distributed.init_process_group(backend, timeout=_LONGEST_START)
        outer, inner = (distributed.new_group(timeout=_LONGEST_WAIT) for _ in range(2))
    for name in VARIABLES:
        del os.environ[name]  # Ultralytics would wait for other processes wherever it opens a file
    _joined[0] = ranks = Ranks(launched.rank, launched.size, launched.local_rank, launched.local_size, outer, inner)
    try:
        yield ranks
    finally:
        _joined[0] = ALONE
    distributed.destroy_process_group()  # not after an error: it would wait for what the others no longer send


@contextmanager
def connected() -> Iterator[None]:
    """Within it, what torch raises because another process has ended is an OtherEndedError."""
    try:
        yield
    except RuntimeError as error:
        if not _is_of_connection(error):
            raise
        raise OtherEndedError(
            "Another process of this training has ended, so this one cannot go on.",
            expected="all processes until the end",
            found=str(error).splitlines()[0][:200],
            mend="run the same command again: training goes on from its checkpoint",
        ) from error


def _is_of_connection(error: RuntimeError) -> bool:
    kinds = (distributed.DistBackendError, distributed.DistNetworkError, distributed.DistStoreError)
    text = str(error).lower()
    return isinstance(error, kinds) or any(word in text for word in ("gloo", "nccl", "connection", "processgroup"))


def fingerprint(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """A number of tensors' bits, int64 (): each float32's bits, times an odd number of its own, added modulo 2^64."""
    flat = torch.cat([tensor.detach().flatten().float() for tensor in tensors])
    weights = torch.arange(len(flat), dtype=torch.int64, device=flat.device) * 2 + 1
    # Halved, so that its negative is a number too.
    return (flat.view(torch.int32).to(torch.int64) * weights * 0x9E3779B97F4A7C1).sum() >> 1
