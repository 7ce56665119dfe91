"""Latency, memory and load time from 160 to 1280 px: FP32, INT8 portable, INT8 edge, and the edge file as saved.

    python benchmarks/scaling.py --launches 5

`edge saved` is the graph that onnxruntime writes after optimizing the edge file on this machine, loaded without
optimizing it again. Each launch runs the files in fresh processes, in alternating blocks, on one thread; then each is
loaded once more in a process of its own, for its load time and the largest resident memory of the process after three
inferences. A launch is an entry of
benchmarks/results/scaling/CPU-PROFILE.json, so a killed benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

from detectors import made
from interleaved import measure_launch, median_ms, missing, ratio, require_same_files
from result_file import ROOT, ResultFile
from tabulate import tabulate

from edgegd.recipe.schema import LatencySection
from edgegd.runtime.session import load_session
from edgegd.targets.local import LocalTarget
from edgegd.targets.worker_protocol import INPUT_SEED, WORKER_FILE, ask

SIZES = (160, 320, 480, 640, 800, 960, 1280)
REFERENCE, SAVED = "fp32", "edge saved"


def files_of(folder: Path, activation: str) -> dict[str, Path]:
    """The files that are compared; the last is written by onnxruntime here."""
    files = {
        REFERENCE: folder / "fp32.onnx",
        "portable": folder / f"{activation}.onnx",
        "edge": folder / f"{activation}.edge.onnx",
        SAVED: folder / f"{activation}.saved.onnx",
    }
    if not files[SAVED].exists():
        load_session(files["edge"], optimized_path=files[SAVED])
    return files


def load_once(file: Path, optimization: str) -> dict[str, float]:
    """Load time in ms and peak resident memory in MiB of a fresh process that loads the file and runs it."""
    with closing(LocalTarget().start_worker(WORKER_FILE)) as worker:
        configure = {
            "model": str(file.resolve()),
            "threads": 1,
            "spinning": False,
            "optimization": optimization,
            "seed": INPUT_SEED,
            "input": None,
        }
        ready = ask(worker, {"configure": configure}, 0)
        ask(worker, {"run": 0}, 0)
        status = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
        (peak_kib,) = [int(line.split()[1]) for line in status if line.startswith("VmHWM:")]
    return {"load_ms": ready["load_ms"], "peak_mib": peak_kib / 1024}


def table(results: ResultFile) -> str:
    """A line a size and file: time, ratio to FP32, load time, memory, size of the file."""
    lines = []
    keys = ("model", "activation", "imgsz")
    for group in dict.fromkeys(tuple(entry[name] for name in keys) for entry in results.entries):
        entries = results.find(**dict(zip(keys, group, strict=True)))
        for name in entries[0]["files"]:
            times, low, high = ratio(entries, REFERENCE, name)
            loads = [entry["loads"][name] for entry in entries]
            lines.append(
                [
                    *group,
                    name,
                    f"{median_ms(entries, name):.2f}",
                    f"{times:.2f}",
                    f"{low:.2f}-{high:.2f}",
                    f"{median(load['load_ms'] for load in loads):.0f}",
                    f"{median(load['peak_mib'] for load in loads):.0f}",
                    f"{entries[0]['file_bytes'][name] / 1e6:.2f}",
                    len(entries),
                ]
            )
    headers = [
        "model",
        "activation",
        "px",
        "file",
        "ms",
        "x FP32",
        "95 %",
        "load ms",
        "peak MiB",
        "file MB",
        "launches",
    ]
    return tabulate(lines, headers, disable_numparse=True)


def main() -> None:
    """Measures what is missing, and prints the table of all that is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--model", default="yolo26n", help="architecture")
    option("--activation", choices=("silu", "relu"), default="silu")
    option("--sizes", nargs="+", type=int, default=SIZES, help="sides of the input in px")
    option("--launches", type=int, default=5)
    option("--quads", type=int, default=2)
    option("--block-s", type=float, default=0.5)
    option("--work", type=Path, default=ROOT / "runs/scaling", help="folder of all files made")
    option("--result", type=Path, help="another file than benchmarks/results/scaling/CPU-PROFILE.json")
    arguments = parser.parse_args()
    results = ResultFile.of_this_machine("scaling", arguments.result)
    settings = LatencySection(threads=1, quads=arguments.quads, block_s=arguments.block_s)
    for imgsz in arguments.sizes:
        folder = made(arguments.model, imgsz, arguments.work / f"{arguments.model}-{imgsz}")
        files = files_of(folder, arguments.activation)
        key: dict[str, Any] = {"model": arguments.model, "activation": arguments.activation, "imgsz": imgsz}
        hashes = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
        require_same_files(results, key, hashes)
        for launch in missing(results, key, arguments.launches):
            loads = {name: load_once(file, "disable" if name == SAVED else "all") for name, file in files.items()}
            sizes = {name: file.stat().st_size for name, file in files.items()}
            measure_launch(
                results,
                {**key, "launch": launch},
                files,
                settings,
                LocalTarget(),
                more={"loads": loads, "file_bytes": sizes},
            )
    print(table(results))


if __name__ == "__main__":
    main()
