"""The target profile of a run: resolved once, from the machine that `target.host` names, and kept in run.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgegd.device.profile import Machine, this_machine
from edgegd.errors import EdgegdError, ProfileError, TargetUnknownError
from edgegd.foreign_text import one_line
from edgegd.recipe.schema import AUTO_PROFILE, LOCAL_HOST, PROFILES, Recipe, TargetSection
from edgegd.targets.cpu import LONGEST_CPU, machine_of
from edgegd.targets.registry import find_target
from edgegd.verify.proof import proof_here

_MEND = f"give the profile: --set target.profile=PROFILE ({', '.join(PROFILES)})"


@dataclass(frozen=True)
class TargetProfile:
    """What a run's files are for.

    `explicit` says whether the recipe names the profile. `cpu` and `needs` are the CPU of `host` when the run was
    started and the profile that it needs: "" and None where it could not be asked.
    """

    profile: str
    explicit: bool
    host: str
    cpu: str
    needs: str | None

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TargetProfile:
        """The choice that `to_json` gave; ValueError, KeyError or TypeError for anything else."""
        choice = cls(**data)
        texts = (choice.profile, choice.host, choice.cpu, choice.needs or "")
        if not all(isinstance(text, str) for text in texts) or not isinstance(choice.explicit, bool):
            raise TypeError("profile, host, cpu and needs must be texts, explicit true or false")
        if choice.profile not in PROFILES or choice.needs not in (None, *PROFILES):
            raise ValueError(f"unknown profile {choice.profile!r}, or needs {choice.needs!r}")
        return replace(choice, cpu=one_line(choice.cpu, LONGEST_CPU))


def resolve(section: TargetSection, kept: TargetProfile | None = None) -> TargetProfile:
    """The profile of a run; `kept` is that of the folder which the run continues.

    A profile in the recipe wins; otherwise the folder keeps the one it was started with, and a new one takes what the
    CPU of `target.host` needs. Raises the errors of a device that cannot be asked, and ProfileError for a CPU of an
    unknown kind, unless the recipe names the profile.
    """
    host = section.host
    if section.profile != AUTO_PROFILE:
        machine = _asked_in_vain(host)
        return TargetProfile(section.profile, True, host, machine.cpu, machine.profile)
    if kept is not None and kept.explicit:
        kept = None  # an override that was given before and is not given now
    if kept is not None and kept.host == host:
        return kept
    machine = _ask(host)
    if kept is not None:
        return replace(kept, host=host, cpu=machine.cpu, needs=machine.profile)
    if machine.profile is None:
        raise ProfileError(
            f"The CPU of {host} is of no kind that has a target profile.",
            found=machine.cpu,
            expected="x86-64 or 64-bit ARM",
            mend=_MEND,
        )
    return TargetProfile(machine.profile, False, host, machine.cpu, machine.profile)


def resolved(recipe: Recipe, choice: TargetProfile) -> Recipe:
    """The recipe with the profile in it that was chosen; one that names a profile stays as it is."""
    if recipe.target.profile != AUTO_PROFILE:
        return recipe
    return replace(recipe, target=replace(recipe.target, profile=choice.profile))


def remarks(choice: TargetProfile, run_dir: Path) -> Iterator[str]:
    """What a user must know before any work: the profile, who needs another, and what will not be proved here."""
    local = choice.host == LOCAL_HOST
    target = this_machine() if local else Machine(choice.cpu, choice.needs)
    name = f"{target.cpu} ({'this machine' if local else choice.host})"
    yield f"target profile {choice.profile}, {'as the recipe says' if choice.explicit else f'chosen for {choice.cpu}'}"
    if not target.cpu:
        yield f"{choice.host} did not answer: whether its CPU is of this profile was not asked"
    if target.profile is not None and target.profile != choice.profile:
        kept = "the recipe asks for" if choice.explicit else "this run folder was made for, and keeps,"
        yield (
            f"{name} needs the profile {target.profile}; {kept} {choice.profile}. Files for it too: "
            f"`edgegd export {run_dir} --profile {target.profile}`, then `edgegd verify {run_dir} --profile "
            f"{target.profile}`"
        )
    proof = proof_here(choice.profile)
    if proof.not_proved:
        yield (
            f"proved here, on {proof.cpu}: kernels counted, every code and the mAP by {proof.arithmetic}. Not proved "
            f"here: {'; '.join(proof.not_proved)}"
        )


def _ask(host: str) -> Machine:
    try:
        with closing(find_target(host)) as target:
            return machine_of(target)
    except TargetUnknownError:
        raise
    except EdgegdError as error:
        raise type(error)(
            f"The CPU of {host} decides the profile, and cannot be asked. {error.what}",
            expected=error.expected,
            found=error.found,
            mend=f"{error.mend}; or {_MEND}" if error.mend else _MEND,
        ) from error


def _asked_in_vain(host: str) -> Machine:
    """The CPU of a host that need not answer, but must be known."""
    try:
        return _ask(host)
    except TargetUnknownError:
        raise
    except EdgegdError:
        return Machine("", None)
