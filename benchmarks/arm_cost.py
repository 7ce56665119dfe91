"""What ARM CPUs are given to do, without a board: instructions of one inference, by class, by operator and by node.

    python benchmarks/arm_cost.py                          # yolo26n, raw, 320 px, against the baseline: the gate
    python benchmarks/arm_cost.py --cases all
    python benchmarks/arm_cost.py --cases yolo11n-raw-320 --write
    python benchmarks/arm_cost.py --nodes "relu edge" --cpus cortex-a76
    python benchmarks/arm_cost.py --table                  # what is stored; counts nothing

The real onnxruntime runs on an emulated Cortex-A76 (dot product) and Cortex-A72 (none), each with the files of its own
profile, and a plugin of QEMU counts (arm/). This is no latency: caches, memory and stalls are not seen, and cores take
several instructions at once. It guards: equal files give equal counts on any machine under any load.

Ends with exit code 1 where the number of a class of arithmetic (dot product, integer and float multiply) is another one
than that of the baseline, benchmarks/results/arm_cost.json, or a total differs by more than 1 %. `--write` stores the
counts there instead. The first call builds QEMU (arm/counting_qemu.py) into the cache of `edgegd emulate`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import onnx
from arm.cost_file import BASELINE, changes, entries_of, read_entries, store, table
from arm.counting import as_dict
from arm.onnx_counts import FileCounts, count_files
from detectors import made
from result_file import ROOT
from tabulate import tabulate

from edgegd.errors import EmulationError
from edgegd.export.edge import build_edge, left_out_with
from edgegd.export.passes import PASSES
from edgegd.targets.emulator import CPUS

ARM_CPUS = tuple(name for name, cpu in CPUS.items() if cpu.architecture == "aarch64")
ACTIVATIONS = ("silu", "relu")


class Case(NamedTuple):
    """A detector: its architecture, its head (raw or end2end), the side of its images in px, and whether passes are
    left out one by one."""

    model: str
    form: str
    imgsz: int
    passes: bool = False

    @property
    def name(self) -> str:
        """As on the command line."""
        return f"{self.model}-{self.form}-{self.imgsz}"


CASES = {
    case.name: case
    for case in (
        Case("yolo26n", "raw", 320, passes=True),
        Case("yolo26n", "end2end", 320, passes=True),
        Case("yolo26n", "raw", 640),
        Case("yolo11n", "raw", 320),
        Case("yolov8n", "raw", 320),
    )
}
GATED = "yolo26n-raw-320"


def files_of(case: Case, profile: str, work: Path) -> dict[str, Path]:
    """The files of a case for a profile: FP32, portable and edge; the edge file without each pass, or with one that is
    left out for the profile."""
    folder = made(
        case.model, case.imgsz, work / f"{case.name}-{profile}", end2end=case.form == "end2end", profile=profile
    )
    files = {"fp32": folder / "fp32.onnx"}
    for activation in ACTIVATIONS:
        portable = folder / f"{activation}.onnx"
        files |= {f"{activation} portable": portable, f"{activation} edge": folder / f"{activation}.edge.onnx"}
        if case.passes:
            files |= dict(_by_pass(portable, activation, profile))
    return files


def _by_pass(portable: Path, activation: str, profile: str) -> Iterator[tuple[str, Path]]:
    graph = onnx.load(portable)
    for kind in PASSES:
        slower = profile in kind.slower_on
        word = "with" if slower else "without"
        without = () if slower else left_out_with(kind.name)
        path = portable.with_name(f"{portable.stem}.{word}-{kind.name}.onnx")
        onnx.save(build_edge(graph, portable.name, without=without, slower_too=slower)[0], path)
        yield f"{activation} {word} {kind.name}", path


def count_case(case: Case, cpu: str, work: Path) -> dict[str, FileCounts]:
    """All files of a case on one CPU."""
    files = files_of(case, CPUS[cpu].profile, work)
    profiled = [title for title in files if title.endswith(("fp32", " portable", " edge"))]
    return count_files(CPUS[cpu].qemu_name, files, tell, profiled)


def node_table(found: FileCounts, shown: int) -> str:
    """The nodes with the most instructions."""
    nodes = sorted(found.nodes, key=lambda node: -int(node.counts.sum()))[:shown]
    rows = [
        [node.name, node.operator, *(f"{n / 1e6:.3f}" for n in (node.counts.sum(), *node.counts))] for node in nodes
    ]
    headers = ["node", "operator", "millions", *as_dict(found.nodes[0].counts)]
    return tabulate(rows, headers, disable_numparse=True)


def tell(text: str) -> None:
    """Says on stderr what is done."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Counts, prints the table, and compares with the baseline or stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--cases", nargs="+", choices=("all", *CASES), default=[GATED], help=f"detectors  [{GATED}]")
    option("--cpus", nargs="+", choices=ARM_CPUS, default=ARM_CPUS)
    option("--write", action="store_true", help="store the counts as the baseline instead of comparing with it")
    option(
        "--nodes", metavar="FILE", help='print the nodes of one file, such as "relu edge", with the most instructions'
    )
    option("--table", action="store_true", help="print the table of the baseline, and count nothing")
    option("--work", type=Path, default=ROOT / "runs/arm_cost", help="folder of all files made")
    option("--baseline", type=Path, default=BASELINE)
    arguments = parser.parse_args()
    if arguments.table:
        print(table(read_entries(arguments.baseline)))
        return
    found: list[dict[str, Any]] = []
    for name in CASES if "all" in arguments.cases else arguments.cases:
        case = CASES[name]
        for cpu in arguments.cpus:
            tell(f"{name} on an emulated {cpu}")
            try:
                files = count_case(case, cpu, arguments.work)
            except EmulationError as error:
                sys.exit(error.message())
            found += entries_of({"model": case.model, "form": case.form, "imgsz": case.imgsz, "cpu": cpu}, files)
            if arguments.nodes:
                print(node_table(files[arguments.nodes], 40))
            if arguments.write:
                store(found, arguments.baseline)
    print(table(found))
    if not arguments.write:
        differing = changes(read_entries(arguments.baseline), found)
        print("\n".join(differing) or "no class of arithmetic changed, and no total by more than 1 %")
        sys.exit(bool(differing))


if __name__ == "__main__":
    main()
