"""What identifies a machine for latency: latencies of unlike fingerprints are not comparable.

The facts are gathered by the worker (`edgegd.device.latency_worker.machine_facts`) on the machine it times, and
interpreted here, so that a device needs no more than the worker's one file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgegd.device.latency_worker import machine_facts

INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")

# (implementer, part) of the MIDR register -> name; Arm Technical Reference Manuals, as listed in util-linux lscpu-arm.c
ARM_CORES = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd04"): "Cortex-A35",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0a"): "Cortex-A75",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd0d"): "Cortex-A77",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
}


@dataclass(frozen=True)
class CpuInfo:
    """A CPU as /proc/cpuinfo describes it: its name, and those of INSTRUCTION_SETS that every core has."""

    name: str
    instruction_sets: tuple[str, ...]


def parse_cpuinfo(text: str) -> CpuInfo:
    """Interpret the text of /proc/cpuinfo of x86 or ARM (Linux, Documentation/arch/arm64/cpu-feature-registers.rst).

    ARM kernels give no model name but an implementer and a part for each core; cores of several kinds are joined by
    ` + `, and the board's name (last paragraph, Raspberry Pi) follows in brackets. Text without either gives "unknown".
    """
    names: list[str] = []
    flags: set[str] | None = None
    board = ""
    for paragraph in text.split("\n\n"):
        pairs = (line.partition(":") for line in paragraph.splitlines())
        fields = {key.strip(): value.strip() for key, _, value in pairs}
        listed = fields.get("flags", fields.get("Features"))
        if listed is not None:
            flags = set(listed.split()) if flags is None else flags & set(listed.split())
        name = _core_name(fields)
        if name and name not in names:
            names.append(name)
        board = fields.get("Model", board)
    found = flags or set()
    name = " + ".join(names) or "unknown"
    return CpuInfo(f"{name} ({board})" if board else name, tuple(s for s in INSTRUCTION_SETS if s in found))


def _core_name(fields: dict[str, str]) -> str:
    if "CPU part" in fields:
        key = fields.get("CPU implementer", "").lower(), fields["CPU part"].lower()
        return ARM_CORES.get(key, f"ARM implementer {key[0]} part {key[1]}")
    return fields.get("model name", "")


def fingerprint(facts: dict[str, Any] | None = None, ready: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The fingerprint of the machine that `facts` describe (`worker.machine_facts()`; None: this machine).

    Keys: cpu, instruction_sets, architecture, logical_cores, usable_cores and core_mask (the affinity), kernel,
    governor and max_frequency_mhz (None where not readable, as in most virtual machines), onnxruntime,
    onnxruntime_build, numpy, python; with `ready`, a worker's answer to `configure`, also its session (threads,
    spinning, optimization, provider) and its inputs (type and sides: the image's size). The model's hash stands
    beside the fingerprint, not in it: models are what is compared.
    """
    facts = machine_facts() if facts is None else facts
    cpu = parse_cpuinfo(facts["cpuinfo"])
    frequency_khz = facts["max_frequency_khz"]
    return {
        "cpu": cpu.name,
        "instruction_sets": list(cpu.instruction_sets),
        "architecture": facts["architecture"],
        "logical_cores": facts["logical_cores"],
        "usable_cores": facts["usable_cores"],
        "core_mask": facts["core_mask"],
        "kernel": facts["kernel"],
        "governor": facts["governor"] or None,
        "max_frequency_mhz": int(frequency_khz) / 1000 if frequency_khz.isdigit() else None,
        "onnxruntime": facts["onnxruntime"],
        "onnxruntime_build": facts["onnxruntime_build"],
        "numpy": facts["numpy"],
        "python": facts["python"],
    } | ({} if ready is None else {key: ready[key] for key in ("session", "inputs")})


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[str, ...]:
    """What is unlike in two fingerprints, each as `key: one, other`; empty where latencies may be compared."""
    return tuple(
        f"{key}: {first.get(key, 'not recorded')}, {second.get(key, 'not recorded')}"
        for key in dict.fromkeys([*first, *second])
        if first.get(key) != second.get(key)
    )
