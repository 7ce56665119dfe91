"""Which target profile a CPU needs, and whether its own kernels compute a profile's files exactly.

The judgements are those of onnxruntime's MLAS (onnxruntime/core/mlas/lib/platform.cpp): products of uint8 and int8 are
summed in 32 bits where the CPU has VNNI or is ARM, and by VPMADDUBSW, which saturates at 16 bits, on other x86.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from edgegd.device.fingerprint import fingerprint
from edgegd.plan.profiles import TABLES

SATURATING = "x86-avx2"
"""The profile of CPUs whose kernels saturate with 8-bit weights; its own files have 7-bit weights, which cannot."""


@dataclass(frozen=True)
class Machine:
    """A CPU's name, and the target profile that it needs: None for a CPU of a kind that was never tested."""

    cpu: str
    profile: str | None


def needed_profile(architecture: str, instruction_sets: Collection[str]) -> str | None:
    """The target profile a model for this CPU must be planned for; None for an unknown architecture."""
    suiting = (name for name, table in TABLES.items() if table.runs_on(architecture.lower(), instruction_sets))
    return next(suiting, None)


def is_signed(profile: str | None) -> bool:
    """Whether a profile's files have int8 activations; False for no profile."""
    return profile in TABLES and TABLES[profile].activation.signed


def runs_signed(profile: str | None) -> bool:
    """Whether onnxruntime runs int8 activations in integers on a profile's CPUs, as on ARM; False for no profile."""
    return profile in TABLES and TABLES[profile].runs_signed


def this_machine() -> Machine:
    """The machine that runs this process."""
    facts = fingerprint()
    return Machine(facts["cpu"], needed_profile(facts["architecture"], facts["instruction_sets"]))
