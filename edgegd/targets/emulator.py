"""Running a model in real onnxruntime on an emulated CPU, and on this one, with every integer code stored.

QEMU's user-mode emulation runs the instructions of the other CPU one by one; results are those of the CPU, times are
not, and are never reported.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from edgegd.errors import EmulationError
from edgegd.targets.emulation_cache import arm64_python, arm64_root, qemu
from edgegd.targets.interrupts import hearing_interrupts

_TIMEOUT_S = 1800
_LAST_CHARACTERS = 1000
Tell = Callable[[str], None]


@dataclass(frozen=True)
class EmulatedCpu:
    """A CPU that can be emulated: our name, QEMU's, its architecture, its profile, and where it is found."""

    name: str
    qemu_name: str
    architecture: str
    profile: str
    example: str


CPUS = {
    cpu.name: cpu
    for cpu in (
        EmulatedCpu("cortex-a76", "cortex-a76", "aarch64", "arm64", "ARM with dot product, as in a Raspberry Pi 5"),
        EmulatedCpu(
            "cortex-a72", "cortex-a72", "aarch64", "arm64-nodot", "ARM without dot product, as in a Raspberry Pi 4"
        ),
        EmulatedCpu("haswell", "Haswell-noTSX", "x86_64", "x86-avx2", "x86 with AVX2, without VNNI"),
    )
}


def prepare(cpu: EmulatedCpu, tell: Tell = lambda text: None) -> tuple[list[str], dict[str, str]]:
    """The command that starts Python with onnxruntime on `cpu`, and its environment; fetches what is missing.

    For x86 it is this very Python. Raises EmulationError.
    """
    emulator = qemu(tell)
    if cpu.architecture == "aarch64":
        return arm64_python(arm64_root(tell), emulator, cpu.qemu_name)
    return [str(emulator / "qemu-x86_64"), "-cpu", cpu.qemu_name, sys.executable], {}


def run_models(
    python: tuple[list[str], Mapping[str, str]],
    models: list[Path],
    inputs: Path,
    folder: Path,
    optimization: str = "all",
) -> None:
    """Stores what `models` output for `inputs` (.npy) in `folder`, with the Python of `prepare` (`([], {})`: this one).

    See edgegd/device/dump_tensors.py. Raises EmulationError where the process fails or hangs.
    """
    command, environment = python
    worker = find_spec("edgegd.device.dump_tensors")
    assert worker is not None and worker.origin is not None
    folder.mkdir(exist_ok=True)
    full = [
        *(command or [sys.executable]),
        worker.origin,
        "--optimization",
        optimization,
        str(inputs),
        str(folder),
        *map(str, models),
    ]
    process = subprocess.Popen(
        full,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
        start_new_session=True,
        preexec_fn=hearing_interrupts(),
    )
    try:
        stderr = process.communicate(timeout=_TIMEOUT_S)[1].decode(errors="replace").strip()
    except subprocess.TimeoutExpired as error:
        raise EmulationError(
            f"{full[0]} hangs and was ended.",
            expected=f"an end within {_TIMEOUT_S} s",
            mend="use fewer images, or a smaller imgsz",
        ) from error
    finally:
        if process.poll() is None:  # also on Ctrl-C
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        raise EmulationError(
            "onnxruntime failed on an emulated CPU." if command else "onnxruntime failed on this machine.",
            expected="exit status 0",
            found=f"status {process.returncode}; the last of its stderr:\n" + stderr[-_LAST_CHARACTERS:],
            mend="see whether the same file runs on this machine with `edgegd predict`",
        )


def stored_outputs(folder: Path, model: Path, index: int) -> dict[str, np.ndarray]:
    """What `run_models` stored for one input: name of the output -> its value."""
    with np.load(folder / f"{model.stem}-{index}.npz") as file:
        arrays: dict[str, Any] = {str(name): file[str(number)] for number, name in enumerate(file["names"])}
    return arrays
