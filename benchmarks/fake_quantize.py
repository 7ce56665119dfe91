"""Fake quantization, forward and backward: this project's kernel, torch's own, and SiLU as a yardstick.

    OMP_NUM_THREADS=1 python benchmarks/fake_quantize.py

The three are measured interleaved, round by round, so that a busy moment of the machine meets all of them; a ratio is
the median of the rounds' ratios. Prints a table and writes benchmarks/results/fake_quantize.json.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

from edgegd.latency.fingerprint import fingerprint
from edgegd.quant.fake_quantize import ActivationQuantizer
from edgegd.quant.formats import UINT8_ACTIVATION

SHAPES = ((16, 16, 160, 160), (16, 64, 40, 40), (16, 256, 10, 10))  # activations of yolo26n at 320 px, batch 16
ROUNDS = 15
RESULT = Path(__file__).parent / "results" / "fake_quantize.json"


def seconds(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, gradient: torch.Tensor) -> float:
    """One forward and backward pass."""
    x.grad = None
    start = time.perf_counter()
    function(x).backward(gradient)
    return time.perf_counter() - start


def measure(shape: tuple[int, ...]) -> dict[str, object]:
    """Medians in ms of the three, and this project's time over each of the others'."""
    quantizer = ActivationQuantizer(UINT8_ACTIVATION)
    quantizer.set_range(0.02, 100)
    functions: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "edgegd": quantizer,
        "torch": lambda x: torch.fake_quantize_per_tensor_affine(x, 0.02, 100, 0, 255),
        "silu": F.silu,
    }
    x = torch.randn(shape, requires_grad=True)
    gradient = torch.randn(shape)
    rounds = [{name: seconds(function, x, gradient) for name, function in functions.items()}
              for _ in range(ROUNDS + 3)][3:]  # fmt: skip
    medians = {name: 1000 * statistics.median(times[name] for times in rounds) for name in functions}
    ratios = {name: statistics.median(times["edgegd"] / times[name] for times in rounds) for name in ("torch", "silu")}
    return {"shape": shape, "median_ms": medians, "edgegd_over": ratios}


def main() -> None:
    """Measures, prints and writes."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    result = {"machine": fingerprint(), "torch": torch.__version__, "threads": 1, "rounds": ROUNDS,
              "shapes": [measure(shape) for shape in SHAPES]}  # fmt: skip
    print(json.dumps(result["machine"]), "torch", torch.__version__, "one thread")
    print(f"{'shape':>20} {'edgegd ms':>10} {'torch ms':>10} {'silu ms':>10} {'/torch':>8} {'/silu':>8}")
    for row in result["shapes"]:
        ms, over = row["median_ms"], row["edgegd_over"]
        print(f"{row['shape']!s:>20} {ms['edgegd']:10.2f} {ms['torch']:10.2f} {ms['silu']:10.2f} "
              f"{over['torch']:8.2f} {over['silu']:8.2f}")  # fmt: skip
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
