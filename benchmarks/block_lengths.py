"""How long should a block be? The spread of a launch's answer at equal measuring time, by length of the blocks.

    python benchmarks/gate_error_rates.py make --work FOLDER
    python benchmarks/block_lengths.py --work FOLDER --rounds 4

Every round measures one launch of two copies of one INT8 YOLO26n (320 px) for each length, one after the other. The
spread is the standard error of the median over quads (bootstrap), scaled to 10 s of quads by the square root of time.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from result_file import ResultFile
from tabulate import tabulate

from edgegd.latency.measuring.launch import deliver, run_launch
from edgegd.latency.measuring.record import Block, Design, Launch, Measurement
from edgegd.recipe.schema import GateSection
from edgegd.targets.local import LocalTarget

BLOCKS_S = (0.001, 0.02, 0.05, 0.1, 0.2)
SECONDS = 10.0
DRAWS = 2_000
FIRST, SECOND = "first", "second"


def measure(models: dict[str, Path], block_s: float, seed: int) -> dict[str, Any]:
    """One launch: its quads, the seconds that they took, and the standard error of their median, scaled to SECONDS."""
    gate, target = GateSection(), LocalTarget()
    quads = max(8, round(SECONDS / (4 * (block_s + 0.025))))  # 25 ms: what does not count of a block, about
    design = Design(
        launches=1, quads=quads, block_s=block_s, warmup_s=gate.warmup_s, threads=1, spinning=False, seed=seed
    )
    parts: list[Launch | Block] = []
    with target.lock():
        delivered = deliver(models, target)
        run_launch(delivered, design, 0, parts.append, require_stable=False)
    launches = tuple(part for part in parts if isinstance(part, Launch))
    blocks = tuple(part for part in parts if isinstance(part, Block))
    ratios = Measurement(target.name, design, delivered.files, launches, blocks, True).log_ratios(SECOND)[0]
    drawn = np.random.default_rng(seed).choice(ratios, (DRAWS, len(ratios)))
    seconds = (blocks[-1].after["clocks_ns"]["monotonic"] - blocks[0].before["clocks_ns"]["monotonic"]) / 1e9
    return {
        "block_s": block_s,
        "quads": len(ratios),
        "seconds": seconds,
        "inferences": float(np.median([len(block.durations_ns) for block in blocks])),
        "standard_error": float(np.median(drawn, axis=1).std() * np.sqrt(seconds / SECONDS)),
    }


def table(results: ResultFile) -> str:
    """A line a length: the mean over its launches."""
    lines = []
    for block_s in BLOCKS_S:
        found = results.find(block_s=block_s)
        if found:
            mean = {
                key: float(np.mean([one[key] for one in found]))
                for key in found[0]
                if key in ("inferences", "quads", "seconds", "standard_error")
            }
            lines.append(
                [
                    f"{block_s:g}",
                    f"{mean['inferences']:.0f}",
                    f"{mean['quads']:.0f}",
                    f"{mean['seconds']:.1f}",
                    f"{100 * mean['standard_error']:.2f} %",
                    len(found),
                ]
            )
    headers = ["block, s", "inferences", "quads", "s", f"spread in {SECONDS:.0f} s", "launches"]
    return tabulate(lines, headers, disable_numparse=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="the folder of `gate_error_rates.py make`")
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    results = ResultFile("block_lengths")
    models = {FIRST: arguments.work / "base.onnx", SECOND: arguments.work / "aa.onnx"}
    for seed in range(arguments.rounds):
        for block_s in BLOCKS_S:
            if not results.find(block_s=block_s, round=seed):
                results.add({"round": seed, **measure(models, block_s, seed)})
    print(table(results))


if __name__ == "__main__":
    main()
