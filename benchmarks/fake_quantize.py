"""Fake quantization, forward and backward: this project's kernels, torch's own, and SiLU as a yardstick.

    OMP_NUM_THREADS=1 python benchmarks/fake_quantize.py

`fixed` has a fixed range, `learned` computes the range's gradient too, as torch's learnable kernel does. They are
measured interleaved, round by round, so that a busy moment of the machine meets all of them; a ratio is the median of
the rounds' ratios. Prints a table and writes benchmarks/results/fake_quantize.json.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

from edgegd.device.fingerprint import fingerprint
from edgegd.quant.quantizers import ActivationQuantizer

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
    """Medians in ms of all, and ratios of this project's to the others'."""
    fixed, learned = ActivationQuantizer("nothing"), ActivationQuantizer("range")
    for quantizer in (fixed, learned):
        quantizer.set_range(0.02, 100)
    scale, zero_point = torch.tensor([0.02], requires_grad=True), torch.tensor([100.0], requires_grad=True)
    functions: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "fixed": fixed,
        "learned": learned,
        "torch": lambda x: torch.fake_quantize_per_tensor_affine(x, 0.02, 100, 0, 255),
        "torch learned": lambda x: torch._fake_quantize_learnable_per_tensor_affine(x, scale, zero_point, 0, 255, 1.0),
        "silu": F.silu,
    }
    x = torch.randn(shape, requires_grad=True)
    gradient = torch.randn(shape)
    rounds = [
        {name: seconds(function, x, gradient) for name, function in functions.items()} for _ in range(ROUNDS + 3)
    ][3:]
    medians = {name: 1000 * statistics.median(times[name] for times in rounds) for name in functions}
    ratios = {
        f"{name} / {other}": statistics.median(times[name] / times[other] for times in rounds)
        for name, other in (("fixed", "torch"), ("learned", "torch learned"), ("fixed", "silu"), ("learned", "silu"))
    }
    return {"shape": shape, "median_ms": medians, "ratios": ratios}


def main() -> None:
    """Measures, prints and writes."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    result = {
        "machine": fingerprint(),
        "torch": torch.__version__,
        "threads": 1,
        "rounds": ROUNDS,
        "shapes": [measure(shape) for shape in SHAPES],
    }
    print(json.dumps(result["machine"]), "torch", torch.__version__, "one thread")
    for row in result["shapes"]:
        print(row["shape"], {name: round(value, 2) for name, value in (row["median_ms"] | row["ratios"]).items()})
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
