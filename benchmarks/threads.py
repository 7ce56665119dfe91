"""Where the gain of a second thread goes: onnxruntime's options, and every kernel on one thread and on two.

    python benchmarks/threads.py --work runs/threads                          # yolo26n at 640 px, all five files
    python benchmarks/threads.py --model yolo26n --imgsz 320 --rounds 1

Files of random weights and 80 classes: Ultralytics' graph in FP32, and edgegd's portable and edge files of SiLU and
ReLU. A round times each way of WAYS in fresh processes side by side, in alternating blocks of which one runs at a time,
after a pause in which threads that go on spinning come to rest; then eight inferences with a pause before each, of
which it takes the CPU time that is burnt in the pauses; then onnxruntime's profile of one thread and of two that spin. A
round of a file is an entry of benchmarks/results/threads/CPU-PROFILE.json, so a killed benchmark goes on where it was.
The table of kernels says how much longer than half of its time on one thread each kind takes on two: what is lost.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
from detectors import made
from result_file import ROOT, ResultFile

from edgegd.device.threads import ThreadSetting
from edgegd.latency.measuring.record import Design
from edgegd.latency.measuring.result import speedup
from edgegd.latency.measuring.tuning import PAUSE_S, PAUSED
from edgegd.report.table import table
from edgegd.targets.base import Worker
from edgegd.targets.local import LocalTarget
from edgegd.targets.worker_protocol import WORKER_FILE, ask, configure

FILES = ("fp32", "silu", "silu.edge", "relu", "relu.edge")
ONE, TWO = "1 thread", "2 threads, spinning"
STOP, BASE = "session.force_spinning_stop", "session.dynamic_block_base"
SPIN = ThreadSetting(threads=2, spinning=True)
WAYS: dict[str, tuple[ThreadSetting, dict[str, str]]] = {
    ONE: (ThreadSetting(), {}),
    "2 threads, sleeping": (ThreadSetting(threads=2), {}),
    TWO: (SPIN, {}),
    "2 threads, spinning on after the end": (SPIN, {STOP: "0"}),
    **{f"2 threads, spinning, block base {base}": (SPIN, {BASE: str(base)}) for base in (2, 4, 8)},
}
"""Name -> threads, and further options. Where nothing is said, spinning stops at the end of an inference."""
SERIAL = 1.15  # a kind of kernel that gains less counts as one that does not run on two threads
REST_S, PROFILED = 0.06, 40  # longer than onnxruntime's threads go on spinning; inferences of a profile


def measure_round(path: Path, number: int, design: Design) -> dict[str, Any]:
    """One round of one file: way -> block medians in ms, load of the pauses; and the nodes on one thread and on two."""
    target, ways = LocalTarget(), list(WAYS)
    medians: dict[str, list[float]] = {way: [] for way in ways}
    paced: dict[str, Any] = {}
    with target.lock(), ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for way in design.order(ways, number, 0)[: len(ways)]:
            workers[way] = stack.enter_context(closing(target.start_worker(WORKER_FILE)))
            setting, entries = WAYS[way]
            configure(workers[way], str(path), design, setting=setting, entries=entries)
            ask(workers[way], {"warm_up": design.warmup_s}, design.warmup_s)
        for quad in range(design.quads):
            for way in design.order(ways, number, quad):
                time.sleep(REST_S)
                block = ask(workers[way], {"run": design.block_s}, design.block_s)
                medians[way].append(median(block["durations_ns"]) / 1e6)
        for way, worker in workers.items():
            answer = ask(worker, {"paced": {"inferences": PAUSED, "pause_s": PAUSE_S}}, PAUSED * PAUSE_S)
            paced[way] = {
                "idle_load": answer["idle_cpu_ns"] / answer["idle_wall_ns"],
                "cpu_ms": answer["cpu_ns"] / PAUSED / 1e6,
                "ms": median(answer["durations_ns"]) / 1e6,
            }
        profiles = {way: ask(workers[way], {"profile": PROFILED}, 60) for way in (ONE, TWO)}
    return {"ways": {way: {"block_medians_ms": medians[way], "paced": paced[way]} for way in ways}, **_nodes(profiles, kernels_of(path))}


def kernels_of(path: Path) -> dict[str, str]:
    """Name of a convolution in the file -> its kernel's sides, and its input channels per group."""
    graph, places = onnx.load(path).graph, {"Conv": 1, "QLinearConv": 3}
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    found = {node.name: shapes.get(node.input[places[node.op_type]]) for node in graph.node if node.op_type in places}
    return {name: "x".join(map(str, [*shape[2:], shape[1]])) for name, shape in found.items() if shape}


def _nodes(profiles: Mapping[str, Mapping[str, Any]], kernels: Mapping[str, str]) -> dict[str, Any]:
    """Every node's kind, kernel, result, and us on one thread and on two; and the whole run's."""
    second = {node["name"]: node for node in profiles[TWO]["nodes"]}
    nodes = [
        [
            node["op_type"],
            kernels.get(node["name"], ""),
            "x".join(map(str, node["outputs"][0][1:])),
            node["median_us"],
            second[node["name"]]["median_us"],
        ]
        for node in profiles[ONE]["nodes"]
        if node["name"] in second
    ]
    return {"nodes": nodes, "run_us": [profiles[way]["run_us"] for way in (ONE, TWO)]}


def ways_table(entries: Sequence[Mapping[str, Any]], files: Sequence[str]) -> str:
    """A line per file and way: ms, how many times faster than one thread, CPU time, and cores busy in a pause."""
    rows = []
    for file in files:
        own = [entry for entry in entries if entry["file"] == file]
        for way in WAYS if own else ():
            times = [entry["ways"][way]["block_medians_ms"] for entry in own]
            single = [entry["ways"][ONE]["block_medians_ms"] for entry in own]
            ratio, low, high = speedup(np.log(np.divide(single, times)))  # (rounds, blocks)
            paced = [entry["ways"][way]["paced"] for entry in own]
            rows.append(
                [
                    file,
                    way,
                    f"{np.median(times):.2f}",
                    f"{ratio:.2f} [{low:.2f}, {high:.2f}]",
                    *(f"{median(one[key] for one in paced):.{digits}f}" for key, digits in (("ms", 2), ("cpu_ms", 2))),
                    f"{median(one['idle_load'] for one in paced):.3f}",
                ]
            )
    headers = ["file", "way", "ms", "x 1 thread", "ms after a pause", "CPU ms per image", "busy cores in a pause"]
    return table(rows, headers)


def kernels(entries: Sequence[Mapping[str, Any]], file: str, by_shape: bool) -> list[dict[str, Any]]:
    """The kernels of a file by kind (and shape): ms on one thread and on two, medians over rounds; most lost first.

    `lost_ms` is what they take on two threads above half of what they take on one; "between nodes" is the rest of a run.
    """
    own = [entry for entry in entries if entry["file"] == file]
    sums: dict[tuple[str, ...], list[list[float]]] = {}
    for place, entry in enumerate(own):
        nodes_us = np.sum([node[3:] for node in entry["nodes"]], axis=0)
        rest = [("between nodes", "", "", *np.subtract(entry["run_us"], nodes_us))]
        for op_type, kernel, shape, one_us, two_us in [*entry["nodes"], *rest]:
            key = (op_type, kernel, shape) if by_shape else (op_type,)
            rounds = sums.setdefault(key, [[0.0, 0.0] for _ in own])
            rounds[place][0] += one_us / 1000
            rounds[place][1] += two_us / 1000
    found = []
    for key, rounds in sums.items():
        one, two = (float(value) for value in np.median(rounds, axis=0))
        found.append({"key": key, "one_ms": one, "two_ms": two, "lost_ms": two - one / 2})
    return sorted(found, key=lambda each: -float(each["lost_ms"]))


def kernels_table(entries: Sequence[Mapping[str, Any]], file: str, by_shape: bool, most: int) -> str:
    """The kernels that lose the most, and what the file would gain if only they gained nothing more."""
    found = kernels(entries, file, by_shape)
    whole_one, whole_two = (sum(each[key] for each in found) for key in ("one_ms", "two_ms"))
    rows = [
        [
            *each["key"],
            f"{each['one_ms']:.3f}",
            f"{each['two_ms']:.3f}",
            f"{each['one_ms'] / each['two_ms']:.2f}" if each["two_ms"] > 0 else "",
            f"{100 * each['one_ms'] / whole_one:.1f}",
            f"{each['lost_ms']:.3f}",
        ]
        for each in found[:most]
    ]
    names = ["operator", "kernel", "result"] if by_shape else ["operator"]
    headers = [*names, "ms, 1 thread", "ms, 2 threads", "ratio", "% of 1 thread", "lost ms"]
    whole = f"{file}, profiled: {whole_one:.2f} ms on one thread, {whole_two:.2f} on two, {whole_one / whole_two:.2f} times"
    serial = sum(each["one_ms"] for each in found if each["one_ms"] < SERIAL * each["two_ms"])
    share = f"{100 * serial / whole_one:.1f} % of the time is of kinds that gain less than {100 * (SERIAL - 1):.0f} %"
    limit = f"if all others took half, {whole_one / (serial + (whole_one - serial) / 2):.2f} times"
    return f"{whole}; {share}; {limit}\n\n{table(rows, headers)}"


def main() -> None:
    """Measures what is missing, round by round, and prints all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--model", default="yolo26n", help="an architecture")
    option("--imgsz", type=int, default=640, help="side of the input in px")
    option("--files", nargs="+", choices=FILES, default=FILES)
    option("--rounds", type=int, default=3)
    option("--quads", type=int, default=2)
    option("--block-s", type=float, default=0.4)
    option("--work", type=Path, default=ROOT / "runs/threads", help="folder of the files made")
    option("--result", type=Path, help="another file than benchmarks/results/threads/CPU-PROFILE.json")
    option("--kernels", type=int, default=12, help="kernels by shape that are shown of a file")
    arguments = parser.parse_args()
    results = ResultFile.of_this_machine("threads", arguments.result)
    folder = made(arguments.model, arguments.imgsz, arguments.work.resolve() / f"{arguments.model}-{arguments.imgsz}")
    subject = {"model": arguments.model, "imgsz": arguments.imgsz}
    design = Design(
        launches=arguments.rounds,
        quads=arguments.quads,
        block_s=arguments.block_s,
        warmup_s=2.0,
        threads=1,
        spinning=False,
    )
    hashes = {file: hashlib.sha256((folder / f"{file}.onnx").read_bytes()).hexdigest() for file in arguments.files}
    results.drop(lambda old: old["file"] in hashes and old["sha256"] != hashes[old["file"]] and subject.items() <= old.items())
    for number in range(arguments.rounds):
        for file, digest in hashes.items():
            key = {**subject, "file": file, "round": number}
            if not results.find(**key):
                print(f"{file}, round {number} ...", file=sys.stderr, flush=True)
                found = measure_round(folder / f"{file}.onnx", number, design)
                results.add({**key, "sha256": digest, "block_s": design.block_s, **found})
    entries = results.find(**subject)
    print(f"{results.machine_name()}\n\n{ways_table(entries, arguments.files)}")
    for file in arguments.files:
        print(f"\n{kernels_table(entries, file, False, 100)}\n\n{kernels_table(entries, file, True, arguments.kernels)}")


if __name__ == "__main__":
    main()
