"""/proc/cpuinfo of a server, a laptop and Raspberry Pis, in the form that their kernels print.

The server's text was read off a machine and shortened; the others were written by hand, with invented serials.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edgegd.device.fingerprint import differences, fingerprint, parse_cpuinfo

XEON = """\
processor	: 0
vendor_id	: GenuineIntel
cpu family	: 6
model		: 106
model name	: Intel(R) Xeon(R) Processor @ 2.80GHz
stepping	: 6
microcode	: 0x1
cpu MHz		: 2800.000
cache size	: 55296 KB
flags		: fpu vme de pse tsc msr sse sse2 ssse3 fma sse4_1 sse4_2 avx f16c avx2 avx512f avx512dq avx512bw avx512vl \
avx512_vbmi2 gfni avx512_vnni avx512_bitalg
bugs		: spectre_v1 spectre_v2 mmio_stale_data eibrs_pbrsb

processor	: 1
model name	: Intel(R) Xeon(R) Processor @ 2.80GHz
flags		: fpu vme de pse tsc msr sse sse2 ssse3 fma sse4_1 sse4_2 avx f16c avx2 avx512f avx512dq avx512bw avx512vl \
avx512_vbmi2 gfni avx512_vnni avx512_bitalg
"""
HASWELL = """\
processor	: 0
vendor_id	: GenuineIntel
model		: 60
model name	: Intel(R) Core(TM) i7-4770 CPU @ 3.40GHz
flags		: fpu vme sse sse2 ssse3 fma sse4_1 sse4_2 movbe popcnt avx f16c rdrand bmi1 avx2 bmi2
"""
ALDER_LAKE = """\
processor	: 0
model name	: 12th Gen Intel(R) Core(TM) i5-1240P
flags		: fpu sse sse2 ssse3 fma avx f16c avx2 bmi2 avx_vnni vaes vpclmulqdq
"""
PI_4 = """\
processor	: 0
BogoMIPS	: 108.00
Features	: fp asimd evtstrm crc32 cpuid
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x0
CPU part	: 0xd08
CPU revision	: 3

processor	: 3
BogoMIPS	: 108.00
Features	: fp asimd evtstrm crc32 cpuid
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x0
CPU part	: 0xd08
CPU revision	: 3

Hardware	: BCM2835
Revision	: c03114
Serial		: 10000000a1b2c3d4
Model		: Raspberry Pi 4 Model B Rev 1.4
"""
PI_4_32_BIT = """\
processor	: 0
model name	: ARMv7 Processor rev 3 (v7l)
BogoMIPS	: 108.00
Features	: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm crc32
CPU implementer	: 0x41
CPU architecture: 7
CPU variant	: 0x0
CPU part	: 0xd08
CPU revision	: 3

Hardware	: BCM2711
Model		: Raspberry Pi 4 Model B Rev 1.4
"""
PI_5 = """\
processor	: 0
BogoMIPS	: 108.00
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x4
CPU part	: 0xd0b
CPU revision	: 1

Revision	: d04170
Serial		: 20000000a1b2c3d4
Model		: Raspberry Pi 5 Model B Rev 1.0
"""
RK3588 = """\
processor	: 0
Features	: fp asimd evtstrm aes crc32 atomics asimdhp asimddp
CPU implementer	: 0x41
CPU part	: 0xd05

processor	: 4
Features	: fp asimd evtstrm aes crc32 atomics asimdhp asimddp
CPU implementer	: 0x41
CPU part	: 0xd0b
"""
UNEVEN = RK3588.replace(
    "asimdhp asimddp\nCPU implementer	: 0x41\nCPU part	: 0xd05",
    "asimdhp\nCPU implementer	: 0x51\nCPU part	: 0x803",
)


@pytest.mark.parametrize(
    ("text", "name", "instruction_sets"),
    [
        (XEON, "Intel(R) Xeon(R) Processor @ 2.80GHz", ("avx2", "avx512f", "avx512_vnni")),
        (HASWELL, "Intel(R) Core(TM) i7-4770 CPU @ 3.40GHz", ("avx2",)),
        (ALDER_LAKE, "12th Gen Intel(R) Core(TM) i5-1240P", ("avx2", "avx_vnni")),
        (PI_4, "Cortex-A72 (Raspberry Pi 4 Model B Rev 1.4)", ()),
        (PI_4_32_BIT, "Cortex-A72 (Raspberry Pi 4 Model B Rev 1.4)", ()),
        (PI_5, "Cortex-A76 (Raspberry Pi 5 Model B Rev 1.0)", ("asimddp",)),
        (RK3588, "Cortex-A55 + Cortex-A76", ("asimddp",)),
        (UNEVEN, "ARM implementer 0x51 part 0x803 + Cortex-A76", ()),
        ("", "unknown", ()),
    ],
    ids=[
        "xeon",
        "haswell",
        "alder lake",
        "pi 4",
        "pi 4 in 32 bits",
        "pi 5",
        "two kinds of core",
        "a core without dot product",
        "no cpuinfo",
    ],
)
def test_parse_cpuinfo(text: str, name: str, instruction_sets: tuple[str, ...]) -> None:
    cpu = parse_cpuinfo(text)
    assert (cpu.name, cpu.instruction_sets) == (name, instruction_sets)


def test_fingerprint_interprets_the_facts_of_another_machine() -> None:
    facts: dict[str, Any] = {
        "cpuinfo": PI_5,
        "architecture": "aarch64",
        "kernel": "6.6.31+rpt-rpi-2712",
        "logical_cores": 4,
        "usable_cores": 3,
        "core_mask": [1, 2, 3],
        "onnxruntime_build": "git-commit-id=1",
        "governor": "ondemand",
        "max_frequency_khz": "2400000",
        "onnxruntime": "1.23.0",
        "numpy": "2.0.0",
        "python": "3.11.2",
    }
    result = fingerprint(facts)
    assert result["cpu"].startswith("Cortex-A76") and result["instruction_sets"] == ["asimddp"]
    assert (result["governor"], result["max_frequency_mhz"], result["usable_cores"]) == ("ondemand", 2400.0, 3)
    assert fingerprint({**facts, "governor": "", "max_frequency_khz": ""})["max_frequency_mhz"] is None
    assert "a1b2c3d4" not in json.dumps(result), "the serial number of a board is nobody's business"


def test_fingerprint_of_this_machine_names_its_versions() -> None:
    result = fingerprint()
    assert (result["onnxruntime"], result["numpy"]) == (onnxruntime.__version__, np.__version__)
    assert result["python"] == ".".join(map(str, sys.version_info[:3]))


def test_differences_name_what_is_unlike() -> None:
    here = fingerprint()
    assert differences(here, dict(here)) == ()
    other = here | {"governor": "powersave", "core_mask": [0]}
    assert differences(here | {"governor": None}, other) == (
        f"core_mask: {here['core_mask']}, [0]",
        "governor: None, powersave",
    )
    shorter = {key: value for key, value in here.items() if key != "kernel"}
    assert differences(here, shorter) == (f"kernel: {here['kernel']}, not recorded",)
