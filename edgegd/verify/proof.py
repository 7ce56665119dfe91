"""What checking files of a profile on this machine proves, and what only a device of that profile can."""

from __future__ import annotations

from dataclasses import dataclass

from edgegd.device.profile import SATURATING, is_signed, runs_signed, this_machine

OWN_KERNELS = "this CPU's own kernels"
EXACT_SESSION = "exact sessions (weights as uint8)"
_UNSIGNED_FORM = "{} on the uint8 form of the int8 files"


@dataclass(frozen=True)
class Proof:
    """Where files of a profile are checked, what does the arithmetic there, and what stays to be proved elsewhere."""

    profile: str
    cpu: str
    machine_profile: str | None
    arithmetic: str
    not_proved: tuple[str, ...]


def proof_here(profile: str) -> Proof:
    """What sessions of `edgegd.verify.exact_session` on this machine prove of files of a profile."""
    machine = this_machine()
    own = machine.profile == profile
    arithmetic = EXACT_SESSION if machine.profile == SATURATING and not own else OWN_KERNELS
    if is_signed(profile) and not runs_signed(machine.profile):
        arithmetic = _UNSIGNED_FORM.format(arithmetic)
    not_proved = () if own else (f"what the kernels of {profile} CPUs compute", f"speed on {profile} CPUs")
    return Proof(profile, machine.cpu, machine.profile, arithmetic, not_proved)
