"""Outputs of a run's files on a device, image by image, and the mAP of these outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgegd.accuracy.evaluate import evaluate_onnx, evaluate_outputs
from edgegd.errors import WorkerError
from edgegd.pipeline.proof.images import DeviceImages
from edgegd.pipeline.proof.unfinished import Unfinished
from edgegd.progress import Progress
from edgegd.recipe.schema import AccuracySection
from edgegd.runtime.contract import OUTPUT_NAME, ModelContract
from edgegd.targets.base import Target
from edgegd.targets.tensor_protocol import opened
from edgegd.verify.device_codes import input_form
from edgegd.verify.exact_session import load_exact

_THREADS_HERE = 2


def compute_outputs(
    name: str,
    file: Path,
    sha256: str,
    contract: ModelContract,
    images: DeviceImages,
    target: Target,
    unfinished: Unfinished,
    progress: Progress,
    *,
    threads: int,
    store: str,
    conf: float,
) -> None:
    """Keeps the output of a file for every image that has none yet. Nothing is computed again that the device computed.

    Of a raw output only columns above `conf` come over: the others can be no detection. Raises as
    edgegd.targets.worker_protocol.ask.
    """
    wanted = [index for index in range(len(images)) if not unfinished.has_output(name, index)]
    if not wanted:
        return
    above = conf if contract.output.kind == "raw" else None
    form = input_form(contract.preprocessing)
    with opened(target, target.deliver(file), sha256, threads=threads, store=store) as model:
        for index in wanted:
            progress.update(index, len(images), f"outputs of {file.name} on {target.name}")
            computed = model.compute(images.delivered(index), form)
            told = computed.tensors.get(OUTPUT_NAME)
            if told is None or (told.dtype, told.shape) != ("float32", contract.output.shape):
                raise WorkerError(
                    f"{target.name} computed another output of {file.name} than its metadata promises.",
                    expected=f"{OUTPUT_NAME} float32 {contract.output.shape}",
                    found=str(told and (told.dtype, told.shape)),
                )
            output = model.values({OUTPUT_NAME: told}, above)[OUTPUT_NAME]
            unfinished.store_output(name, index, output, told.sha256)
        model.done()


def map_of_outputs(
    name: str, contract: ModelContract, images: DeviceImages, unfinished: Unfinished, settings: AccuracySection
) -> dict[str, Any]:
    """mAP of the kept outputs, by the rules of stage `accuracy`: `map50_95` and `map50` in 0..1, and by class."""
    result = evaluate_outputs(
        lambda index: unfinished.output(name, index),
        contract,
        images.truth,
        conf=settings.conf,
        iou=settings.iou,
        max_det=settings.max_det,
    )
    return result.to_dict()


def map_here(file: Path, images: DeviceImages, settings: AccuracySection, progress: Progress) -> dict[str, Any]:
    """mAP of a portable file on the same images on this machine, in an exact session as in stage `accuracy`."""
    result = evaluate_onnx(
        file,
        images.truth,
        conf=settings.conf,
        iou=settings.iou,
        max_det=settings.max_det,
        session=load_exact(file, threads=_THREADS_HERE),
        progress=lambda done, total: progress.update(done, total, f"mAP of {file.name} on this machine"),
    )
    return result.to_dict()
