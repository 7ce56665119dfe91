"""What about this machine would be slow or wrong: CPU, system, packages.

Each `check_*` function judges facts that it is given; `diagnose` gathers the facts of this machine. A finding is
`wrong` only where results would be false; an ordinary CPU of any profile is none (edgegd.device.profile).
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from edgegd.device.fingerprint import fingerprint
from edgegd.device.latency_worker import read_text
from edgegd.device.profile import needed_profile

EXTRAS = ("image", "lab", "train", "sweep", "ray", "bench", "dev")
Level = Literal["ok", "note", "slow", "wrong"]
TESTED_ONNXRUNTIME = ((1, 23), (1, 32))
GIB = 2**30
LOW_DISK_GIB, LOW_MEMORY_GIB, TRAIN_MEMORY_GIB = 1.0, 0.5, 4.0
IMPORT_TIMEOUT_S = 300
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "GOMP_CPU_AFFINITY",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
)
SAME_MODULE = (
    {"opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"},
    {"onnxruntime", "onnxruntime-gpu"},
)


@dataclass(frozen=True)
class Finding:
    """One judgement: `slow` costs time, `wrong` gives false results or failures; `mend` may be empty."""

    level: Level
    title: str
    detail: str
    mend: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """The fingerprint of this machine, the target profile it needs (None: unknown CPU) and every finding."""

    fingerprint: dict[str, Any]
    profile: str | None
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict."""
        return {"schema": 1, **asdict(self)}


def diagnose(*, deep: bool = True, folder: Path = Path()) -> Diagnosis:
    """Examine this machine; `folder` is where runs would be stored.

    `deep` also imports torchvision in a process of its own when torch and torchvision are installed (some seconds).
    """
    machine = fingerprint()
    profile = needed_profile(machine["architecture"], machine["instruction_sets"])
    installed: dict[str, str] = {
        canonicalize_name(d.metadata["Name"]): d.version
        for d in importlib.metadata.distributions()
        if d.metadata["Name"]
    }  # a half-removed package has no name
    findings = [
        *check_cpu(profile, machine["cpu"], machine["instruction_sets"]),
        check_cores(machine["usable_cores"]),
        *check_governor(machine["governor"]),
        check_load(os.getloadavg()[0], machine["usable_cores"]),
        *check_space(shutil.disk_usage(folder).free, _available_memory_bytes()),
        *check_environment(os.environ),
        check_onnxruntime(machine["onnxruntime"]),
        *check_packages(_requirements(), installed),
    ]
    if deep and {"torch", "torchvision"} <= installed.keys():
        findings.append(check_torchvision(installed["torch"], installed["torchvision"]))
    return Diagnosis(machine, profile, tuple(findings))


def check_cpu(profile: str | None, cpu: str, instruction_sets: Collection[str]) -> list[Finding]:
    """What the CPU's instruction sets mean for INT8 in onnxruntime."""
    title, has = f"CPU: {cpu}", set(instruction_sets)
    if profile is None:
        return [
            Finding(
                "note",
                title,
                "neither x86-64 nor 64-bit ARM: INT8 was never tested here",
                "compare the accuracy stage's INT8 results with FP32 on this machine before use",
            )
        ]
    if cpu == "unknown":
        return [
            Finding(
                "note",
                title,
                "its instruction sets cannot be read: INT8 may be slow or inexact",
                f"plan for {profile}, then verify and measure on this machine before use",
            )
        ]
    if profile == "x86-vnni":
        return [Finding("ok", title, "has VNNI: INT8 is exact and fast; target profile x86-vnni")]
    if profile == "x86-avx2":
        detail = (
            "no VNNI: target profile x86-avx2, whose 7-bit weights (-63..63) are exact here; files of the other "
            "profiles are verified here in exact sessions, but give other boxes in a plain one"
        )
        if "avx2" in has:
            return [Finding("ok", title, detail)]
        return [Finding("slow", title, f"{detail}; without AVX2 INT8 is slow", "measure before choosing INT8")]
    if profile == "arm64":
        return [Finding("ok", title, "has the ARM dot product: INT8 is exact and fast; target profile arm64")]
    return [
        Finding(
            "slow",
            title,
            "no ARM dot product: INT8 is exact, but takes only 1.2 to 1.4 times fewer instructions than FP32, which "
            "may be as good here; target profile arm64-nodot",
            "measure FP32 and INT8 before choosing INT8; a Cortex-A76 (Raspberry Pi 5) has the dot product",
        )
    ]


def check_cores(usable_cores: int) -> Finding:
    """One core leaves no room for anything beside a measurement."""
    if usable_cores > 1:
        return Finding("ok", f"{usable_cores} usable cores", "enough to keep a measurement and the system apart")
    return Finding("note", "1 usable core", "whatever else runs is part of every latency measured here")


def check_governor(governor: str | None) -> list[Finding]:
    """A frequency governor other than `performance` makes latency depend on what ran before."""
    if governor in (None, "performance"):
        return []
    return [
        Finding(
            "slow",
            f"frequency governor {governor}",
            "the clock may follow the load, and latency with it",
            "sudo cpupower frequency-set -g performance",
        )
    ]


def check_load(load_1min: float, usable_cores: int) -> Finding:
    """More runnable processes than cores: others would be measured along."""
    detail = f"load average {load_1min:.1f} on {usable_cores} cores"
    if load_1min > usable_cores:
        return Finding(
            "slow",
            "this machine is busy",
            f"{detail}: other processes would disturb a measurement",
            "end them or wait, then measure",
        )
    return Finding("ok", "load", detail)


def check_space(free_disk_bytes: int, available_memory_bytes: int | None) -> list[Finding]:
    """Free disk and memory against what a run needs (memory None: not readable)."""
    disk_gib = free_disk_bytes / GIB
    findings = [
        Finding("ok", "disk", f"{disk_gib:.1f} GiB free")
        if disk_gib >= LOW_DISK_GIB
        else Finding(
            "wrong",
            "disk nearly full",
            f"{disk_gib:.2f} GiB free; a run may need {LOW_DISK_GIB:.0f} GiB",
            "free some space, or give --run-dir on another disk",
        )
    ]
    if available_memory_bytes is None:
        return findings
    memory_gib = available_memory_bytes / GIB
    detail = f"{memory_gib:.1f} GiB available"
    if memory_gib < LOW_MEMORY_GIB:
        findings.append(Finding("wrong", "memory", f"{detail}: too little for three models at once", "end others"))
    elif memory_gib < TRAIN_MEMORY_GIB:
        findings.append(
            Finding(
                "note",
                "memory",
                f"{detail}: enough to run models, little for training",
                "train with a smaller train.batch, or on another machine",
            )
        )
    else:
        findings.append(Finding("ok", "memory", detail))
    return findings


def check_environment(environment: Mapping[str, str]) -> list[Finding]:
    """Thread variables: onnxruntime's own thread pool reads none of them, torch and numpy do."""
    detail = "acts on torch and numpy; onnxruntime ignores it and takes the recipe's latency.threads"
    return [Finding("note", f"{name}={environment[name]}", detail) for name in THREAD_VARIABLES if name in environment]


def check_onnxruntime(version: str | None) -> Finding:
    """Whether onnxruntime can be imported and is one of the versions that edgegd was tested with."""
    oldest, newest = (".".join(map(str, v)) for v in TESTED_ONNXRUNTIME)
    if version is None:
        return Finding(
            "wrong", "onnxruntime cannot be imported", "nothing can be run or measured", "pip install onnxruntime"
        )
    if Version(version).release < TESTED_ONNXRUNTIME[0]:
        return Finding(
            "wrong",
            f"onnxruntime {version}",
            f"older than {oldest}, the oldest that was tested",
            f"pip install 'onnxruntime>={oldest}'",
        )
    if Version(version).release[:2] > TESTED_ONNXRUNTIME[1]:
        return Finding(
            "note",
            f"onnxruntime {version}",
            f"newer than the newest tested, {newest}",
            "let the verify stage count the integer kernels before you trust it",
        )
    return Finding("ok", f"onnxruntime {version}", f"tested: {oldest} to {newest}")


def check_packages(requirements: Collection[str], installed: Mapping[str, str]) -> list[Finding]:
    """Installed packages (normalized name -> version) against edgegd's own requirements, one finding per extra.

    `requirements` are lines of the wheel's Requires-Dist, such as `torch>=2.6; extra == 'train'`.
    """
    lacking: dict[str, list[str]] = {}  # extra ("" for the device side) -> packages
    present: dict[str, list[str]] = {}
    for line in requirements:
        requirement = Requirement(line)
        name, extra = canonicalize_name(requirement.name), _extra_of(requirement)
        version = _version_of(name, installed)
        found = "missing" if version is None else _outside(version, requirement.specifier)
        if found:
            lacking.setdefault(extra, []).append(f"{name} ({found})")
        else:
            present.setdefault(extra, []).append(f"{name} {version}")
    findings = []
    for extra in sorted(lacking.keys() | present.keys()):
        title = f"packages of edgegd[{extra}]" if extra else "packages of the device side"
        if extra in lacking:
            findings.append(
                Finding(
                    "note" if extra else "wrong",
                    title,
                    ", ".join(lacking[extra]),
                    f"pip install 'edgegd[{extra}]'" if extra else "pip install edgegd",
                )
            )
        else:
            findings.append(Finding("ok", title, ", ".join(present[extra])))
    return findings


def check_torchvision(torch_version: str, torchvision_version: str, python: str = sys.executable) -> Finding:
    """Import torchvision in a process of its own: a CPU-only torch beside a torchvision built for CUDA fails there."""
    title = f"torchvision {torchvision_version} with torch {torch_version}"
    try:
        done = subprocess.run(
            [python, "-c", "import torchvision"],
            capture_output=True,
            text=True,
            check=False,
            timeout=IMPORT_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return Finding("slow", title, f"importing it takes more than {IMPORT_TIMEOUT_S} s", "look at disk and load")
    if done.returncode == 0:
        return Finding("ok", title, "import torchvision works")
    last_line = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    detail = (
        f"import torchvision fails ({last_line}), and Ultralytics' validator needs it. A CPU-only torch beside a "
        "torchvision built for CUDA does this"
    )
    return Finding(
        "wrong",
        title,
        detail,
        "install both from one index: the package registry, or https://download.pytorch.org/whl/cpu",
    )


def _extra_of(requirement: Requirement) -> str:
    """The extra that a requirement is of; empty for one of edgegd itself."""
    if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
        return ""
    return next((extra for extra in EXTRAS if requirement.marker.evaluate({"extra": extra})), "")


def _outside(version: str, tested: SpecifierSet) -> str:
    """How a version lies outside those that were tested, such as `<8.5,>=8.4.190`; "" within them."""
    if tested.contains(version, prereleases=True):
        return ""
    lowest = next((bound.version for bound in tested if bound.operator == ">="), None)
    if lowest and Version(version) < Version(lowest):
        return f"{version} is older than {lowest}"
    above = ", ".join(bound.version for bound in tested if bound.operator == "<")
    return f"{version} is newer than those that were tested, which are below {above}"


def _requirements() -> list[str]:
    try:
        return importlib.metadata.requires("edgegd") or []
    except importlib.metadata.PackageNotFoundError:
        return []


def _version_of(name: str, installed: Mapping[str, str]) -> str | None:
    """The version of a package, or of another package that installs the same module."""
    names = [name, *next((same - {name} for same in SAME_MODULE if name in same), ())]
    return next((installed[n] for n in names if n in installed), None)


def _available_memory_bytes() -> int | None:
    match = re.search(r"MemAvailable:\s+(\d+) kB", read_text("/proc/meminfo"))
    return int(match[1]) * 1024 if match else None
