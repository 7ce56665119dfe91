"""Whether the devices that a recipe trains on are in this machine."""

from __future__ import annotations

import os

import torch

from edgegd.descent.ranks import current_ranks
from edgegd.errors import TrainingDeviceError
from edgegd.recipe.training import TrainSection

MEND = "choose another with `--set train.device=cpu`; the stages after qat need no such device: `edgegd export RUN_DIR`"


def require_devices(settings: TrainSection) -> None:
    """Raises TrainingDeviceError where `train.device` is not there, or not as often as training is to run on it.

    Under torchrun that is as often as it has started processes here, whatever `train.devices` says. Or where a batch
    has not an image for every part in every process.
    """
    require_device(settings.device)
    ranks = current_ranks()
    launched = ranks.size > 1
    processes, here = (ranks.size, ranks.local_size) if launched else (settings.devices, settings.devices)
    if processes == 1:
        return
    asked = f"torchrun has started {processes} processes" if launched else f"train.devices is {processes}"
    kind, _, number = settings.device.partition(":")
    there = torch.cuda.device_count() if kind == "cuda" else os.cpu_count() or 1
    named = {"cuda": "CUDA devices", "cpu": "CPUs"}.get(kind, kind)
    if number or kind == "mps":
        raise TrainingDeviceError(
            f"{asked}, but train.device names a single device, {settings.device}.",
            expected="train.device cuda, of which each process takes one, or cpu",
            found=settings.device,
            mend="--set train.device=cuda, or --set train.devices=1",
        )
    if here > there:
        raise TrainingDeviceError(
            f"{asked}, but this machine has fewer {named}.",
            expected=f"at most {there} on this machine",
            found=str(here),
            mend=f"--set train.devices={there}, or fewer processes of torchrun",
        )
    if settings.batch < processes * settings.accumulate:
        raise TrainingDeviceError(
            f"{asked}, and each computes its share of a batch in {settings.accumulate} part(s), but a batch has only "
            f"{settings.batch} image(s).",
            expected=f"train.batch of at least {processes * settings.accumulate}",
            found=str(settings.batch),
            mend="set a larger train.batch, fewer train.devices, or a smaller train.accumulate",
        )


def require_device(device: str) -> None:
    """Raises TrainingDeviceError where torch cannot use `device`, which is in the form of canonical_device."""
    kind, _, number = device.partition(":")
    if kind == "cpu":
        return
    if kind == "mps":
        if torch.backends.mps.is_available():
            return
        found = "no Apple GPU that torch can use"
    else:
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) < count:
            return
        found = f"{count} of them, cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0 alone" if count else _no_gpu()
    raise TrainingDeviceError(
        f"The device that train.device names, {device}, is not in this machine.",
        expected=f"{device}, for the training of this run",
        found=found,
        mend=MEND,
    )


def _no_gpu() -> str:
    built = torch.version.cuda
    return f"no GPU that torch {torch.__version__} can use" + ("" if built else ", which was built without CUDA")
