"""How many threads a model runs with on a device, and on which cores; and which of a device's cores are its big ones."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from edgegd.errors import TuningError
from edgegd.limits import THREADS

# A core is a big one from this share of the largest's capacity on. A Cortex-A55 beside a Cortex-A76 has 0.5.
_BIG_CAPACITY = 0.75
# Without capacities, of the highest frequency: the favoured cores of one kind differ by less than a tenth.
_BIG_FREQUENCY = 0.9


@dataclass(frozen=True, kw_only=True)
class ThreadSetting:
    """Threads of one onnxruntime session, and how it is called.

    `threads` run one operation together: the caller and `threads - 1` of the session's own. `spinning` lets these spin
    for work while an inference runs; they stop at its end. `cores` (numbers of the operating system) are the only ones
    used; empty for all. `workers` inferences run at once on the session; its own threads serve all of them.
    """

    threads: int = 1
    spinning: bool = False
    cores: tuple[int, ...] = ()
    workers: int = 1

    def __str__(self) -> str:
        words = [f"{self.threads} thread{'s' * (self.threads > 1)}"]
        if self.workers > 1:
            words.insert(0, f"{self.workers} workers")
        if self.threads > 1:
            words.append("spinning" if self.spinning else "sleeping")
        if self.cores:
            words.append(f"cores {','.join(map(str, self.cores))}")
        return ", ".join(words)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of every field."""
        return {**asdict(self), "cores": list(self.cores)}

    @classmethod
    def from_json(cls, value: Any) -> ThreadSetting:
        """What `to_json` gave; ValueError for anything else."""
        if not isinstance(value, Mapping):
            raise ValueError(f"a setting of threads is an object, found {value!r:.80}")
        threads, spinning, cores, workers = (value.get(key) for key in ("threads", "spinning", "cores", "workers"))
        counts_right = all(type(count) is int and 1 <= count <= THREADS for count in (threads, workers))
        if not counts_right or type(spinning) is not bool or not isinstance(cores, list):
            raise ValueError(f"no setting of threads: {value!r:.200}")
        if not all(type(core) is int and 0 <= core < THREADS * 64 for core in cores):
            raise ValueError(f"no cores: {cores!r:.80}")
        return cls(threads=threads, spinning=spinning, cores=tuple(cores), workers=workers)


def big_cores(facts: Mapping[str, Any]) -> tuple[int, ...]:
    """The big cores among those that a worker may use, by its machine facts; empty where all are of one kind.

    The kernel's cpu_capacity decides where every core has one, otherwise the highest frequency of cpufreq.
    """
    usable = set(facts["core_mask"])
    cores = [one for one in facts.get("core_speeds", ()) if one["core"] in usable]
    for key, share in (("capacity", _BIG_CAPACITY), ("max_frequency_khz", _BIG_FREQUENCY)):
        speeds = {one["core"]: one.get(key) for one in cores}
        known = {core: speed for core, speed in speeds.items() if speed}
        if known and len(known) == len(usable):
            big = tuple(sorted(core for core, speed in known.items() if speed >= share * max(known.values())))
            if len(big) < len(usable):
                return big
    return ()


def bind(cores: Sequence[int]) -> None:
    """Binds the calling thread, and those that it starts from now on, to these cores; an empty `cores` does nothing.

    Raises TuningError where this process may not use all of them, or the system binds no threads to cores.
    """
    if not cores:
        return
    try:
        os.sched_setaffinity(0, cores)
        found = sorted(os.sched_getaffinity(0))
    except (OSError, AttributeError) as error:
        raise _not_bound(cores, str(error)) from error
    if found != sorted(cores):  # Linux takes those that there are
        raise _not_bound(cores, f"{found}")


@contextmanager
def bound(cores: Sequence[int]) -> Iterator[None]:
    """Binds the calling thread for as long as the block runs; threads that are started in it stay bound."""
    before = os.sched_getaffinity(0) if cores and hasattr(os, "sched_getaffinity") else set()
    try:
        bind(cores)
        yield
    finally:
        if before:
            os.sched_setaffinity(0, before)


def _not_bound(cores: Sequence[int], found: str) -> TuningError:
    return TuningError(
        f"Threads cannot be bound to the cores {', '.join(map(str, cores))}.",
        expected="cores that this process may use",
        found=found,
        mend="tune again on this machine, or give a number of threads",
    )
