"""Float checkpoints: spoiled files, and sound files of spoiled objects."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from fuzz.spoil import spoil
from fuzz.trial import Kind, Trial
from fuzz.values import FORGED

_NEW = "new"
_NAMES: tuple[Any, ...] = (
    ["pedestrian", "car", "sign"],
    {0: 1, 1: 2, 2: 3},
    {"0": "a", "1": "b", "2": "c"},
    {0: "a", 5: "b", 9: "c"},
    {},
    [],
    None,
    3,
    {0: "a"},
    {0: "a", 1: "a", 2: "a"},
    {0: "\x1b[31m", 1: f"b\n{FORGED}", 2: "c"},
    {0: "x" * 100_000, 1: "b", 2: ""},
    {0: None, 1: ["x"], 2: b"c"},
    {-1: "a", 0: "b", 1: "c"},
    {True: "a", 2.5: "b"},
    {0: "\ud800", 1: "b", 2: "c"},
    {n: str(n) for n in range(100_000)},
)
_STRIDES: tuple[Any, ...] = (None, [], [0.0], [-8.0, 16.0], ["x"], [float("nan")], [1e30])


def _set_model(change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], Any]:
    def changed(checkpoint: dict[str, Any]) -> Any:
        for key in ("model", "ema"):
            if checkpoint.get(key) is not None:
                change(checkpoint[key])
        return checkpoint

    return changed


def _weights(fill: float) -> Callable[[Any], Any]:
    def change(model: Any) -> Any:
        next(iter(model.parameters())).data.fill_(fill)

    return change


def _shorter(model: Any) -> Any:
    first = model.model[0].conv
    first.weight.data = first.weight.data[:, :1]


def _yaml(key: str, value: Any) -> Callable[[Any], Any]:
    def change(model: Any) -> Any:
        model.yaml[key] = value

    return change


def _objects(random: Random) -> dict[str, Callable[[dict[str, Any]], Any]]:
    """name -> from the loaded checkpoint to what is stored instead."""
    names, stride = random.choice(_NAMES), random.choice(_STRIDES)
    odd: Any = random.choice((None, -1, 0, 10**30, float("nan"), "x", [], {}, True, "\x1b[31m"))
    return {
        f"names are {str(names)[:60]!r}": _set_model(lambda model: setattr(model, "names", names)),
        f"strides are {stride}": _set_model(lambda model: setattr(model, "stride", stride)),
        f"nc is {odd!r}": _set_model(lambda model: setattr(model, "nc", odd)),
        f"nc of the head is {odd!r}": _set_model(lambda model: setattr(model.model[-1], "nc", odd)),
        f"task is {odd!r}": _set_model(lambda model: setattr(model, "task", odd)),
        f"args are {odd!r}": _set_model(lambda model: setattr(model, "args", odd)),
        f"train_args are {odd!r}": lambda checkpoint: {**checkpoint, "train_args": odd},
        f"channels of the description are {odd!r}": _set_model(_yaml("ch", odd)),
        f"layers of the description are {odd!r}": _set_model(_yaml("head", odd)),
        f"the description is {odd!r}": _set_model(lambda model: setattr(model, "yaml", odd)),
        "a weight is NaN": _set_model(_weights(float("nan"))),
        "a weight is infinite": _set_model(_weights(float("inf"))),
        "a layer's weights are 0": _set_model(_weights(0.0)),
        "a weight has another shape": _set_model(_shorter),
        "a layer is missing": _set_model(lambda model: model.model.__delitem__(5)),
        "there is no head": _set_model(lambda model: model.model.__delitem__(-1)),
        "weights alone": lambda checkpoint: (checkpoint["model"] or checkpoint["ema"]).state_dict(),
        "no model": lambda checkpoint: {**checkpoint, "model": None, "ema": None},
        f"the model is {odd!r}": lambda checkpoint: {**checkpoint, "model": odd, "ema": None},
        "another model of torch": lambda checkpoint: {"model": checkpoint["model"].model[0]},
        "a list": lambda checkpoint: [1, 2, 3],
        f"only {odd!r}": lambda checkpoint: odd,
        f"the version is {odd!r}": lambda checkpoint: {**checkpoint, "version": odd},
        f"the epoch is {odd!r}": lambda checkpoint: {**checkpoint, "epoch": odd, "best_fitness": odd},
    }


class _Runs:
    """An object whose unpickling makes a file."""

    def __reduce__(self) -> Any:
        return (open, ("canary", "w"))


def _archive(content: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, body in content.items():
            archive.writestr(name, body)
    return stream.getvalue()


def _zeros() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("x/version", b"3")
        with archive.open("x/data/0", "w", force_zip64=True) as member:
            for _ in range(300):
                member.write(bytes(10_000_000))
    return stream.getvalue()


_FILES: dict[str, Callable[[], bytes]] = {
    "a pickle that makes a file": lambda: pickle.dumps({"model": _Runs()}),
    "a zip whose pickle makes a file": lambda: _archive(
        {"x/data.pkl": pickle.dumps({"model": _Runs()}), "x/version": b"3"}
    ),
    "a zip without a pickle": lambda: _archive({"x/readme": b"hello"}),
    "a zip of an empty pickle": lambda: _archive({"x/data.pkl": b"", "x/version": b"3"}),
    "a zip of a wrong version": lambda: _archive({"x/data.pkl": pickle.dumps({}), "x/version": b"99999999"}),
    "a pickle": lambda: pickle.dumps({"model": 1}),
    "an ONNX file": lambda: Path("run/qat.onnx").read_bytes(),
    "a safetensors file": lambda: Path("run/qat.safetensors").read_bytes(),
    "a zip of 3 GB of zeros": _zeros,
}


def _checkpoint(random: Random, place: Path, number: int) -> Trial:
    path, way, may = place / "tiny.pt", random.random(), True
    if way < 0.3:
        what, may, _ = spoil(random, path)
    elif way < 0.45:
        what = random.choice(list(_FILES))
        path.write_bytes(_FILES[what]())
        may = False
    else:
        what = _store_object(random, path)
    command = random.random()
    if command < 0.15:
        arguments: tuple[str, ...] = ("recipe", "validate", "tiny.yaml")
        return Trial(arguments, what)
    until = "data" if command < 0.35 else "float" if command < 0.7 else "ptq"
    return Trial(
        ("run", "tiny.yaml", "--run-dir", _NEW, "--until", until), what, (_NEW,), (_NEW,), may or until == "data"
    )


def _store_object(random: Random, path: Path) -> str:
    import torch

    changes = _objects(random)
    what = random.choice(list(changes))
    checkpoint = torch.load(path, weights_only=False)
    torch.save(changes[what](checkpoint), path)
    return what


KINDS = (Kind("checkpoints", 100, _checkpoint),)
