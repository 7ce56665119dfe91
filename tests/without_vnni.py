"""Runs a command as on an x86 CPU without VNNI and AVX-512, at native speed, on one that has them.

    python tests/without_vnni.py COMMAND ...        (`make test-avx2` runs the test suite so)

onnxruntime chooses its kernels by the CPUID instruction. A copy of its library gets UD2 in the place of every CPUID,
and a handler of SIGILL (without_vnni.c) answers without the bits of AVX-512, VNNI and AMX. The kernels that run are
those of a CPU with AVX2 alone, and they saturate where those do. In a mount namespace of the command, that copy lies
over the library, /etc/ld.so.preload names the handler, and /proc/cpuinfo lacks the same flags, so that edgegd sees such
a CPU too. torch is told by its own variables. Needs x86-64 Linux with namespaces, a C compiler and objdump. Latency
measured so is that of AVX2 kernels on this CPU, not that of an older CPU; the CPU's name says that VNNI is hidden.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

HIDDEN_FLAGS = re.compile(r" (avx512\w*|avx_vnni\w*|amx\w*)")
HIDDEN = "(VNNI and AVX-512 hidden)"
VARIABLES = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
MOUNT_AND_RUN = """
mount --bind "$1" /proc/cpuinfo && mount --bind "$2" "$3" && mount --bind "$4" /etc || exit
shift 4
exec "$@"
"""
CPUID, UD2 = b"\x0f\xa2", b"\x0f\x0b"


def library() -> Path:
    """onnxruntime's compiled library."""
    spec = find_spec("onnxruntime")
    assert spec is not None and spec.origin is not None
    (path,) = Path(spec.origin).parent.glob("capi/onnxruntime_pybind11_state*.so")
    return path


def without_cpuid(path: Path) -> bytes:
    """The library's bytes with UD2 in the place of every CPUID of its code."""
    sections = subprocess.run(["objdump", "-h", "-w", path], check=True, capture_output=True, text=True).stdout
    found = re.search(r"\.text\s+[0-9a-f]+\s+([0-9a-f]+)\s+[0-9a-f]+\s+([0-9a-f]+)", sections)
    assert found is not None, "the library has no section .text"
    address, offset = (int(number, 16) for number in found.groups())
    listing = subprocess.Popen(
        ["objdump", "-d", "-j", ".text", "--no-show-raw-insn", path], stdout=subprocess.PIPE, text=True
    )
    content = bytearray(path.read_bytes())
    assert listing.stdout is not None
    for line in listing.stdout:
        if line.rstrip().endswith("\tcpuid"):
            place = int(line.split(":")[0], 16) - address + offset
            assert content[place : place + 2] == CPUID
            content[place : place + 2] = UD2
    return bytes(content)


def cpuinfo() -> str:
    """/proc/cpuinfo without the flags that are hidden."""
    text = HIDDEN_FLAGS.sub("", Path("/proc/cpuinfo").read_text())
    return re.sub(r"^(model name\t*:.*)$", rf"\1 {HIDDEN}", text, flags=re.M)


def unreadable(folder: str, names: list[str]) -> set[str]:
    """What of a folder this user cannot copy."""
    paths = {name: os.path.join(folder, name) for name in names}
    return {name for name, path in paths.items() if not os.path.islink(path) and not os.access(path, os.R_OK)}


def main() -> None:
    """Runs the command line's command; ends with its exit status."""
    if not sys.argv[1:]:
        sys.exit(__doc__)
    source, target = Path(__file__).with_suffix(".c"), library()
    with tempfile.TemporaryDirectory(prefix="without-vnni-") as name:
        folder = Path(name)
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", folder / "answer.so", source, "-ldl"], check=True)
        (folder / "library.so").write_bytes(without_cpuid(target))
        (folder / "cpuinfo").write_text(cpuinfo())
        # Not LD_PRELOAD: programs that start others with an environment of their own, such as sshd, would lose it.
        shutil.copytree("/etc", folder / "etc", symlinks=True, ignore=unreadable, ignore_dangling_symlinks=True)
        (folder / "etc/ld.so.preload").write_text(f"{folder}/answer.so\n")
        namespace = ["unshare", "-m"] if os.getuid() == 0 else ["unshare", "-r", "-m"]
        arguments = [folder / "cpuinfo", folder / "library.so", target, folder / "etc", *sys.argv[1:]]
        done = subprocess.run([*namespace, "sh", "-c", MOUNT_AND_RUN, "sh", *arguments], env=os.environ | VARIABLES)
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
