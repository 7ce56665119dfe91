"""Does onnxruntime's telemetry, which edgegd switches off, change latencies? One file with and without it, in pairs.

    python benchmarks/telemetry.py --launches 10

The onnxruntime wheel reports to its maker from a thread of its own, unless ORT_DISABLE_TELEMETRY is 1 when it is
imported. Each launch runs the same edge file in two fresh processes, one with and one without, in alternating blocks on
one thread, and is an entry of benchmarks/results/telemetry/CPU-PROFILE.json. Where no network is reached, its look-ups
fail at once; with a network it also sends.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from interleaved import measure_launch, median_ms, missing, ratio, require_same_files
from result_file import ROOT, ResultFile

from edgegd.latency.measuring.measure import design_of
from edgegd.recipe.schema import LatencySection
from edgegd.targets.local import LocalTarget
from edgegd.targets.process import WorkerProcess
from edgegd.targets.worker_protocol import WORKER_FILE

OFF, ON = "telemetry off", "telemetry on"
VARIABLE = "ORT_DISABLE_TELEMETRY"
MODEL = ROOT / "tests/latency/baselines/streets-yolo26n/model.onnx"


@dataclass(frozen=True)
class SwitchingTarget(LocalTarget):
    """This machine; `order` says for each worker to come whether it may report."""

    order: list[str] = field(default_factory=list)

    def start_worker(self, worker_file: Path) -> WorkerProcess:
        """As of this machine, with the variable that the worker's name asks for."""
        if worker_file == WORKER_FILE:
            os.environ[VARIABLE] = "1" if self.order.pop(0) == OFF else "0"
        return super().start_worker(worker_file)


def main() -> None:
    """Measures what is missing, and prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--model", type=Path, default=MODEL)
    option("--launches", type=int, default=10)
    option("--quads", type=int, default=10)
    option("--block-s", type=float, default=0.2)
    option("--result", type=Path, help="another file than benchmarks/results/telemetry/CPU-PROFILE.json")
    arguments = parser.parse_args()
    results = ResultFile.of_this_machine("telemetry", arguments.result)
    settings = LatencySection(threads=1, quads=arguments.quads, block_s=arguments.block_s)
    files = {OFF: arguments.model, ON: arguments.model}
    key = {"model": arguments.model.name}
    require_same_files(results, key, dict.fromkeys(files, hashlib.sha256(arguments.model.read_bytes()).hexdigest()))
    for launch in missing(results, key, arguments.launches):
        order = design_of(settings, launch).order(list(files), 0, 0)[: len(files)]
        measure_launch(results, {**key, "launch": launch}, files, settings, SwitchingTarget(order=order))
    entries = results.find(**key)
    times, low, high = ratio(entries, ON, OFF)
    print(
        f"{results.machine_name()}: {median_ms(entries, OFF):.2f} ms without telemetry, {median_ms(entries, ON):.2f} "
        f"with it, {times:.3f} times as long [{low:.3f}, {high:.3f}], {len(entries)} launches"
    )


if __name__ == "__main__":
    main()
