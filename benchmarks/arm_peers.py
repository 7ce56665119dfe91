"""ncnn and MNN running the same network on the emulated ARM CPUs, counted as arm_cost.py counts onnxruntime.

    pip install ncnn pnnx MNN      # beside edgegd[train]
    python benchmarks/arm_peers.py [--cases yolo26n-raw-320] [--cpus cortex-a76]

Their wheels for ARM64 run the float network, each as it does by default (float16 on a CPU that computes in it) and in
float32 throughout, and MNN also weights of 8 bits. One thread. The counts are stored beside onnxruntime's, in
benchmarks/results/arm_cost.json; those of other runtimes are not gated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from arm.cost_file import BASELINE, entry_of, read_entries, store, table
from arm.counting import as_dict, run_counted
from arm_cost import ACTIVATIONS, ARM_CPUS, CASES, GATED, tell
from detectors import made
from result_file import ROOT

from edgegd.errors import EmulationError
from edgegd.targets.emulation_cache import Tell, cached
from edgegd.targets.emulation_packages import unpack_wheels
from edgegd.targets.emulator import CPUS

ARM = Path(__file__).parent / "arm"
FILES = {  # of a runtime: title -> file without its suffixes for ncnn, and the precision asked for
    "ncnn": {"float32": ("model.ncnn", "normal"), "default": ("model.ncnn", "low")},
    "MNN": {
        "float32": ("float.mnn", "normal"),
        "low precision": ("float.mnn", "low"),
        "8-bit weights": ("weights8.mnn", "low"),
    },
}


def wheel(runtime: str, tell: Tell) -> Path:
    """The folder with a runtime's ARM64 wheel of the version that is installed here, fetched if it is not there."""

    def build(folder: Path, scratch: Path) -> list[str]:
        return unpack_wheels([f"{runtime}=={version(runtime)}"], scratch, folder)

    return cached(f"arm64-{runtime}-{version(runtime)}", build)


def exported(weights: Path, imgsz: int, activation: str, out: Path, python: str) -> Path:
    """`out` with the runtimes' files of a detector, made where they are missing."""
    if not (out / "weights8.mnn").exists():
        options = ["--imgsz", str(imgsz), "--activation", activation, "--out", str(out)]
        subprocess.run([python, str(ARM / "export_peers.py"), str(weights), *options], check=True, stdout=sys.stderr)
    return out


def count(runtime: str, cpu: str, imgsz: int, folders: Sequence[Path]) -> list[dict[str, int]]:
    """Instructions by class, for each folder of exported files and each of the runtime's FILES in turn."""
    models = [
        {"path": str(folder.resolve() / file), "precision": precision}
        for folder in folders
        for file, precision in FILES[runtime].values()
    ]
    with tempfile.TemporaryDirectory(prefix="edgegd-arm-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps({"runtime": runtime, "imgsz": imgsz, "models": models}))
        program = ARM / "guest_peers.py"
        marks = run_counted(cpu, program, ["job.json"], folder, tell, [wheel(runtime, tell)], all_threads=True)
        outputs = json.loads((folder / "outputs.json").read_text())
    for i, found in enumerate(outputs):
        print(models[i]["path"], models[i]["precision"], found, file=sys.stderr)
    return [as_dict(mark.counts) for mark in marks if mark.k is not None and mark.k % 2 and mark.k < 2 * len(models)]


def main() -> None:
    """Exports, counts, stores, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--cases", nargs="+", choices=[name for name in CASES if "-raw-" in name], default=[GATED])
    option("--cpus", nargs="+", choices=ARM_CPUS, default=ARM_CPUS)
    option("--runtimes", nargs="+", choices=FILES, default=[*FILES])
    option("--python", default=sys.executable, help="of an environment that exports  [this one]")
    option("--work", type=Path, default=ROOT / "runs/arm_cost", help="folder of all files made")
    option("--baseline", type=Path, default=BASELINE)
    arguments = parser.parse_args()
    for name in arguments.cases:
        case, work = CASES[name], arguments.work
        weights = made(case.model, case.imgsz, work / f"{name}-arm64", profile="arm64") / "float.pt"
        folders = [
            exported(weights, case.imgsz, activation, work / f"{name}-peers-{activation}", arguments.python)
            for activation in ACTIVATIONS
        ]
        for cpu in arguments.cpus:
            for runtime in arguments.runtimes:
                tell(f"{name} in {runtime} on an emulated {cpu}")
                try:
                    counted = count(runtime, CPUS[cpu].qemu_name, case.imgsz, folders)
                except EmulationError as error:
                    sys.exit(error.message())
                titles = [f"{activation} {runtime} {title}" for activation in ACTIVATIONS for title in FILES[runtime]]
                of_case = {"model": case.model, "form": case.form, "imgsz": case.imgsz, "cpu": cpu}
                named = f"{runtime} {version(runtime)}"
                store(
                    [entry_of(of_case, *pair, named) for pair in zip(titles, counted, strict=True)],
                    arguments.baseline,
                )
    print(table(read_entries(arguments.baseline)))


if __name__ == "__main__":
    main()
