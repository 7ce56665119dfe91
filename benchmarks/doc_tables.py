"""Writes the tables of the pages of docs/ (PAGES below) and the README's lines of result.

python benchmarks/doc_tables.py
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import accuracy_gate_error_rates
import calibration_tables
import damaged_layer
import descent_tables
import explorer
import gate_error_rates
import label_faults_table
import lr_range_table
import many_images
import scale_tables
import what_earned_it
from cost_tables import arm_table, passes_table
from diagnosis_table import diagnosis_table
from interleaved import median_ms, ratio, ratio_of_launches
from latency_vs_peers import EDGE_FILES, edge_ratio, openvino_ratio
from pareto import points_of
from peers.accuracy_table import PAGE_HEADERS, newest, page_lines, table
from result_file import ROOT, ResultFile, cpu_and_profile
from tabulate import tabulate

from edgegd.pipeline.beside import BESIDE
from edgegd.report.comparison import HEADERS as COMPARISON_HEADERS
from edgegd.report.comparison import rows as comparison_rows
from edgegd.report.markdown import summary_table

README, RESULTS, DESIGN = ROOT / "README.md", ROOT / "docs/results.md", ROOT / "docs/design.md"
GATE = ROOT / "docs/gate.md"
TELEMETRY = ROOT / "docs/telemetry.md"
DIAGNOSIS = ROOT / "docs/diagnosis.md"
RESULT_FILES = ROOT / "benchmarks/results"
FLOAT_FILES = ("ultralytics-fp32", "edgegd silu fp32")
OPTIMIZED, UNOPTIMIZED = "onnxruntime optimized", "onnxruntime unoptimized"
TITLES = {
    "ultralytics-fp32": "Ultralytics FP32",
    "ultralytics-ptq": "Ultralytics PTQ",
    "ultralytics-qat": "Ultralytics QAT",
    "onnxruntime-minmax": "quantize_static, every operator",
    "openvino-fp32": "Ultralytics FP32 in OpenVINO",
    "openvino-silu": "edgegd SiLU, portable, in OpenVINO",
    "openvino-relu": "edgegd ReLU, portable, in OpenVINO",
    "openvino-auto": "edgegd auto, portable, in OpenVINO",
    "edgegd-silu": "edgegd SiLU, portable",
    "edgegd-silu-edge": "edgegd SiLU, edge",
    "edgegd-auto": "edgegd auto, portable",
    "edgegd-auto-edge": "edgegd auto, edge",
    "edgegd-relu": "edgegd ReLU, portable",
    "edgegd-relu-edge": "edgegd ReLU, edge",
}


def machines_table() -> str:
    """One row per kind of CPU: the benchmarks that have committed results of it."""
    benchmarks: dict[tuple[str, str], set[str]] = defaultdict(set)
    for file in sorted(RESULT_FILES.rglob("*.json")):
        name = file.relative_to(RESULT_FILES).parts[0].removesuffix(".json")
        for machine in _fingerprints(json.loads(file.read_text())):
            benchmarks[cpu_and_profile(machine), _conditions(machine)].add(f"`{name}`")
    lines = [[*kind, ", ".join(sorted(names))] for kind, names in sorted(benchmarks.items())]
    return tabulate(lines, ["kind of CPU", "conditions", "benchmarks"], tablefmt="github", disable_numparse=True)


def _fingerprints(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every fingerprint of a machine below a JSON value."""
    if isinstance(value, dict) and {"cpu", "architecture", "instruction_sets"} <= value.keys():
        yield value
    elif isinstance(value, dict | list):
        for below in value.values() if isinstance(value, dict) else value:
            yield from _fingerprints(below)


def _conditions(machine: Mapping[str, Any]) -> str:
    return f"{machine['usable_cores']} virtual cores, onnxruntime {machine['onnxruntime']}"


def _measured_on(value: Any) -> str:
    """The kinds of CPU of a benchmark's results, as a line above its table."""
    kinds = dict.fromkeys(f"{cpu_and_profile(machine)}; {_conditions(machine)}" for machine in _fingerprints(value))
    return f"CPU: {' / '.join(kinds)}.\n\n"


def demo_table() -> str:
    """The summary table of the demo's report."""
    report = _demo()
    return _measured_on(report) + summary_table(report, "github")


def _demo() -> dict[str, Any]:
    report: dict[str, Any] = json.loads((RESULT_FILES / "demo.json").read_text())
    return report


def accuracy_table() -> str:
    """One row per set and file of ours and our peers, each from the machine on which it was measured last."""
    entries = newest(results.entries for results in ResultFile.of_all_machines("accuracy_vs_peers"))
    return table(PAGE_HEADERS, page_lines(entries), "github")


def families_table() -> str:
    """One row per family: convolutions, parity, latency at 640 px."""
    lines, entries = [], ResultFile("families").entries
    for entry in entries:
        parity, latency = entry["parity"]["one_operation"], entry["latency"]["models"]
        agreement, int8 = entry["agreement"], latency["int8"]
        lines.append(
            [
                entry["family"],
                f"{entry['parameters'] / 1e6:.1f}",
                f"{entry['int8_convs']} / {entry['planned_float_convs']}",
                _codes(parity[OPTIMIZED]),
                _codes(parity[UNOPTIMIZED]),
                f"{100 * (agreement['torch'] - agreement['onnxruntime']):.2f}",
                f"{latency['fp32']['median_ms']:.1f}",
                f"{int8['median_ms']:.1f}",
                f"{int8['speedup']:.2f}",
                f"{int8['speedup_low']:.2f}-{int8['speedup_high']:.2f}",
            ]
        )
    headers = [
        "family",
        "M parameters",
        "int8 / float convs",
        "equal codes, distance",
        "unoptimized",
        "mAP torch - ORT",
        "FP32 ms",
        "INT8 ms",
        "x FP32",
        "95 %",
    ]
    return _measured_on(entries) + tabulate(lines, headers, tablefmt="github", disable_numparse=True)


def _codes(rung: dict[str, Any]) -> str:
    return f"{100 * rung['equal_share']:.5f} %, {rung['largest_distance']}"


def speed_table() -> str:
    """One table per kind of CPU, one row per file: one thread beside FP32, two threads beside one, and OpenVINO."""
    headers = ["model", "px", "file", "ms", "x FP32", "95 %", "two threads, x one", "... spinning", "ms / OpenVINO's"]
    return "\n\n".join(
        f"**{results.machine_name()}** (`{results.path.relative_to(ROOT).as_posix()}`)\n\n"
        + tabulate(list(_speed_lines(results)), headers, tablefmt="github", disable_numparse=True)
        for results in ResultFile.of_all_machines("latency_vs_peers")
    )


def _speed_lines(results: ResultFile) -> Iterator[list[Any]]:
    keys = ("model", "form", "imgsz")
    for group in dict.fromkeys(tuple(entry[name] for name in keys) for entry in results.entries):
        key = dict(zip(keys, group, strict=True))
        one, *twos = (
            results.find(**key, threads=threads, spinning=spinning)
            for threads, spinning in ((1, False), (2, False), (2, True))
        )
        if not one:  # the first columns are those without spinning
            continue
        spun = results.find(**key, threads=1, spinning=True)
        for name in one[0]["files"]:
            times, low, high = ratio(one, "ultralytics-fp32", name)
            scaling = [
                f"{ratio_of_launches(first, two, name):.2f}" if two else ""
                for first, two in zip((one, spun), twos, strict=True)
            ]
            yield [
                f"{group[0]}, {group[1]}",
                group[2],
                TITLES[name],
                f"{median_ms(one, name):.1f}",
                f"{times:.2f}",
                f"{low:.2f}-{high:.2f}",
                *scaling,
                openvino_ratio(one, name),
            ]


def runtimes_table() -> str:
    """One table per kind of CPU, one row per detector, size, number of threads and file, other runtimes among them."""
    headers = ["model", "px", "threads", "file", "ms", "SiLU edge is faster", "ReLU edge is faster"]
    return "\n\n".join(
        f"**{results.machine_name()}** (`{results.path.relative_to(ROOT).as_posix()}`)\n\n"
        + tabulate(list(_runtime_lines(results)), headers, tablefmt="github", disable_numparse=True)
        for results in ResultFile.of_all_machines("latency_vs_runtimes")
    )


def _runtime_lines(results: ResultFile) -> Iterator[list[Any]]:
    """The fastest other runtime of each group is marked."""
    keys = ("model", "form", "imgsz", "threads", "spinning")
    for group in dict.fromkeys(tuple(entry[name] for name in keys) for entry in results.entries):
        entries = results.find(**dict(zip(keys, group, strict=True)))
        times = {name: median_ms(entries, name) for name in entries[0]["files"]}
        others = [name for name in times if name in BESIDE]
        best = min(others, key=times.__getitem__, default="")
        model, form, imgsz, threads, spinning = group
        for name, ms in times.items():
            yield [
                f"{model}, {form}",
                imgsz,
                f"{threads}, spinning" if spinning else threads,
                f"**{name}**" if name == best else TITLES.get(name, name),
                f"{ms:.1f}",
                *(edge_ratio(entries, edge, name) for edge in EDGE_FILES),
            ]


def activations_table() -> str:
    """One row per set and file: FP32, Ultralytics' QAT and edgegd's edge files, with the mAP of every seed."""
    results, lines = ResultFile("pareto"), []
    for name in dict.fromkeys(entry["set"] for entry in results.entries):
        entries = results.find(set=name)
        points = points_of(entries)
        reference = next(point for wanted in FLOAT_FILES for point in points if point.name == wanted)
        for point in points:
            if point is reference or point.name == "ultralytics-qat" or point.name.endswith(" edge"):
                times = mean(ratio(entries, reference.stored[0], stored)[0] for stored in point.stored)
                seeds = " ".join(f"{100 * value:.2f}" for value in point.maps)
                lines.append(
                    [name, point.name, f"{100 * mean(point.maps):.2f}", seeds, f"{point.median_ms:.2f}", f"{times:.2f}"]
                )
    headers = ["set", "file", "mAP50-95", "each seed", "ms at 320 px", "x FP32"]
    return _measured_on(results.entries) + tabulate(lines, headers, tablefmt="github", disable_numparse=True)


def gate_table() -> str:
    """One row per condition: how often each verdict was drawn from real launches, and other tools' rules beside it."""
    (entry,) = ResultFile("gate_error_rates").entries
    return _measured_on(entry) + gate_error_rates.table(entry["rows"], "github")


def accuracy_gate_table() -> str:
    """One row per population and pair: how often the accuracy gate's bounds are wrong, and what it says."""
    return accuracy_gate_error_rates.table(ResultFile("accuracy_gate_error_rates").entries, "github")


def what_earned_it_table() -> str:
    """One row per seed, and their mean: QAT, PTQ and the float control beside FP32."""
    entries = ResultFile("what_earned_it").entries
    return _measured_on(entries[-1:]) + what_earned_it.table(entries, "github")


def explorer_table() -> str:
    """One row per run: bytes and seconds of its explorer.html, and how fast a browser is with it."""
    entries = ResultFile("explorer").entries
    return _measured_on(entries[-1:]) + explorer.table(entries, "github")


def loss_table() -> str:
    """One row per set, profile and part that is quantized alone."""
    lines = [
        [
            e["set"],
            e["profile"],
            e["row"],
            f"{e['scores']:.4f}",
            f"{e['boxes']:.4f}",
            f"{e['db']:.1f}",
            f"{100 * e['map50_95']:.2f}",
            f"{100 * e['difference']:+.2f}",
            "[{:+.1f}, {:+.1f}]".format(*(100 * x for x in e["interval"])),
        ]
        for e in ResultFile("loss_parts").entries
    ]
    headers = ["set", "profile", "quantized", "scores, nats", "boxes, nats", "dB", "mAP50-95", "to float", "95 %"]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)


def descent_choices_table() -> str:
    """One row per set and choice of the descent: mAP50-95 in torch before, at best and last, means over seeds."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in ResultFile("descent_choices").entries:
        groups.setdefault((entry["set"], entry["choice"]), []).append(entry)
    lines = [
        [
            *key,
            len(runs),
            *(f"{100 * mean(run[name] for run in runs):.2f}" for name in ("calibrated", "best", "last")),
            *(_difference(runs, name) for name in ("best", "last")),
        ]
        for key, runs in sorted(groups.items(), key=lambda item: item[0][0])
    ]
    headers = ["set", "choice", "seeds", "start", "best", "last", "best - start, each seed", "last - start, each seed"]
    return tabulate(lines, headers, "github", disable_numparse=True)


def _difference(runs: Sequence[Mapping[str, Any]], name: str) -> str:
    """The paired differences to the start, with the interval where there is one run."""
    found = [run.get(f"{name}_difference") or [run[name] - run["calibrated"]] for run in runs]
    if len(found) == 1 and len(found[0]) == 3:
        return "{:+.2f} [{:+.1f}, {:+.1f}]".format(*(100 * x for x in found[0]))
    return " ".join(f"{100 * one[0]:+.2f}" for one in found)


def refinements_table() -> str:
    """One row per set, profile and refinement: what it gains at the head and in mAP, and its seconds."""
    lines = [
        [
            e["set"],
            e["profile"],
            e["refine"],
            f"{e['scores']:.4f}",
            f"{e['boxes']:.5f}",
            f"{e['entering_db']:.1f}",
            f"{100 * e['map50_95']:.2f}",
            f"{100 * e['difference']:+.2f}",
            "[{:+.1f}, {:+.1f}]".format(*(100 * x for x in e["interval"])),
            f"{e['refine_s']:.0f}",
        ]
        for e in ResultFile("refinements").entries
    ]
    headers = [
        "set",
        "profile",
        "refine",
        "scores, nats",
        "boxes, nats",
        "maps, dB",
        "mAP50-95",
        "to float",
        "95 %",
        "s",
    ]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)


def learning_rates_table() -> str:
    """One row per set: what a range test suggests beside the best of a grid of short trainings."""
    lines = lr_range_table.rows(ResultFile("lr_range").entries)
    return tabulate(lines, lr_range_table.HEADERS, tablefmt="github", disable_numparse=True)


def optimizers_table() -> str:
    """One row per set and optimizer: what a comparison at an equal budget found."""
    entries = ResultFile("compare_optimizers").entries
    lines = [[entry["set"], *row] for entry in entries for row in comparison_rows(entry["contenders"])]
    return tabulate(lines, ["set", *COMPARISON_HEADERS], tablefmt="github", disable_numparse=True)


def result_lines() -> str:
    """The README's three lines of result: the demo, the speed beside Ultralytics' own INT8, and equal codes."""
    return "\n".join(f"- {line}" for line in (_demo_line(), _speed_line(), _codes_line()))


def _demo_line() -> str:
    report = _demo()
    latency, accuracy = report["latency"], report["accuracy"]
    edge = latency["qat.edge"]
    return (
        f"**The demo** (YOLO26n, 320 px): FP32 {100 * accuracy['fp32']['map50_95']:.1f} mAP50-95 in "
        f"{latency['fp32']['median_ms']:.1f} ms, INT8 {100 * accuracy['qat']['map50_95']:.1f} in "
        f"{edge['median_ms']:.1f} ms: {edge['speedup']:.2f} times as fast "
        f"[{edge['speedup_low']:.2f}, {edge['speedup_high']:.2f}]."
    )


def _speed_line() -> str:
    files = {
        "edgegd-silu-edge": "edgegd",
        "edgegd-relu-edge": "edgegd with ReLU",
        "ultralytics-ptq": "Ultralytics' PTQ",
    }
    results = ResultFile.of_all_machines("latency_vs_peers")[-1]
    one = results.find(model="yolo26n", form="raw", imgsz=640, threads=1, spinning=False)
    ratios = ", ".join(f"{title} {ratio(one, 'ultralytics-fp32', name)[0]:.2f} times" for name, title in files.items())
    return f"**Speed beside FP32 in onnxruntime** (YOLO26n, 640 px, one thread): {ratios}."


def _codes_line() -> str:
    parities = [entry["parity"]["one_operation"][OPTIMIZED] for entry in ResultFile("families").entries]
    equal = sum(parity["equal_share"] == 1 for parity in parities)
    largest = max(parity["largest_distance"] for parity in parities)
    return (
        f"**What was trained is what runs**: every integer code of torch is onnxruntime's in {equal} of "
        f"{len(parities)} models, of every detection family; in the others, codes differ by at most {largest}."
    )


Tables = dict[str, Callable[[], str]]
TABLES: Tables = {
    "machines": machines_table,
    "demo": demo_table,
    "accuracy": accuracy_table,
    "what earned it": what_earned_it_table,
    "families": families_table,
    "speed": speed_table,
    "runtimes": runtimes_table,
    "arm": arm_table,
    "passes": passes_table,
    "activations": activations_table,
    "gate": gate_table,
}
PAGES: dict[Path, Tables] = {
    README: {"result": result_lines},
    RESULTS: TABLES,
    GATE: {"accuracy gate": accuracy_gate_table},
    DIAGNOSIS: {"diagnosis": diagnosis_table},
    DESIGN: {"loss": loss_table, "refinements": refinements_table, "descent choices": descent_choices_table},
    ROOT / "docs/descent.md": descent_tables.TABLES,
    ROOT / "docs/labels.md": label_faults_table.TABLES,
    ROOT / "docs/scale.md": scale_tables.TABLES,
    ROOT / "docs/calibration.md": calibration_tables.TABLES,
    ROOT / "docs/images.md": {
        "damaged layer summary": lambda: damaged_layer.summary(ResultFile("damaged_layer").entries),
        "damaged layer": lambda: damaged_layer.damage_table(ResultFile("damaged_layer").entries),
        "many images": lambda: many_images.table(ResultFile("many_images").entries),
    },
    ROOT / "docs/explorer.md": {"explorer": explorer_table},
    TELEMETRY: {"learning rates": learning_rates_table, "optimizers": optimizers_table},
}


def with_tables(text: str, tables: Tables = TABLES) -> str:
    """A page's text with its tables as the results have them."""
    for name, made in tables.items():
        pattern = rf"(<!-- {name} table -->\n).*?(<!-- end of {name} table -->)"
        places = list(re.finditer(pattern, text, flags=re.S))
        if len(places) != 1:
            raise ValueError(f"the page has {len(places)} places for the {name} table, not one")
        text = text[: places[0].end(1)] + made() + "\n" + text[places[0].start(2) :]
    return text


if __name__ == "__main__":
    for page, tables in PAGES.items():
        page.write_text(with_tables(page.read_text(), tables))
