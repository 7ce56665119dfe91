"""Every family of detectors: size, integer convolutions, parity of torch and onnxruntime, INT8 speed at 640 px.

    python benchmarks/families.py --images FOLDER [--only yolo11n rtdetr-l]

The models have random weights and the images' BatchNorm statistics. Random layers amplify quantization noise until the
scores of INT8 and FP32 have nothing in common (signal to noise 0 dB), so mAP on labels, or against FP32, would mean
nothing. Compared is what torch computes under fake quantization with what onnxruntime computes: codes after one
operation from equal inputs, detections, and mAP50-95 of both with torch's confident detections as ground truth.
Calibration sees the first images of FOLDER, comparisons the ones after them. Each family is measured in a subprocess of
its own and appended to benchmarks/results/families.json, so a killed benchmark goes on where it was.
"""

from __future__ import annotations

import edgegd  # noqa: F401 -- before onnxruntime and Ultralytics, which read the environment that it sets

# isort: split

import argparse
import copy
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import onnx
import torch
from tabulate import tabulate
from torch import nn
from ultralytics.nn.modules import RTDETRDecoder
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel

from edgegd.accuracy.evaluate import score
from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.data.calibration import batches
from edgegd.detectors.deployment import deploy, detection_head, plan_detector
from edgegd.export.graph import build_graph
from edgegd.export.metadata import contract_of, set_metadata
from edgegd.latency.measuring.measure import measure
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.quant.consistent_ranges import settle_ranges
from edgegd.recipe.schema import LatencySection, QuantSection
from edgegd.runtime.contract import Preprocessing
from edgegd.runtime.detector import Detections, Detector, detections_from_output
from edgegd.runtime.images import IMAGE_SUFFIXES, read_image
from edgegd.runtime.letterbox import preprocess
from edgegd.targets.local import LocalTarget
from edgegd.verify.census import require_planned, take_census
from edgegd.verify.ladder import OPTIMIZED, climb
from edgegd.verify.opened import OnnxFile, Pictures
from edgegd.verify.parity import above

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks/results/families.json"
FAMILIES = (
    "yolov8n",
    "yolov8s",
    "yolov9t",
    "yolov9s",
    "yolov10n",
    "yolov10s",
    "yolo11n",
    "yolo11s",
    "yolo12n",
    "yolo12s",
    "yolo26n",
    "yolo26s",
    "rtdetr-l",
)
IMGSZ, OPSET, PROFILE = 640, 17, "x86-vnni"
CALIBRATED, COMPARED = 8, 4  # images
SCORE_BIAS, LARGEST_LOGIT = -2.0, 8.0  # the largest logit is this far from the bias
CONFIDENT, CONF = 0.25, 0.001  # score from which detections are ground truth; score from which detections count
SETTINGS = LatencySection(threads=1, spinning=False, launches=3, quads=3, block_s=0.5)


def random_detector(architecture: str, images: torch.Tensor) -> Any:
    """A detector with random weights whose activations neither vanish nor explode and whose scores spread over 0..1."""
    torch.manual_seed(0)
    kind = RTDETRDetectionModel if architecture.startswith("rtdetr") else DetectionModel
    model: Any = kind(f"{architecture}.yaml", ch=images.shape[1], verbose=False)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # the statistics of these images
        nn.init.uniform_(norm.weight, 0.7, 1.3)
        nn.init.normal_(norm.bias, 0, 0.1)
    model.eval()
    for norm in norms:
        norm.train()
    with torch.no_grad():
        model(images)
    model.eval()
    head: Any = detection_head(model)
    if isinstance(head, RTDETRDecoder):
        boxes, scores = [], [head.enc_score_head, *head.dec_score_head]
    else:
        boxes, scores = (
            [branch[-1] for name in names for branch in getattr(head, name, None) or ()]
            for names in (("cv2", "one2one_cv2"), ("cv3", "one2one_cv3"))
        )
    for layers, std, bias in ((boxes, 0.02, 1.0), (scores, 0.1, SCORE_BIAS)):
        for layer in layers:
            nn.init.normal_(layer.weight, 0, std)
            nn.init.constant_(layer.bias, bias)
    _spread(model, scores, images)
    return model


@torch.no_grad()
def _spread(model: Any, layers: Sequence[Any], images: torch.Tensor) -> None:
    """Keeps logits where float32 tells their sigmoids apart.

    Random networks have logits of 30; scores of 1 - 6e-8 are ordered by the last bits of whichever sigmoid made them.
    """
    logits: dict[Any, torch.Tensor] = {}
    handles = [layer.register_forward_hook(lambda module, _, y: logits.update({module: y})) for layer in layers]
    head: Any = detection_head(model)
    if getattr(head, "one2one_cv3", None) is None:
        model(images)
    else:  # one head at a time
        own = head.end2end
        for head.end2end in (False, True, own):
            model(images)
    for handle in handles:
        handle.remove()
    for layer, values in logits.items():
        layer.weight.mul_(LARGEST_LOGIT / (values - SCORE_BIAS).abs().max())


def torch_detections(quantized: QuantizedModel, detector: Detector, paths: Sequence[Path]) -> Iterator[Detections]:
    """What the fake-quantized model detects in torch, with the pre- and postprocessing of `detector`."""
    for path in paths:
        image, geometry = preprocess(read_image(path), detector.contract.preprocessing)
        with torch.no_grad():
            output = quantized(torch.from_numpy(image)).numpy()
        yield detections_from_output(output, detector.contract, geometry, conf=CONF, clip=False)


def agreement(quantized: QuantizedModel, file: Path, paths: Sequence[Path]) -> dict[str, float]:
    """mAP50-95 in torch and in onnxruntime with torch's confident detections as ground truth, and their number."""
    detector = Detector(file, conf=CONF, clip=False)
    in_torch = list(torch_detections(quantized, detector, paths))
    confident = [above(found, CONFIDENT) for found in in_torch]
    truth = GroundTruth(
        tuple(paths),
        tuple(found.xyxy.astype("float64") for found in confident),
        tuple(found.class_ids for found in confident),
        detector.contract.names,
    )
    return {
        "truths": truth.box_count,
        "torch": score(in_torch, truth).map50_95,
        "onnxruntime": score([detector(read_image(path)) for path in paths], truth).map50_95,
    }


def parity(quantized: QuantizedModel, file: Path, paths: Sequence[Path]) -> dict[str, Any]:
    """The parity ladder's onnxruntime rungs after one operation from equal inputs, and the free run's detections."""
    ladder = climb(quantized, OnnxFile(file), Pictures(paths))
    rungs = {}
    for rung in ladder.one_operation:
        worst = [str(tensor) for tensor in sorted(rung.codes.differing, key=lambda t: -t.differing / t.codes)[:3]]
        rungs[rung.rung] = {
            "tensors": rung.codes.tensors,
            "codes": rung.codes.codes,
            "equal_share": rung.codes.equal_share,
            "largest_distance": rung.codes.largest_distance,
            "worst_tensors": worst,
        }
    return {
        "one_operation": rungs,
        "detections": dataclasses.asdict(ladder.whole.boxes),
        "median_sqnr_db": ladder.median_sqnr_db,
    }


def export(module: nn.Module, detector: Any, quantized: QuantizedModel, variant: str, folder: Path) -> Path:
    """The ONNX file of the float or the quantized model, with its contract."""
    plan = quantized.plan
    graph = build_graph(module, IMGSZ, OPSET)
    origin = ("", "") if variant == "fp32" else (plan.sha256, plan.profile)
    set_metadata(graph, detector, contract_of(graph, detector, IMGSZ, variant, *origin))
    file = folder / f"{variant}.onnx"
    onnx.save(graph, file)
    return file


def measure_family(architecture: str, images: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Everything of one family; its files go into `folder`."""
    torch.set_num_threads(1)
    calibrated, compared = images[:CALIBRATED], images[CALIBRATED : CALIBRATED + COMPARED]
    size = Preprocessing(imgsz=(IMGSZ, IMGSZ))
    model = random_detector(architecture, torch.from_numpy(next(batches(calibrated, size, 4))))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    float_model = deploy(model)
    quantized = QuantizedModel(copy.deepcopy(float_model), plan_detector(float_model, IMGSZ, PROFILE))
    calibrate(quantized, map(torch.from_numpy, batches(calibrated, size, 1)), QuantSection().observer)
    settle_ranges(quantized)
    quantized.eval()
    fp32 = export(float_model, float_model, quantized, "fp32", folder)
    int8 = export(quantized, quantized.model, quantized, "ptq", folder)
    census = take_census(OnnxFile(int8), quantized.plan)
    require_planned(census, quantized.plan, architecture)
    latency = measure({"fp32": fp32, "int8": int8}, SETTINGS, LocalTarget()).to_json()
    latency.pop("blocks")
    return {
        "family": architecture,
        "imgsz": IMGSZ,
        "parameters": parameters,
        "int8_convs": census.int8_convs,
        "planned_float_convs": census.planned_float_convs,
        "operators": census.operators,
        "parity": parity(quantized, int8, compared),
        "agreement": agreement(quantized, int8, compared),
        "latency": latency,
    }


def table(entries: list[dict[str, Any]]) -> str:
    """One line a family."""
    lines = []
    for entry in entries:
        agreed, speed = entry["agreement"], entry["latency"]["models"]["int8"]
        codes = entry["parity"]["one_operation"][OPTIMIZED]
        lines.append(
            [
                entry["family"],
                f"{entry['parameters'] / 1e6:.1f}",
                f"{entry['int8_convs']} / {entry['planned_float_convs']}",
                f"{100 * codes['equal_share']:.4f} %",
                str(codes["largest_distance"]),
                f"{100 * entry['parity']['detections']['agreeing_share']:.2f} %",
                f"{100 * (agreed['torch'] - agreed['onnxruntime']):.3f}",
                f"{speed['speedup']:.2f}",
                f"{speed['speedup_low']:.2f}-{speed['speedup_high']:.2f}",
            ]
        )
    headers = [
        "family",
        "M parameters",
        "int8 / float convs",
        "equal codes",
        "distance",
        "detections agreeing",
        "mAP torch - ORT",
        f"x FP32 at {IMGSZ}",
        "95 %",
    ]
    return tabulate(lines, headers, disable_numparse=True)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--images", type=Path, default=ROOT / "../shared/data/bccd/images/train", help="folder of photographs")
    option("--only", nargs="+", choices=FAMILIES, default=FAMILIES, help="families to measure, if not yet measured")
    option("--in-this-process", action="store_true", help="print the JSON of the first family, write nothing")
    return parser.parse_args()


def main() -> None:
    """Measures what is missing, family by family, and prints the table of all that is measured."""
    arguments = parse_arguments()
    images = sorted(path for path in arguments.images.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if arguments.in_this_process:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure_family(arguments.only[0], images, Path(folder))))
        return
    entries = json.loads(RESULT.read_text())["entries"] if RESULT.exists() else []
    for family in arguments.only:
        if any(entry["family"] == family for entry in entries):
            continue
        print(f"{family} ...", file=sys.stderr, flush=True)
        command = [sys.executable, __file__, "--in-this-process", "--images", str(arguments.images), "--only", family]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            print(f"{family} failed with exit code {done.returncode}", file=sys.stderr)
            continue
        date = datetime.now(timezone.utc).date().isoformat()
        entries.append({"date": date, **json.loads(done.stdout.splitlines()[-1])})
        entries.sort(key=lambda entry: FAMILIES.index(entry["family"]))
        temporary = RESULT.with_suffix(".partial")
        temporary.write_text(json.dumps({"schema": 1, "torch": torch.__version__, "entries": entries}, indent=1) + "\n")
        os.replace(temporary, RESULT)
    print(table(entries))


if __name__ == "__main__":
    main()
