"""What this CPU is to the tests, and what a test says that cannot run on it.

Every reason that begins with `CPU: ` is listed by name at the end of a test run (cpu_report.py), and no more than 2 %
of the tests may have one: a test that can ask for exact arithmetic, or for this CPU's own kernels, does that instead.
"""

from __future__ import annotations

import platform

import pytest

from edgegd.device.fingerprint import fingerprint
from edgegd.doctor import needed_profile

MARK = "CPU: "
MACHINE = fingerprint()
PROFILE = needed_profile(MACHINE["architecture"], MACHINE["instruction_sets"])
"""The target profile that models for this CPU are planned for; None where the project knows none."""


def description() -> str:
    """This CPU and its profile in one line."""
    sets = ", ".join(MACHINE["instruction_sets"]) or "no instruction set that matters here"
    return f"{MACHINE['cpu']} ({MACHINE['architecture']}; {sets}): target profile {PROFILE}"


def reason_for(profiles: tuple[str, ...], why: str) -> str:
    """Why a test for CPUs of these profiles does not run on this one."""
    return f"{MARK}for {' or '.join(profiles)}, and this one is {PROFILE or 'of another kind'}: {why}"


def skip_unless(*profiles: str, why: str) -> None:
    """Ends a test, or every test that asks for a fixture, on CPUs of other profiles."""
    if PROFILE not in profiles:
        pytest.skip(reason_for(profiles, why))


def needs_cpu(*profiles: str, why: str) -> pytest.MarkDecorator:
    """Marks tests that only CPUs of these profiles can run."""
    return pytest.mark.skipif(PROFILE not in profiles, reason=reason_for(profiles, why))


def skip_without_emulation() -> None:
    """Ends tests that emulate other CPUs where edgegd emulates none."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip(f"{MARK}other CPUs are emulated on x86-64 Linux only, and this is {platform.machine()}")


if __name__ == "__main__":
    print(description())
