"""The tables of what ARM CPUs are given to do, and of what each pass of the edge file saves on each kind of CPU."""

from __future__ import annotations

from arm.cost_file import BASELINE, read_entries
from arm.cost_file import table as cost_table
from arm.counting import total
from interleaved import ratio
from result_file import ResultFile
from tabulate import tabulate

from edgegd.export.passes import PASSES
from edgegd.targets.emulator import CPUS

ARM_PROFILES = {name: cpu.profile for name, cpu in CPUS.items() if cpu.architecture == "aarch64"}
Gains = dict[tuple[str, str, str], float]
"""Form, activation and pass -> what the file without the pass costs more than the file with it, in %: 0 where the
measurement does not tell (its 95 % interval holds 0)."""


def arm_table() -> str:
    """One table per emulated ARM CPU, one row per file: millions of instructions of one inference, by class."""
    entries = read_entries(BASELINE)
    shown = [entry for entry in entries if " with" not in entry["file"]]
    return "\n\n".join(
        f"**{cpu}**\n\n" + cost_table([entry for entry in shown if entry["cpu"] == cpu], "github")
        for cpu in dict.fromkeys(entry["cpu"] for entry in shown)
    )


def passes_table() -> str:
    """One row per pass: what it saves of a SiLU and of a ReLU file, for each profile."""
    measured = ResultFile.of_all_machines("passes")
    columns = {f"{results.machine_name()}: time, 640 px": _times_without(results) for results in measured}
    for cpu in ARM_PROFILES:
        columns[f"{cpu}, {ARM_PROFILES[cpu]}: instructions, 320 px"] = _instructions_without(cpu)
    lines = [
        [
            f"`{kind.name}`",
            *(
                " / ".join(filter(None, (_gain(column, form, act, kind.name) for act in ("silu", "relu"))))
                for column in columns.values()
            ),
        ]
        for kind in PASSES
        for form in ["end2end" if kind.name == "late-decoding" else "raw"]
    ]
    return tabulate(lines, ["pass", *columns], tablefmt="github", disable_numparse=True)


def _gain(gains: Gains, form: str, activation: str, name: str) -> str:
    value = gains.get((form, activation, name))
    return "" if value is None else f"{value:+.1f} %" if value else "not resolved"


def _times_without(results: ResultFile) -> Gains:
    gains: Gains = {}
    for form in ("raw", "end2end"):
        for activation in ("silu", "relu"):
            key = {"model": "yolo26n", "form": form, "activation": activation, "imgsz": 640}
            entries = results.find(**key, threads=1, spinning=False)
            for kind in PASSES if entries else ():
                longer, low, high = ratio(entries, f"without {kind.name}", "all passes")
                gains[form, activation, kind.name] = 0.0 if low <= 1 <= high else 100 * (longer - 1)
    return gains


def _instructions_without(cpu: str) -> Gains:
    of_cpu = [
        entry
        for entry in read_entries(BASELINE)
        if (entry["model"], entry["cpu"], entry["imgsz"]) == ("yolo26n", cpu, 320)
    ]
    totals = {(entry["form"], entry["file"]): total(entry["instructions"]) for entry in of_cpu}
    gains: Gains = {}
    for form, file in totals:
        activation, word, name = [*file.split(" ", 2), "", ""][:3]
        edge = totals.get((form, f"{activation} edge"))
        if word in ("with", "without") and edge is not None:
            without, with_it = (totals[form, file], edge) if word == "without" else (edge, totals[form, file])
            gains[form, activation, name] = 100 * (without / with_it - 1)
    return gains
