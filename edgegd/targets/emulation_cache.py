"""The cache of what emulation needs: QEMU's two programs, and Python with onnxruntime for ARM64.

Below ${EDGEGD_EMULATION_CACHE:-${XDG_CACHE_HOME:-~/.cache}/edgegd/emulation}. Folders are named by their versions,
built under another name and renamed when whole, so that one that exists is complete.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnxruntime

from edgegd.errors import EmulationError
from edgegd.file_locks import lock
from edgegd.home import home
from edgegd.safe_outputs import open_descriptor
from edgegd.targets.emulation_packages import SUITE, PrivateApt, find_mirror, unpack_wheels

CACHE_VARIABLE = "EDGEGD_EMULATION_CACHE"
QEMU_SERIES = "10.0"  # 7.2, the suite's own, crashes when onnxruntime 1.28 or later is imported on ARM64
_QEMU_PROGRAMS = ("qemu-aarch64", "qemu-x86_64")
# Python 3.11 and every library that it, numpy or onnxruntime load.
_ARM64_PACKAGES = (
    "python3.11-minimal",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libc6",
    "libstdc++6",
    "libgcc-s1",
    "zlib1g",
    "libexpat1",
    "libffi8",
    "libbz2-1.0",
    "liblzma5",
)
_WHEELS = "wheels"  # where the unpacked wheels lie in the ARM64 root

Tell = Callable[[str], None]


def cache_folder() -> Path:
    """Where the cache is; the folder need not exist."""
    if CACHE_VARIABLE in os.environ:
        return Path(os.environ[CACHE_VARIABLE])
    return home("XDG_CACHE_HOME", ".cache") / "edgegd" / "emulation"


def qemu(tell: Tell) -> Path:
    """The folder of QEMU's user-mode programs, fetched first if it is not there (63 MB).

    Raises EmulationError on a machine that is not x86-64 Linux, or where it cannot be fetched.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise EmulationError(
            "Other CPUs are emulated on x86-64 Linux only.",
            expected="Linux on x86_64",
            found=f"{platform.system()} on {platform.machine()}",
            mend="run this on such a machine",
        )

    def build(folder: Path, scratch: Path) -> list[str]:
        tell(f"fetching QEMU {QEMU_SERIES} (about 65 MB, once)")
        apt = PrivateApt(scratch / "apt", find_mirror(), {f"{SUITE}-backports": "amd64"})
        files = apt.unpack([f"qemu-user:amd64=1:{QEMU_SERIES}*"], scratch / "unpacked")
        for program in _QEMU_PROGRAMS:
            shutil.copy2(scratch / "unpacked/usr/bin" / program, folder)
        return files

    return cached(f"qemu-{QEMU_SERIES}-{SUITE}", build)


def arm64_root(tell: Tell) -> Path:
    """A folder that holds Python 3.11 and this machine's version of onnxruntime for ARM64, made first if missing.

    Raises EmulationError where it cannot be fetched, or does not run.
    """
    version = onnxruntime.__version__

    def build(folder: Path, scratch: Path) -> list[str]:
        tell(f"fetching Python 3.11 and onnxruntime {version} for ARM64 (about 60 MB, once)")
        apt = PrivateApt(scratch / "apt", find_mirror(), {SUITE: "arm64"})
        files = apt.unpack([f"{package}:arm64" for package in _ARM64_PACKAGES], folder)
        files += unpack_wheels([f"onnxruntime=={version}", "numpy>=1.26"], scratch, folder / _WHEELS)
        # Proves that it runs, and compiles what is imported once for all.
        command, environment = arm64_python(folder, emulator, "cortex-a76")
        done = subprocess.run(
            [*command, "-c", "import onnxruntime; print(onnxruntime.__version__)"],
            text=True,
            env=os.environ | environment,
            capture_output=True,
            check=False,
        )
        if done.stdout.strip() != version:
            raise EmulationError(
                "onnxruntime does not run on the emulated CPU.",
                expected=f"version {version}",
                found=f"status {done.returncode}: {(done.stdout + done.stderr).strip()[-600:]}",
                mend="report it, with the versions named in docs/emulation.md",
            )
        return files

    emulator = qemu(tell)
    return cached(f"arm64-{SUITE}-onnxruntime-{version}", build)


def arm64_python(root: Path, emulator: Path, cpu: str) -> tuple[list[str], dict[str, str]]:
    """The command that starts Python of `root` on an emulated ARM64 CPU, and the variables that it needs."""
    command = [str(emulator / "qemu-aarch64"), "-cpu", cpu, "-L", str(root), str(root / "usr/bin/python3.11"), "-S"]
    return command, {"PYTHONPATH": str(root / _WHEELS), "PYTHONHOME": "", "PYTHONNOUSERSITE": "1"}


def main() -> None:
    """Fetches everything and prints where it is."""
    try:
        for folder in (qemu(print), arm64_root(print)):
            print(folder)
    except EmulationError as error:
        sys.exit(error.message())


def cached(name: str, build: Callable[[Path, Path], list[str]]) -> Path:
    """The folder `name` of the cache, made by `build(folder, scratch)`, which returns the names of its packages."""
    cache = cache_folder()
    if (cache / name).is_dir():
        return cache / name
    with _locked(cache):
        if not (cache / name).is_dir():  # another process may have made it while this one waited
            with tempfile.TemporaryDirectory(prefix=".building-", dir=cache) as scratch:
                folder = Path(scratch) / name
                folder.mkdir()
                (folder / "packages.json").write_text(json.dumps(build(folder, Path(scratch)), indent=1))
                folder.rename(cache / name)
    return cache / name


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """One process at a time; folders that a killed one left are removed."""
    cache.mkdir(parents=True, exist_ok=True)
    with os.fdopen(open_descriptor(cache / ".lock", os.O_RDWR), "r+") as file:
        lock(file, wait=True)
        for left in cache.glob(".building-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


if __name__ == "__main__":
    main()
