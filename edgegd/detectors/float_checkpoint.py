"""Opens a float checkpoint, or says in one message why it cannot be used."""

from __future__ import annotations

import copy
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel, guess_model_task, load_checkpoint
from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

from edgegd.data.download import download_file
from edgegd.data.ultralytics_as_given import as_given, replaced
from edgegd.detectors.architecture import read_architecture
from edgegd.detectors.checkpoint_classes import names_by_id
from edgegd.detectors.deployment import class_names, input_channels, model_stride
from edgegd.detectors.families.registry import family_of
from edgegd.detectors.model_size import require_size_of_description, require_size_of_maps, within_limits
from edgegd.detectors.torchvision_checkpoint import is_safetensors, open_torchvision
from edgegd.errors import (
    ChannelCountError,
    CheckpointNotFoundError,
    CheckpointTaskError,
    CheckpointUnreadableError,
    ClassCountError,
    ImageSizeError,
    UnsupportedModelError,
    UntrustedFileError,
)
from edgegd.foreign_text import one_line
from edgegd.limits import CLASSES
from edgegd.network_size import NetworkSize, network_size
from edgegd.recipe.paths import resolve_path
from edgegd.regular_files import require_regular

_HUB = "https://github.com/ultralytics/assets/releases"
_RELEASE = "v8.4.0"  # the one whose names GITHUB_ASSETS_NAMES are (ultralytics/utils/downloads.py)
# What torch says of an object that weights_only does not make (torch/_weights_only_unpickler.py).
_REFUSED = re.compile(
    r"nsupported (?:global: )?GLOBAL ([\w.]+)|(unsafe getattr\([^)]*\))|but got (<class [^>]*>)|"
    r"unrecognized function ([\w.<> ]+)"
)


_PROBE_PX = 128  # RT-DETR chooses among 300 places of a picture: one of 128 px has 336, one of 96 px too few


def locate_checkpoint(weights: str) -> Path:
    """The file of `model.weights`; a name of Ultralytics' hub is downloaded into the current folder if it is not there.

    Raises CheckpointNotFoundError, or DownloadError that says which file to put where.
    """
    path = resolve_path(weights)
    if path.is_file():
        return path
    if weights not in GITHUB_ASSETS_NAMES:
        raise CheckpointNotFoundError(
            f"The checkpoint {weights} does not exist.",
            expected=f"an Ultralytics .pt file at {path}, or a name on Ultralytics' hub such as yolo26n.pt",
            mend="correct model.weights, or give it with --set model.weights=PATH",
        )
    download_file(
        f"{_HUB}/download/{_RELEASE}/{weights}",
        path,
        instructions=f"download {weights} from {_HUB} on another machine and put it at {path}",
    )
    return path


def open_checkpoint(path: Path) -> Any:
    """The detection model of a checkpoint, float32, by the path as it is given; not deployed yet.

    A .safetensors file is torchvision's (see open_torchvision, also for its errors), anything else Ultralytics'. Of a
    pickle only the classes of torch's and Ultralytics' models are made, unless the user trusts the file
    (edgegd.trust). Raises CheckpointUnreadableError for a truncated or foreign file, UntrustedFileError for one that
    holds more than a model, CheckpointTaskError for another task, ClassCountError for class names that are not one for
    each id.
    """
    if is_safetensors(path):
        return open_torchvision(path)
    try:
        with as_given(), replaced(tasks, "torch_safe_load", within_limits(tasks.torch_safe_load)):
            require_regular(path)
            model: Any = load_checkpoint(path.absolute())[0]
    except (
        RuntimeError,
        EOFError,
        OSError,
        KeyError,
        TypeError,
        AttributeError,
        ModuleNotFoundError,
        ValueError,
        AssertionError,
        IndexError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        _refuse_code(path, error)
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise CheckpointUnreadableError(
            f"{path} cannot be read as an Ultralytics checkpoint.",
            expected="a whole .pt file that Ultralytics saved",
            found=f"{path.stat().st_size} bytes; {reason}",
            mend="copy or download the file again; for a detector of torchvision's see docs/torchvision.md",
        ) from error
    if model.task != "detect" or not isinstance(model, DetectionModel):
        raise CheckpointTaskError(
            f"{path} is no detection model.",
            expected="task detect",
            found=f"task {model.task}",
            mend="choose a checkpoint without -seg, -cls, -pose or -obb in its name",
        )
    _require_fitting_layers(model, path)
    layers: Any = model.model
    model.names = names_by_id(getattr(model, "names", None), int(layers[-1].nc), path)
    return model


def _require_fitting_layers(model: DetectionModel, path: Path) -> None:
    """CheckpointUnreadableError unless a black picture comes through the model, and its head and strides are ones."""
    try:
        probe: Any = copy.deepcopy(model).float().eval()
        strides = [float(stride) for stride in probe.stride]
        fits = strides and all(1 <= stride <= _PROBE_PX for stride in strides)
        if type(probe.model[-1].nc) is not int or probe.model[-1].nc > CLASSES or not fits:
            raise ValueError(f"{probe.model[-1].nc!r} classes, strides {strides}")
        require_size_of_maps(list(copy.deepcopy(probe).to("meta").model), input_channels(model), path)
        with torch.no_grad():
            probe(torch.zeros(1, input_channels(model), _PROBE_PX, _PROBE_PX))
    except CheckpointUnreadableError:
        raise
    except Exception as error:  # whatever Ultralytics' layers raise where they do not fit each other
        raise CheckpointUnreadableError(
            f"{path} holds a model that does not work.",
            expected="layers that fit each other",
            found=f"{type(error).__name__}: {error}".splitlines()[0][:200],
            mend="export or train the checkpoint again",
        ) from error


def _refuse_code(path: Path, error: BaseException) -> None:
    """UntrustedFileError where torch refused to make an object of the pickle that is no part of a model."""
    refused = _REFUSED.search(f"{error.__cause__} {error}")
    if refused:
        raise UntrustedFileError(
            f"{path} would run code when it is opened.",
            expected="a pickle of nothing but torch's and Ultralytics' models",
            found=f"it needs {next(filter(None, refused.groups()))}",
            mend="ask for a checkpoint that Ultralytics saved; or, if you know who made it, add --trust (SECURITY.md)",
        ) from error


def open_architecture(weights: str) -> DetectionModel:
    """The model of an architecture file (the user's, or one of Ultralytics' by name), with random weights.

    Raises CheckpointNotFoundError where there is no such file, CheckpointUnreadableError where it describes no model,
    UntrustedFileError where it would run code, CheckpointTaskError for another task.
    """
    description = read_architecture(weights)
    task = guess_model_task(description)
    if task != "detect":
        raise CheckpointTaskError(
            f"{weights} is no detection model.",
            expected="task detect",
            found=f"task {task}",
            mend="choose an architecture without -seg, -cls, -pose or -obb in its name",
        )
    try:
        with as_given():
            require_size_of_description(description, weights)
            return DetectionModel(description, verbose=False)
    except CheckpointUnreadableError:
        raise
    except Exception as error:  # Ultralytics builds whatever the file says, which can raise anything
        raise CheckpointUnreadableError(
            f"{weights} does not describe a model.",
            expected="an Ultralytics architecture file",
            found=f"{type(error).__name__}: {error}"[:200],
            mend="correct the file, or choose another model.weights",
        ) from error


def knows_classes(model: nn.Module, names: tuple[str, ...]) -> bool:
    """Whether the checkpoint's classes are the data set's, by number and name."""
    return class_names(model) == names


def require_classes(model: nn.Module, names: tuple[str, ...], source: str) -> None:
    """ClassCountError where the checkpoint's classes are not the data set's in number and name."""
    if not knows_classes(model, names):
        own = class_names(model)
        found = one_line(", ".join(own))
        raise ClassCountError(
            f"The classes of {source} are not the data set's.",
            expected=f"{len(names)}: {_shorten(', '.join(names))}",
            found=f"{len(own)}: {_shorten(found)}",
            mend="use a checkpoint trained on this data set, or set model.float.epochs to train one first",
        )


def require_float_training(model: nn.Module, source: str, epochs: int) -> None:
    """UnsupportedModelError where model.float cannot train a model of this family."""
    family = family_of(model)
    if family.no_float_training:
        raise UnsupportedModelError(
            f"model.float cannot train {source}: {family.no_float_training}.",
            expected="model.float.epochs 0, and a checkpoint that was trained on this data set",
            found=f"model.float.epochs {epochs}, and a model of the family {family.name}",
            mend="train it with its own library first, and set model.float.epochs to 0",
        )


def require_channels(model: nn.Module, channels: int, source: str) -> None:
    """ChannelCountError where the checkpoint takes images of other channels than the data set has."""
    own = input_channels(model)
    if own != channels:
        raise ChannelCountError(
            f"{source} takes images of another number of channels than the data set has.",
            expected=f"{own}, as the checkpoint's first convolution reads",
            found=f"{channels} (`channels` in the data set's YAML; 3 where it says nothing)",
            mend=f"use a checkpoint of {channels} channel{'s' if channels > 1 else ''}, or write `channels: {own}`",
        )


def require_stride(model: nn.Module, imgsz: int | NetworkSize) -> None:
    """ImageSizeError where imgsz, (height, width) or the side of a square, is no multiple of the model's stride."""
    stride, size = model_stride(model), network_size(imgsz)
    if any(side % stride for side in size):
        below = [max(side // stride, 1) * stride for side in size]
        above = [-(-side // stride) * stride for side in size]
        found, *near = (str(x[0] if x[0] == x[1] else list(x)) for x in (size, below, above))
        raise ImageSizeError(
            f"model.imgsz {found} does not fit the model's stride.",
            expected=f"a multiple of {stride}",
            found=found,
            mend=f"set model.imgsz to {' or '.join(dict.fromkeys(near))}",
        )


def _shorten(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "..."
