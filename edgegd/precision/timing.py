"""The time of every operation of an ONNX file on the target, from onnxruntime's own profile.

Every node of an exported file is named by the address of its operation (edgegd.export.graph), and onnxruntime names
what it fuses after the nodes that it fused. So the nodes of a SiLU (QLinearSigmoid, QLinearMul) add up to its time.
What stands between operations (QuantizeLinear, DequantizeLinear, changes of layout) is kept apart.

Profiling makes every node a few microseconds longer, which is much for a short one. So a process times
inferences without a profile first, and as much is taken from every node as makes their sum that time.
"""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from edgegd.device.answers import device_of
from edgegd.device.fingerprint import fingerprint
from edgegd.errors import WorkerError
from edgegd.export.load_onnx import load_onnx
from edgegd.foreign_text import one_line
from edgegd.latency.measuring.measure import design_of
from edgegd.recipe.schema import LatencySection
from edgegd.targets.base import Target, Worker
from edgegd.targets.local import LocalTarget
from edgegd.targets.worker_protocol import WORKER_FILE, ask, configure

BORDERS = {
    "QuantizeLinear": "quantize",
    "DequantizeLinear": "dequantize",
    "Transpose": "layout",
    "ReorderInput": "layout",
    "ReorderOutput": "layout",
}
_ADDRESS = re.compile(r"input(?=/)|[^:/]*:\w+?:\d+")
RUNS, LAUNCHES = 30, 3
_FUSED = 4  # operations that have one node at the most, on average
_PROFILE_S = 60.0  # what a profile may take on a small board, beside loading the model


def _address_of(name: str) -> str:
    found = _ADDRESS.match(name)
    return found.group() if found else ""


@dataclass(frozen=True)
class NodeTime:
    """One node of the optimized graph; `inputs` and `outputs` are (element type, *shape), the time a median in ms."""

    op_type: str
    name: str
    provider: str
    ms: float
    inputs: tuple[tuple[Any, ...], ...]
    outputs: tuple[tuple[Any, ...], ...]

    @property
    def address(self) -> str:
        """The address of the operation (or tensor) that the node's name begins with; empty where there is none."""
        return _address_of(self.name)


@dataclass(frozen=True)
class Border:
    """One node between operations: its kind (quantize, dequantize, layout), the elements it writes, its time.

    `address` is that of the tensor, or for a change of layout that of the operation which it serves; empty where
    neither can be told.
    """

    kind: str
    address: str
    elements: int
    ms: float


@dataclass(frozen=True)
class Profile:
    """One model on one machine: its nodes in running order, the median of runs without and with profiling in ms."""

    nodes: tuple[NodeTime, ...]
    plain_ms: float
    run_ms: float
    fingerprint: dict[str, Any]

    def operations_ms(self) -> dict[str, float]:
        """Address -> ms of all that computes it; an operation that a neighbour's kernel does as well has no entry."""
        times: dict[str, float] = defaultdict(float)
        for node in self.nodes:
            if node.address and not is_border(node):
                times[node.address] += node.ms
        return dict(times)

    def borders(self) -> tuple[Border, ...]:
        """All nodes between operations, in running order."""
        return tuple(
            Border(
                BORDERS[node.op_type], node.address or _served(self.nodes, position), prod(node.outputs[0][1:]), node.ms
            )
            for position, node in enumerate(self.nodes)
            if is_border(node)
        )

    def other_ms(self) -> float:
        """The time of all nodes that are neither of an operation nor between operations."""
        return sum(node.ms for node in self.nodes if not node.address and not is_border(node))


def _require_nodes_of(addresses: frozenset[str], nodes: Sequence[dict[str, Any]], device: str) -> None:
    """WorkerError that names the device unless the nodes can be those of the file with these addresses.

    What a profile does not name would count as no time. onnxruntime fuses up to three operations and keeps the name of
    one: of a convolution with its ReLU that of the ReLU.
    """
    timed = {_address_of(node["name"]) for node in nodes} - {""}
    strange = sorted(timed - addresses)
    if strange or _FUSED * len(timed) < len(addresses):
        raise WorkerError(
            f"{device} has timed other nodes than those of the file that was sent.",
            expected=f"most of the file's {len(addresses)} operations, and nothing of another file",
            found=f"also {one_line(strange[0])}" if strange else f"{len(timed)} of them",
            mend="look for another program or a changed worker on the device",
        )


def _addresses_of(path: Path) -> frozenset[str]:
    return frozenset(_address_of(node.name) for node in load_onnx(path).graph.node) - {""}


def is_border(node: NodeTime) -> bool:
    """Whether a node stands between operations; a Transpose with an address is an operation of the model."""
    return node.op_type in BORDERS and not (node.op_type == "Transpose" and node.address)


def _served(nodes: Sequence[NodeTime], position: int) -> str:
    """The operation nearest in running order that reads what this node writes, or that wrote what it reads."""
    node = nodes[position]
    for distance in range(1, len(nodes)):
        after, before = position + distance, position - distance
        if after < len(nodes) and nodes[after].address and node.outputs[0] in nodes[after].inputs:
            return nodes[after].address
        if before >= 0 and nodes[before].address and node.inputs and node.inputs[0] in nodes[before].outputs:
            return nodes[before].address
    return ""


def operation_times(path: Path, target: Target | None = None, *, threads: int = 1) -> dict[str, float]:
    """Address -> ms of every operation of one exported ONNX file; errors as profile_models."""
    settings = LatencySection(threads=threads)
    return profile_models({"model": path}, target or LocalTarget(), settings)["model"].operations_ms()


def profile_models(
    models: Mapping[str, Path],
    target: Target,
    settings: LatencySection,
    *,
    launches: int = LAUNCHES,
    runs: int = RUNS,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Profile]:
    """Profiles `models` (name -> ONNX file) interleaved: each launch profiles every one in a fresh process.

    Of `settings`, threads and spinning count. A node's time is the median over the launches of its median over `runs`
    inferences. `progress(done, total)` is called after each profile. Raises OnnxUnreadableError for a model that
    cannot be timed, WorkerError when a worker dies, hangs, reports a failure, or tells the nodes of another file.
    """
    addresses = {name: _addresses_of(path) for name, path in models.items()}
    delivered = {name: target.deliver(path) for name, path in models.items()}
    design = design_of(settings)
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in models}
    machine: dict[str, Any] = {}
    for launch in range(launches):
        for name in design.order(list(models), launch, 0)[: len(models)]:
            with ExitStack() as stack:
                worker: Worker = stack.enter_context(closing(target.start_worker(WORKER_FILE)))
                ready = configure(worker, delivered[name], design)
                machine = machine or fingerprint(ready["machine"])
                answers[name].append(ask(worker, {"profile": runs}, _PROFILE_S))
                _require_nodes_of(addresses[name], answers[name][-1]["nodes"], device_of(worker))
            if progress is not None:
                progress(sum(map(len, answers.values())), launches * len(models))
    return {name: _median_profile(found, machine) for name, found in answers.items()}


def _median_profile(answers: Sequence[dict[str, Any]], machine: dict[str, Any]) -> Profile:
    times: dict[str, list[float]] = defaultdict(list)
    for answer in answers:
        durations = without_profiling([node["median_us"] for node in answer["nodes"]], answer["plain_us"])
        for node, duration_us in zip(answer["nodes"], durations, strict=True):
            times[node["name"]].append(duration_us / 1000)
    nodes = tuple(
        NodeTime(
            node["op_type"],
            node["name"],
            node["provider"],
            statistics.median(times[node["name"]]),
            tuple(map(tuple, node["inputs"])),
            tuple(map(tuple, node["outputs"])),
        )
        for node in answers[0]["nodes"]
    )
    plain_ms, run_ms = (statistics.median(answer[key] for answer in answers) / 1000 for key in ("plain_us", "run_us"))
    return Profile(nodes, plain_ms, run_ms, machine)


def without_profiling(durations: Sequence[float], total: float) -> list[float]:
    """The durations less one number, the same for all but those that it would make negative, with the sum `total`.

    Where the sum is less than `total` already, that number is negative: what a run spends between its nodes.
    """
    ordered = sorted(durations, reverse=True)
    left = sum(ordered)
    for count in range(len(ordered), 0, -1):  # the shortest become 0, one by one, until the others stay positive
        extra = (left - total) / count
        if extra <= ordered[count - 1]:
            return [max(duration - extra, 0.0) for duration in durations]
        left -= ordered[count - 1]
    return [0.0] * len(durations)
