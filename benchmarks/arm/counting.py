"""Running a program on an emulated ARM CPU and counting its instructions by class.

Counts see no caches, no memory and no stalls: they say what a CPU is given to do, never how long it takes.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from arm.counting_qemu import counting_plugin, counting_qemu
from arm.instruction_classes import CLASSES, class_of
from numpy.typing import NDArray

from edgegd.errors import EmulationError
from edgegd.targets.emulation_cache import arm64_python, arm64_root

Counts = NDArray[np.int64]
"""(CLASSES,) instructions by class."""
Tell = Callable[[str], None]
_ADDRESSES = "0x10000000000"  # 1 TiB for the guest, at addresses that are the same in every run
_LAST_CHARACTERS = 1500


@dataclass(frozen=True)
class Mark:
    """A point that the guest passed, and what was executed since the last one; `k` None: a reading of the clock."""

    k: int | None
    counts: Counts


def run_counted(
    cpu: str,
    program: Path,
    arguments: Sequence[str],
    folder: Path,
    tell: Tell,
    packages: Sequence[Path] = (),
    *,
    all_threads: bool = False,
) -> list[Mark]:
    """Runs a Python program in `folder` on an emulated `cpu` (QEMU's name); its marks in order.

    `packages` are folders of unpacked wheels beside onnxruntime's. Equal programs and files give equal counts: the
    guest's addresses, random numbers and hashes are fixed. What threads of the guest other than its first execute is
    left out, unless `all_threads`: onnxruntime's helpers wake by the clock.
    Raises EmulationError.
    """
    emulator, plugin, root = counting_qemu(tell), counting_plugin(tell), arm64_root(tell)
    (_, *command), environment = arm64_python(root, emulator, cpu)
    stored = folder / "counts.bin"
    paths = os.pathsep.join([*map(str, packages), environment["PYTHONPATH"]])
    done = subprocess.run(
        [
            *(str(emulator / "qemu-aarch64"), "-R", _ADDRESSES, "-seed", "1"),
            *("-plugin", f"{plugin},out={stored}{',threads=all' * all_threads}", *command, str(program), *arguments),
        ],
        cwd=folder,
        env={
            **environment,
            "PYTHONPATH": paths,
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",  # a second thread of numpy's would spin, and be counted
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        raise EmulationError(
            f"{program.name} failed on an emulated {cpu}.",
            expected="exit status 0",
            found=f"status {done.returncode}: {done.stderr.decode(errors='replace').strip()[-_LAST_CHARACTERS:]}",
            mend="report it, with the versions named in docs/emulation.md",
        )
    marks = list(read_marks(stored.read_bytes()))
    stored.unlink()
    return marks


def read_marks(data: bytes) -> Iterator[Mark]:
    """The marks in what count_blocks.c stores."""
    classes: list[Counts] = []  # of each block
    matrix = np.zeros((0, len(CLASSES)), np.int64)
    position = {name: i for i, name in enumerate(CLASSES)}
    entry = np.dtype([("block", "<u4"), ("times", "<u8")])
    at = 0
    while at < len(data):
        kind, words = data[at : at + 1], np.frombuffer(data, "<u4", 3 if data[at : at + 1] == b"M" else 2, at + 1)
        at += 1 + words.nbytes
        if kind == b"T":
            opcodes = np.frombuffer(data, "<u4", int(words[1]), at)
            at += opcodes.nbytes
            names = [position[class_of(int(opcode))] for opcode in opcodes]
            classes.append(np.bincount(names, minlength=len(CLASSES)))
            continue
        entries = np.frombuffer(data, entry, int(words[2]), at)
        at += entries.nbytes
        if len(classes) > len(matrix):
            matrix = np.concatenate([matrix, np.array(classes[len(matrix) :])])
        counts = entries["times"].astype(np.int64) @ matrix[entries["block"]]
        yield Mark(None if words[0] else int(words[1]), counts)


def as_dict(counts: Counts) -> dict[str, int]:
    """Instructions by the name of their class."""
    return {name: int(number) for name, number in zip(CLASSES, counts, strict=True)}


def total(counts: Mapping[str, int]) -> int:
    """All instructions."""
    return sum(counts.values())
