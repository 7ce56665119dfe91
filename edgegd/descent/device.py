"""Whether the device that a recipe trains on is in this machine."""

from __future__ import annotations

import torch

from edgegd.errors import TrainingDeviceError

MEND = "choose another with `--set train.device=cpu`; the stages after qat need no such device: `edgegd export RUN_DIR`"


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
