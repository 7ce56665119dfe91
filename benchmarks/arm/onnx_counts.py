"""ONNX files counted on an emulated CPU: the whole inference, and the nodes of onnxruntime's optimized graph."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from arm.counting import Counts, Mark, Tell, as_dict, run_counted
from numpy.typing import NDArray

_PROGRAM = Path(__file__).with_name("guest_onnxruntime.py")
_CLOCKS_ON, _CLOCKS_OFF = 900, 901  # as in count_blocks.c
_ALIKE = 0.5  # correlation of counts and emulated times; where a reading is taken for another, it is below 0.2


@dataclass(frozen=True)
class Node:
    """A node of the optimized graph: its name, its operator, and its kernel's instructions by class.

    What the profiler itself spends within a node is taken off: it is what the node with the fewest instructions shows.
    """

    name: str
    operator: str
    counts: Counts


@dataclass(frozen=True)
class FileCounts:
    """Instructions of one inference by class; `nodes` is empty where they were not counted.

    Those of all nodes are a little fewer: onnxruntime's own work between them is left out.
    """

    counts: dict[str, int]
    nodes: tuple[Node, ...]


def count_files(
    cpu: str, files: Mapping[str, Path], tell: Tell, profiled: Collection[str] = ()
) -> dict[str, FileCounts]:
    """The second inference of each file on an emulated `cpu` (QEMU's name), one thread; nodes of those `profiled`.

    Raises EmulationError.
    """
    with tempfile.TemporaryDirectory(prefix="edgegd-arm-") as name:
        folder = Path(name)
        copies = {title: f"{i}.onnx" for i, title in enumerate(files)}
        for title, copy in copies.items():
            shutil.copyfile(files[title], folder / copy)
        job = {"models": [*copies.values()], "profiled": [copies[title] for title in profiled]}
        (folder / "job.json").write_text(json.dumps(job))
        marks = run_counted(cpu, _PROGRAM, ["job.json"], folder, tell)
        found = {}
        for i, (title, copy) in enumerate(copies.items()):
            (whole,) = [mark.counts for mark in marks if mark.k == 2 * i + 1]
            profile = folder / f"{copy}.profile.json"
            nodes = _nodes(_clocks_after(marks, 2 * i + 1), profile) if title in profiled else ()
            found[title] = FileCounts(as_dict(whole), nodes)
        return found


def _clocks_after(marks: Sequence[Mark], k: int) -> list[Counts]:
    """The readings of the clock between the first marks CLOCKS_ON and CLOCKS_OFF after mark k."""
    names = [mark.k for mark in marks]
    begin = names.index(_CLOCKS_ON, names.index(k))
    return [mark.counts for mark in marks[begin + 1 : names.index(_CLOCKS_OFF, begin)]]


def _nodes(clocks: Sequence[Counts], profile: Path) -> tuple[Node, ...]:
    """onnxruntime reads the clock at the begin and at the end of every node; its profile says which nodes those are."""
    events = [event for event in json.loads(profile.read_text()) if event["cat"] == "Node"]
    last = events[len(events) // 2 :]  # of two inferences
    if [event["name"] for event in last] != [event["name"] for event in events[: len(last)]]:
        raise ValueError(f"{profile}: two inferences ran other nodes")
    of_kernels = _of_kernels(clocks, np.array([event["dur"] for event in last]))
    profiler = min(of_kernels, key=np.sum)
    return tuple(
        Node(event["name"].removesuffix("_kernel_time"), event["args"]["op_name"], np.maximum(counts - profiler, 0))
        for event, counts in zip(last, of_kernels, strict=True)
    )


def _of_kernels(clocks: Sequence[Counts], durations: NDArray[np.int64]) -> Sequence[Counts]:
    """What was executed within the nodes: every second of the readings, from the one that agrees with the durations.

    The executor reads the clock some times before the first node and after the last one, not always equally often.
    """
    spent = np.log1p([counts.sum() for counts in clocks])
    places = [slice(begin, begin + 2 * len(durations), 2) for begin in range(len(clocks) - 2 * len(durations) + 1)]
    alike = [np.corrcoef(spent[place], np.log1p(durations))[0, 1] for place in places]
    if not places or max(alike) < _ALIKE:
        raise ValueError(f"{len(clocks)} readings of the clock do not fit {len(durations)} nodes")
    return clocks[places[int(np.argmax(alike))]]


def by_operator(nodes: Sequence[Node]) -> dict[str, int]:
    """Instructions by operator, most first."""
    sums: dict[str, int] = {}
    for node in nodes:
        sums[node.operator] = sums.get(node.operator, 0) + int(node.counts.sum())
    return dict(sorted(sums.items(), key=lambda item: -item[1]))
