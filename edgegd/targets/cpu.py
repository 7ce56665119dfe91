"""What CPU a target has, as its own worker reports it."""

from __future__ import annotations

from contextlib import closing

from edgegd.device import latency_worker as worker
from edgegd.device.fingerprint import fingerprint
from edgegd.device.profile import Machine, needed_profile, this_machine
from edgegd.errors import ProfileError
from edgegd.foreign_text import one_line
from edgegd.plan.profiles.x86_vnni import X86_64
from edgegd.targets.base import Target
from edgegd.targets.local import LocalTarget
from edgegd.targets.worker_protocol import WORKER_FILE, ask

LONGEST_CPU = 200  # characters of a CPU's name


def machine_of(target: Target) -> Machine:
    """The CPU of a target and the profile that it needs.

    Raises the errors of a connection, DeviceSoftwareError for a device without Python, ProtocolError, and ProfileError
    for an emulated x86 CPU: QEMU shows the instruction sets of this machine there.
    """
    if isinstance(target, LocalTarget):
        return this_machine()
    with closing(target.start_worker(WORKER_FILE)) as started:
        facts = fingerprint(ask(started, {"hello": worker.PROTOCOL}, 0)["machine"])
    profile = needed_profile(facts["architecture"], facts["instruction_sets"])
    if target.emulated and facts["architecture"].lower() in X86_64:
        raise ProfileError(
            f"The target {target.name} is an emulated x86 CPU, which cannot be asked for its instruction sets.",
            expected="a real device, or a profile given in the recipe",
            found=facts["cpu"],
            mend="give the profile: --set target.profile=x86-avx2",
        )
    return Machine(one_line(facts["cpu"], LONGEST_CPU), profile)
