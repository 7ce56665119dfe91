"""The door for detectors of torchvision: one .safetensors file that says which model it is and what its classes are.

Nothing in such a file can run code, and its tensors have the shapes that their names demand. `store_torchvision` writes
it from the model that the user trained; a recipe names it in `model.weights`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from edgegd.atomic_files import write_atomically
from edgegd.detectors.checkpoint_classes import names_by_id
from edgegd.detectors.families.ssd_detector import build_ssdlite, taken_apart
from edgegd.errors import CheckpointUnreadableError, UnsupportedModelError
from edgegd.foreign_text import one_line
from edgegd.limits import CHECKPOINT_BYTES, CLASSES
from edgegd.regular_files import require_regular

ARCHITECTURE, NAMES = "edgegd.architecture", "edgegd.names"  # keys of the file's metadata
_SSDLITE = "torchvision/ssdlite320_mobilenet_v3_large"
_TWO_STAGES = "its second stage crops regions, as many as the image has candidates, which no static graph can"
_NO_FAMILY = "no family of edgegd has its deployment and loss yet"
# Of torchvision's detectors, by the beginnings of their names.
_REFUSED = {
    "fasterrcnn": _TWO_STAGES,
    "maskrcnn": _TWO_STAGES,
    "keypointrcnn": _TWO_STAGES,
    "retinanet": _NO_FAMILY,
    "fcos": _NO_FAMILY,
    "ssd300": _NO_FAMILY,
}
_MEND = "write the file by edgegd.detectors.torchvision_checkpoint.store_torchvision (docs/torchvision.md)"
_SCORES, _BOXES_A_PLACE = "head.classes.0.1.bias", 6
_TAIL = "backbone.features.1.2.block.0.0.weight"  # its shape tells the reduced tail of MobileNetV3 from the full one


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors' do: eight bytes of length and a JSON object. False for no such file."""
    try:
        require_regular(path)
        with path.open("rb") as file:
            start = file.read(9)
    except OSError:
        return False
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < CHECKPOINT_BYTES


def store_torchvision(model: nn.Module, names: tuple[str, ...] | list[str], path: Path | str) -> None:
    """Stores a torchvision detector, in float32, for `model.weights` of a recipe.

    `model` is what `torchvision.models.detection.ssdlite320_mobilenet_v3_large(num_classes=len(names) + 1)` returned,
    trained; `names` are its classes without the background, in the order of their labels 1, 2, ...
    Raises UnsupportedModelError, which says why, for another model, or one whose anchors or normalization were changed.
    """
    if type(model).__name__ != "SSD":
        raise _unsupported(type(model).__name__)
    own, mine = (
        taken_apart(model, tuple(names)),
        build_ssdlite(tuple(names), reduced_tail=_has_reduced_tail(model.state_dict())),
    )
    difference = _difference(own, mine)
    if difference:
        raise UnsupportedModelError(
            f"The model is no {_SSDLITE} as torchvision makes it for {len(names)} classes and the background.",
            expected="torchvision's own anchors, normalization and layers",
            found=difference,
            mend="make it with num_classes = classes + 1 and no other arguments",
        )
    state = {key: value.detach().cpu().contiguous() for key, value in own.float().state_dict().items()}
    metadata = {ARCHITECTURE: _SSDLITE, NAMES: json.dumps(list(names))}
    write_atomically(Path(path), safetensors.torch.save(state, metadata))


def open_torchvision(path: Path) -> Any:
    """The detector, float32, in evaluation mode, not deployed yet, of a file that `store_torchvision` wrote.

    Raises CheckpointUnreadableError for a file that is truncated, too large, or of another model than it says;
    UnsupportedModelError for a model of torchvision's that no family covers, with the reason; ClassCountError.
    """
    metadata, state = _read(path)
    architecture = metadata.get(ARCHITECTURE, "")
    if architecture != _SSDLITE:
        raise _unsupported(architecture or "a model without a name")
    try:
        given = json.loads(metadata[NAMES])
        if not isinstance(given, list) or not 0 < len(given) <= CLASSES:
            raise ValueError(f"not a list of 1 to {CLASSES} names")
    except (KeyError, ValueError, RecursionError) as error:
        raise _unreadable(path, f"a JSON list of names in {NAMES}", f"{type(error).__name__}: {error}") from error
    names = names_by_id(given, len(given), path)
    rows = [len(value) for key, value in state.items() if key == _SCORES]
    if rows != [_BOXES_A_PLACE * (len(names) + 1)]:  # before anything of that many classes is made
        found = f"{rows[0] / _BOXES_A_PLACE - 1:g} in {_SCORES}" if rows else f"no {_SCORES}"
        raise _unreadable(path, f"scores of {len(names)} classes, as many as it has names", found)
    model = build_ssdlite(tuple(names.values()), reduced_tail=_has_reduced_tail(state))
    try:
        if not all(value.float().isfinite().all() for value in state.values()):
            raise RuntimeError("values that are not finite")
        model.load_state_dict(state)
    except RuntimeError as error:
        raise _unreadable(path, f"the tensors of {_SSDLITE} for {len(names)} classes", str(error)) from error
    return model.eval()


def _read(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    require_regular(path)
    if path.stat().st_size > CHECKPOINT_BYTES:
        raise _unreadable(path, f"at most {CHECKPOINT_BYTES >> 20} MiB", f"{path.stat().st_size >> 20} MiB")
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, "a whole .safetensors file", str(error)) from error


def _has_reduced_tail(state: dict[str, torch.Tensor]) -> bool:
    tail = state.get(_TAIL)
    return tail is None or tail.shape[0] < 960


def _difference(own: Any, mine: Any) -> str:
    """What two detectors differ in beside their weights, in words; empty where in nothing."""
    shapes = [{key: tuple(value.shape) for key, value in model.state_dict().items()} for model in (own, mine)]
    if shapes[0] != shapes[1]:
        keys = [key for key in {**shapes[0], **shapes[1]} if shapes[0].get(key) != shapes[1].get(key)]
        return f"{keys[0]} is {shapes[0].get(keys[0], 'not there')}, not {shapes[1].get(keys[0], 'there')}"
    if (own.mean, own.std) != (mine.mean, mine.std):
        return f"a mean of {own.mean} and a standard deviation of {own.std}"
    if repr(own.rules.anchor_generator) != repr(mine.rules.anchor_generator):
        return repr(own.rules.anchor_generator)
    return ""


def _unsupported(name: str) -> UnsupportedModelError:
    short = name.lower().removeprefix("torchvision/")
    reason = next((why for start, why in _REFUSED.items() if short.startswith(start)), _NO_FAMILY)
    shown = one_line(name, 80)
    return UnsupportedModelError(f"{shown} cannot be quantized: {reason}.", expected=_SSDLITE, found=shown, mend=_MEND)


def _unreadable(path: Path, expected: str, found: str) -> CheckpointUnreadableError:
    return CheckpointUnreadableError(
        f"{path} cannot be read as a detector of torchvision.",
        expected=expected,
        found=one_line(" ".join(found.split()), 200),
        mend=_MEND,
    )
