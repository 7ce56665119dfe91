"""Architecture files of Ultralytics': found, read, and checked before Ultralytics builds a model from them.

Ultralytics evaluates `activation` as Python and looks up every layer's name among all that its module can see,
functions too (nn/tasks.py, parse_model). So a file is checked first: `activation` is a call of a class of torch.nn with
literal arguments, a layer is a class of torch.nn, torchvision.ops or ultralytics.nn.modules that is a layer.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import ultralytics
from torch import nn
from ultralytics.nn import modules as ultralytics_modules
from ultralytics.nn.tasks import guess_model_scale

from edgegd.errors import CheckpointNotFoundError, CheckpointUnreadableError, UntrustedFileError
from edgegd.recipe.paths import SHIPPED, is_packaged, resolve_path
from edgegd.safe_yaml import YamlProblem, read_yaml
from edgegd.trust import is_trusted

_P6 = re.compile(r"(yolov[58])([nsmlx])6(.*)")  # an old spelling of Ultralytics': yolov8n6 means yolov8n-p6
_U = re.compile(r"(yolov[35].*)u")  # its checkpoints are named yolov5nu.pt, the architecture is yolov5n
_SCALED = re.compile(r"(\d+)([nslmx])(.+)?$")  # of yolo26n the scale is n, and the file is yolo26.yaml
_WORD = re.compile(r"[\w.+-]*")
_PACKAGE = Path(ultralytics.__file__).parent
_FETCHES = frozenset({"TorchVision"})  # a layer that downloads the weights it names


def is_architecture(weights: str) -> bool:
    """Whether `model.weights` names an architecture, which has no weights yet, and not a checkpoint."""
    return weights.endswith((".yaml", ".yml"))


def find_architecture(weights: str) -> Path:
    """The file of an architecture: the user's, or one of Ultralytics' by name, with or without a scale (yolo26n.yaml).

    A name after `shipped:` is Ultralytics' own, whatever the working folder holds. Raises CheckpointNotFoundError.
    """
    own = resolve_path(weights)
    if own.is_file() and not is_packaged(weights):
        return own
    name = Path(weights.removeprefix(SHIPPED))
    stem = _P6.sub(r"\1\2-p6\3", _U.sub(r"\1", name.stem))
    folder = _PACKAGE / "cfg" / "models"
    for candidate in (stem, _SCALED.sub(r"\1\3", stem)):
        found = sorted(folder.rglob(f"{candidate}.yaml")) if name.parent == Path() else []
        if found:
            return found[0]
    raise CheckpointNotFoundError(
        f"The architecture {weights} does not exist.",
        expected=f"a file at {own}, or one of Ultralytics' architectures such as yolo26n.yaml",
        mend="correct model.weights, or give it with --set model.weights=PATH",
    )


def read_architecture(weights: str) -> dict[str, Any]:
    """The description that `model.weights` names, checked, with the keys that Ultralytics adds (`scale`, `yaml_file`).

    Raises CheckpointNotFoundError, CheckpointUnreadableError where it is no description, UntrustedFileError where
    something in it is more than a layer or an activation.
    """
    path = find_architecture(weights)
    try:
        description = read_yaml(path)
    except (OSError, YamlProblem) as error:
        raise _no_description(weights, " ".join(str(error).split())[:200]) from error
    _require_parts(description, weights)
    if not path.is_relative_to(_PACKAGE):
        require_plain_architecture(description, str(path))
    name = Path(_P6.sub(r"\1\2-p6\3", weights.removeprefix(SHIPPED)))
    return description | {"scale": guess_model_scale(name), "yaml_file": name.name}


def require_plain_architecture(description: Any, source: str) -> None:
    """UntrustedFileError where a field of a description that is evaluated or looked up holds anything but a layer.

    Checkpoints hold a description too, of which Ultralytics builds the model that it trains. Nothing is refused where
    the user trusts the files (edgegd.trust).
    """
    if is_trusted():
        return
    _require_parts(description, source)
    activation = description.get("activation")
    if activation and not _is_activation(activation):
        raise _untrusted(source, "activation", activation, "a call such as nn.SiLU() or nn.LeakyReLU(0.1)")
    for part in ("backbone", "head"):
        for number, layer in enumerate(description[part]):
            if not isinstance(layer, list) or len(layer) != 4:
                raise _no_description(source, f"{part}, entry {number}: {str(layer)[:100]}")
            if not isinstance(layer[2], str) or not _is_layer(layer[2]):
                raise _untrusted(source, f"{part}, entry {number}", layer[2], "the name of a layer")
            for argument in layer[3] if isinstance(layer[3], list) else [layer[3]]:
                if isinstance(argument, str) and not _is_plain(argument):
                    raise _untrusted(source, f"{part}, entry {number}", argument, "plain values")


def _require_parts(description: Any, source: str) -> None:
    parts = ("backbone", "head")
    if not isinstance(description, dict) or not all(isinstance(description.get(part), list) for part in parts):
        raise _no_description(source, "no lists `backbone` and `head`")


def _is_activation(text: Any) -> bool:
    """Whether it is `nn.CLASS(...)` or `torch.nn.CLASS(...)` with literal arguments, CLASS a module of torch.nn."""
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call):
            return False
        name = ast.unparse(call.func).removeprefix("torch.")
        for value in (*call.args, *(keyword.value for keyword in call.keywords)):
            ast.literal_eval(value)
    except (AttributeError, SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return False
    return name.startswith("nn.") and _is_layer(name) and all(keyword.arg for keyword in call.keywords)


def _is_plain(argument: str) -> bool:
    """Whether a layer's argument is a word or a literal value."""
    try:
        return bool(_WORD.fullmatch(argument)) or ast.literal_eval(argument) is not NotImplemented
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return False


def _is_layer(name: str) -> bool:
    """Whether Ultralytics' look-up of this name yields a class of layers, and one that fetches nothing."""
    if name.startswith("nn."):
        found = getattr(nn, name[3:], None)
    elif name.startswith("torchvision.ops."):
        import torchvision  # which takes a second, and no architecture of Ultralytics' needs

        found = getattr(torchvision.ops, name[16:], None)
    else:
        found = None if name in _FETCHES else getattr(ultralytics_modules, name, None)
    return isinstance(found, type) and issubclass(found, nn.Module)


def _no_description(source: str, found: str) -> CheckpointUnreadableError:
    return CheckpointUnreadableError(
        f"{source} does not describe a model.",
        expected="an Ultralytics architecture file",
        found=found,
        mend="correct the file, or choose another model.weights",
    )


def _untrusted(source: str, where: str, found: object, expected: str) -> UntrustedFileError:
    return UntrustedFileError(
        f"The architecture {source} holds what Ultralytics would run as code.",
        expected=f"{where}: {expected}",
        found=str(found)[:200],
        mend="correct the file; or, if you know who wrote it, add --trust (SECURITY.md)",
    )
