"""The old side of benchmarks/insertion_equality.py: quantized files as torch's export mode wrote them.

It runs against the sources of the last commit that had the export mode, which insertion_equality.py unpacks; run it
through that. It writes into a folder a quantized model as training might leave it, and its files for every profile.
"""

from __future__ import annotations

import edgegd  # noqa: F401 -- before onnxruntime and Ultralytics, which read the environment that it sets

# isort: split

import argparse
import copy
from pathlib import Path
from typing import Any

import onnx
import safetensors.torch
import torch
from families import random_detector

from edgegd.data.calibration import batches
from edgegd.detectors.deployment import deploy, plan_detector
from edgegd.export.graph import build_graph
from edgegd.export.metadata import contract_of, set_metadata
from edgegd.export.profile import for_profile
from edgegd.plan.profiles import TABLES
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.quant.consistent_ranges import settle_ranges
from edgegd.runtime.contract import Preprocessing


def main() -> None:
    """Makes one model and writes everything that the new side needs."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in (("architecture", str), ("head", str), ("imgsz", int), ("opset", int), ("out", Path)):
        parser.add_argument(name, type=kind)
    parser.add_argument("images", type=Path, nargs="+")
    options = parser.parse_args()
    torch.set_num_threads(1)
    size = Preprocessing(imgsz=(options.imgsz, options.imgsz))
    model = random_detector(options.architecture, torch.from_numpy(next(batches(options.images[:4], size, 4))))
    detector: Any = deploy(model, end2end={"own": None, "raw": False}[options.head])
    quantized = QuantizedModel(copy.deepcopy(detector), plan_detector(detector, options.imgsz, "x86-vnni"))
    calibrate(quantized, map(torch.from_numpy, batches(options.images, size, 2)), "mse")
    _move_as_training_does(quantized)
    (options.out / "plan.json").write_text(quantized.plan.to_json())
    for name, module in (("float", detector), ("trained", quantized)):
        state = {key: value.detach().contiguous() for key, value in module.state_dict().items()}
        safetensors.torch.save_file(state, options.out / f"{name}.safetensors")
    for profile in TABLES:
        suited = for_profile(quantized, profile)
        graph = build_graph(suited, suited.plan, options.imgsz, options.opset)
        contract = contract_of(graph, suited.model, options.imgsz, "qat", suited.plan.sha256, profile)
        set_metadata(graph, suited.model, contract)
        onnx.save(graph, options.out / f"old-{profile}.onnx")


@torch.no_grad()
def _move_as_training_does(quantized: QuantizedModel) -> None:
    """Changes every weight, bias and range a little, so that nothing of the float graph's own values may be left."""
    for parameter in quantized.model.parameters():
        if parameter.requires_grad:
            parameter.mul_(1 + 0.02 * torch.randn_like(parameter)).add_(1e-3 * torch.randn_like(parameter))
    for quantizer in quantized.ranges.values():
        if quantizer.learns != "nothing":
            quantizer.log_scale.add_(0.05 * torch.randn(()))
    quantized.update_ranges()
    settle_ranges(quantized)
    quantized.eval()


if __name__ == "__main__":
    main()
