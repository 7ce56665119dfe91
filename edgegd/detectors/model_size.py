"""What a model may ask for, judged before memory is given to it: ten lines can describe an enormous network.

Layers are counted as they are written. Then they are built, and a picture goes through them, on torch's `meta` device,
where tensors have shapes and no memory. Of a checkpoint the tensors are counted when they were unpickled and before
Ultralytics converts them: one that repeats a single number (stride 0) takes no place in its file.
"""

from __future__ import annotations

import copy
import math
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from ultralytics.nn.tasks import parse_model

from edgegd.data.ultralytics_as_given import as_given
from edgegd.deferred_interrupts import deferred_interrupts
from edgegd.errors import CheckpointUnreadableError
from edgegd.limits import CHECKPOINT_BYTES, CLASSES, LAYER_ARGUMENT, LAYERS, MAP_VALUES, PARAMETERS

_PROBE_PX = 256  # of the picture that Ultralytics sends through a new model


def require_size_of_description(description: Any, source: object) -> None:
    """CheckpointUnreadableError, which names the limit, where an architecture is larger than a model can be; and where
    Ultralytics cannot build it."""
    try:
        _require_small(description, source)
    except CheckpointUnreadableError:
        raise
    except Exception as error:  # Ultralytics builds whatever the description says, which can raise anything
        raise CheckpointUnreadableError(
            f"{source} does not describe a model.",
            expected="an Ultralytics architecture",
            found=f"{type(error).__name__}: {error}"[:200],
            mend="correct the file, or choose another model.weights",
        ) from error


def _require_small(description: Any, source: object) -> None:
    entries = [entry for part in ("backbone", "head") for entry in description[part]]
    repeats = [entry[1] for entry in entries if isinstance(entry, list) and len(entry) == 4]
    numbers = [abs(one) for entry in entries for one in _numbers(entry)]
    if max(numbers, default=0) > LAYER_ARGUMENT:
        raise _too_large(source, f"numbers of at most {LAYER_ARGUMENT} in a layer", f"{max(numbers):g}")
    classes = description.get("nc", 0)
    if isinstance(classes, (int, float)) and classes > CLASSES:
        raise _too_large(source, f"at most {CLASSES} classes", f"{classes:g}")
    deepest = max((abs(depth) for depth in _depths(description)), default=1.0)
    count = sum(max(1.0, abs(one) * deepest) for one in repeats if isinstance(one, (int, float)))
    if not count <= LAYERS:  # NaN is not
        raise _too_large(source, f"at most {LAYERS} layers, repeated ones counted", f"{count:g}")
    channels = description.get("channels", 3)
    with as_given(), torch.device("meta"):
        layers, _ = parse_model(copy.deepcopy(description), channels, verbose=False)
    require_size_of_tensors(layers, source)
    require_size_of_maps(list(layers), channels, source)


def require_size_of_tensors(module: nn.Module, source: object) -> None:
    """CheckpointUnreadableError where all parameters and buffers together are more than a detector has."""
    count = sum(tensor.numel() for tensor in (*module.parameters(), *module.buffers()))
    if count > PARAMETERS:
        raise _too_large(source, f"at most {PARAMETERS // 10**6} million parameters", f"{count:,}")


def require_size_of_maps(layers: Sequence[Any], channels: int, source: object) -> None:
    """CheckpointUnreadableError where the layers before the head make more of a small picture than a detector's do.

    `layers` are Ultralytics' (each with its index `i` and its sources `f`), on the meta device.
    """
    with deferred_interrupts():
        # The first BatchNorm on the meta device imports this, and native code in it that an exception would abort.
        import torch._dynamo
    value: Any = torch.zeros(1, channels, _PROBE_PX, _PROBE_PX, device="meta")
    made: list[Any] = []
    with _Counting(source):
        for layer in layers[:-1]:
            if layer.f != -1:
                value = made[layer.f] if isinstance(layer.f, int) else [value if f == -1 else made[f] for f in layer.f]
            value = layer(value)
            made.append(value)


class _Counting(TorchFunctionMode):
    """Adds up the values of everything that torch computes, and stops where they are too many."""

    def __init__(self, source: object) -> None:
        super().__init__()
        self._source, self._values = source, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self._values += result.numel()
        if self._values > MAP_VALUES:
            raise _too_large(
                self._source,
                f"layers that make at most {MAP_VALUES // 10**6} million values of a picture of {_PROBE_PX} px",
                "more",
            )
        return result


def within_limits(load: Callable[..., tuple[Any, str]]) -> Callable[..., tuple[Any, str]]:
    """Ultralytics' torch_safe_load, `load`, with the size of the file and of its tensors checked."""

    def bounded(weight: str | Path, *arguments: Any, **keywords: Any) -> tuple[Any, str]:
        _require_unpacked_size(Path(weight))
        checkpoint, file = load(weight, *arguments, **keywords)
        for name in ("ema", "model"):
            model = checkpoint.get(name)
            if isinstance(model, nn.Module):
                require_size_of_tensors(model, weight)
        return checkpoint, file

    return bounded


def _require_unpacked_size(path: Path) -> None:
    """A checkpoint is an archive, whose records torch reads compressed ones too."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        size = sum(record.file_size for record in archive.infolist())
    if size > CHECKPOINT_BYTES:
        raise _too_large(path, f"at most {CHECKPOINT_BYTES >> 20} MiB, unpacked", f"{size >> 20} MiB")


def _numbers(entry: Any) -> list[float]:
    """All finite numbers in an entry but the layer's repeats, which are counted with all others."""
    if isinstance(entry, list):
        return [number for place, one in enumerate(entry) if place != 1 or len(entry) != 4 for number in _numbers(one)]
    is_number = isinstance(entry, (int, float)) and not isinstance(entry, bool)
    return [float(entry)] if is_number and math.isfinite(entry) else []


def _depths(description: Any) -> list[float]:
    """The factors of repeats that a description knows, whichever scale is taken."""
    scales = description.get("scales")
    rows = list(scales.values()) if isinstance(scales, dict) else []
    first = [row[0] for row in rows if isinstance(row, list) and row]
    return [float(one) for one in (*first, description.get("depth_multiple", 1.0)) if isinstance(one, (int, float))]


def _too_large(source: object, expected: str, found: str) -> CheckpointUnreadableError:
    return CheckpointUnreadableError(
        f"{source} holds a model that is larger than any detector.",
        expected=expected,
        found=found,
        mend="use a smaller model",
    )
