"""The stages `latency --beside NAME`: the run's float checkpoint as another runtime's model, and that model's mAP."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegd.accuracy.bootstrap import compare
from edgegd.accuracy.evaluate import AccuracyResult, evaluate
from edgegd.device.fingerprint import fingerprint
from edgegd.errors import UnsupportedModelError
from edgegd.pipeline.artifacts import CALIBRATION, DATA, FLOAT_MODEL, PORTABLE, as_made
from edgegd.pipeline.beside import BESIDE, Beside, accuracy_artifact, model_artifact, stage_name
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import Stage
from edgegd.pipeline.stored import stored_dataset
from edgegd.progress import Progress, Silent
from edgegd.runtime.contract import ModelContract, OutputContract
from edgegd.runtime.detector import Detections, detections_from_output
from edgegd.runtime.letterbox import preprocess
from edgegd.runtime.session import load_session
from edgegd.targets.bounded_run import TooMuchOutputError, run_bounded
from edgegd.targets.other_runtime import running
from edgegd.variants import VARIANTS

_THREADS = 2


def _run(name: str, folder: RunFolder, progress: Progress) -> None:
    """Exports the model and measures its mAP on the same images, by the same decoding, as the run's own files'."""
    beside = BESIDE[name]
    contract = _contract(folder)
    progress.update(0, 1, f"exporting for {name}")
    _export(folder, beside, folder.artifact(model_artifact(name)), contract)
    result = _evaluate(folder, name, contract, progress)
    ours = _our_results(folder)
    compared = compare(
        {name: result.matches, **{variant: one.matches for variant, one in ours.items()}},
        [(name, variant) for variant in VARIANTS],
    ).to_dict()
    folder.write_json(
        accuracy_artifact(name),
        {
            "schema": 1,
            "runtime": beside.runtime,
            "format": beside.format,
            "quantize": beside.quantize,
            "packages": beside.versions(),
            "accuracy": {name: result.to_dict(), **{variant: one.to_dict() for variant, one in ours.items()}},
            **compared,
        },
    )


def _contract(folder: RunFolder) -> ModelContract:
    session = load_session(folder.require(PORTABLE["fp32"]), optimization="disabled")
    contract = ModelContract.from_metadata(session.get_modelmeta().custom_metadata_map)
    if contract.output.kind == "queries":
        raise UnsupportedModelError(
            f"{folder.path}: a detector with queries (RT-DETR) is not measured in other runtimes.",
            expected="raw outputs, or the head of YOLOv10 and YOLO26 that needs no NMS",
            found=contract.output.kind,
        )
    return contract


def _export(folder: RunFolder, beside: Beside, out: Path, contract: ModelContract) -> None:
    checkpoint = folder.require(FLOAT_MODEL)
    _require_ultralytics(checkpoint)
    with tempfile.TemporaryDirectory() as work:
        made = Path(work, "model.zip")
        command = [sys.executable, "-m", "edgegd.detectors.other_export", str(checkpoint.absolute()), str(made)]
        command += ["--format", beside.format, "--imgsz", *map(str, folder.recipe.model.size)]
        command += ["--quantize", str(beside.quantize)] if beside.quantize else []
        command += ["--end2end"] if contract.output.kind == "end2end" else []
        command += ["--data", str(_calibration_yaml(folder, Path(work)))] if beside.calibrates else []
        try:
            done = run_bounded(command)
            found = "" if done.code == 0 else f"exit status {done.code}: {(done.stderr or done.stdout)[-1500:].strip()}"
        except TooMuchOutputError:
            found = "more output than is looked at"
        if found:
            raise UnsupportedModelError(
                f"Ultralytics cannot export {checkpoint} as {beside.format}.",
                expected="a whole file",
                found=found,
                mend="leave this runtime out, or look whether other versions of its packages can",
            )
        folder.write(out.name, made.read_bytes())


def _require_ultralytics(checkpoint: Path) -> None:
    from edgegd.detectors.torchvision_checkpoint import is_safetensors

    if is_safetensors(checkpoint):
        raise UnsupportedModelError(
            f"{checkpoint} is torchvision's: other runtimes' files are made by Ultralytics.",
            expected="a checkpoint of Ultralytics'",
            mend="leave --beside out",
        )


def _calibration_yaml(folder: RunFolder, work: Path) -> Path:
    """The images that the run calibrates on, as the split on which Ultralytics' INT8 exports calibrate."""
    from edgegd.data.view import ultralytics_yaml

    dataset = stored_dataset(folder)
    with as_made(folder, CALIBRATION):
        images = tuple(map(Path, folder.read_json(CALIBRATION)["images"]))
    return ultralytics_yaml(dataclasses.replace(dataset, val_images=images), work / "view")


def _evaluate(folder: RunFolder, name: str, contract: ModelContract, progress: Progress) -> AccuracyResult:
    from edgegd.pipeline.stored import measured_truth

    settings, truth = folder.recipe.accuracy, measured_truth(folder)
    with running(folder.artifact(model_artifact(name)), BESIDE[name].runtime, _THREADS) as network:

        def predict(image: NDArray[np.uint8]) -> Detections:
            pixels, geometry = preprocess(image, contract.preprocessing)
            output = network(pixels)
            kind = "end2end" if output.shape[2] == 6 else "raw"  # not every format has the head that needs no NMS
            return detections_from_output(
                output,
                dataclasses.replace(contract, output=OutputContract(kind, output.shape)),
                geometry,
                conf=settings.conf,
                iou=settings.iou,
                max_det=settings.max_det,
                multi_label=True,
                clip=False,
            )

        return evaluate(
            predict,
            truth,
            max_det=settings.max_det,
            channels=contract.preprocessing.image_channels,
            progress=lambda done, total: progress.update(done, total, f"mAP of {name}"),
        )


@lru_cache(maxsize=1)  # several runtimes are measured in one run of the command, under the folder's lock
def _our_results(folder: RunFolder) -> dict[str, AccuracyResult]:
    """FP32, PTQ and QAT as stage `accuracy` measures them; what it stored may be of earlier files."""
    from edgegd.pipeline.stages.accuracy import measured_variants
    from edgegd.pipeline.stored import measured_truth

    return measured_variants(folder, measured_truth(folder), Silent())


def _stage(name: str) -> Stage:
    return Stage(
        stage_name(name),
        f"the model of {name} and its mAP",
        (DATA, FLOAT_MODEL, CALIBRATION, *PORTABLE.values()),
        (model_artifact(name), accuracy_artifact(name)),
        ("model.imgsz", "model.end2end", "accuracy"),
        partial(_run, name),
        lambda folder: {"cpu": fingerprint()["cpu"], "packages": BESIDE[name].versions()},
    )


BESIDE_STAGES = {stage_name(name): _stage(name) for name in BESIDE}
