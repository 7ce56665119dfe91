"""ONNX files: spoiled bytes, and sound files of spoiled graphs and metadata."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from fuzz.base import BOARD, SHIPPED
from fuzz.spoil import spoil
from fuzz.trial import Kind, Trial
from fuzz.values import FORGED

_TEXTS = (
    "",
    "nan",
    "NaN",
    "[]",
    "{}",
    "-1",
    "0",
    "1e400",
    "9" * 5000,
    "null",
    "true",
    "[1, 2]",
    '{"a": 1}',
    "\x1b[31m",
    f"a\n{FORGED}",
    "[[[[",
    "{0: 'a'}",
    "{0: 'a', 1: 'a', 2: 'a'}",
    "{5: 'a', 9: 'b', 11: 'c'}",
    "['a', 'b', 'c']",
    "{0: '\x1b[31m', 1: 'b\\nFORGED', 2: 'c'}",
    "__import__('os').system('touch canary')",
    "[NaN, NaN]",
    "[1e308, 1]",
    "é" * 100,
    "((((((" * 5000,
    "[64, 64, 64]",
    "[-64, 64]",
    "[100000, 100000]",
    '{"schema": 99}',
    "64",
    "detect",
    "segment",
    "[" * 50_000,
)


def _metadata(random: Random, model: Any) -> str:
    entry = random.choice(model.metadata_props)
    way = random.random()
    if way < 0.15:
        model.metadata_props.remove(entry)
        return f"metadata {entry.key} is missing"
    if way < 0.2:
        del model.metadata_props[:]
        return "no metadata"
    if way < 0.45 and entry.value.startswith(("{", "[")):
        cut = random.randrange(len(entry.value))
        entry.value = entry.value[:cut] + random.choice(("", "NaN", "-1", "null", '"\\u001b"')) + entry.value[cut + 1 :]
        return f"metadata {entry.key} is cut at {cut}"
    entry.value = random.choice(_TEXTS)
    return f"metadata {entry.key} is {entry.value[:50]!r}"


def _shape(random: Random, model: Any) -> str:
    side = random.choice((model.graph.input, model.graph.output))[0]
    dimensions = side.type.tensor_type.shape.dim
    index, value = random.randrange(len(dimensions)), random.choice((0, -1, 1, 7, 96, 10**6, 2**40, "batch"))
    if isinstance(value, str):
        dimensions[index].dim_param = value
    else:
        dimensions[index].dim_value = value
    return f"side {index} of {side.name} is {value}"


def _element_type(random: Random, model: Any) -> str:
    side = random.choice((model.graph.input, model.graph.output))[0]
    side.type.tensor_type.elem_type = random.choice((0, 2, 3, 7, 8, 10, 11, 16, 99))
    return f"{side.name} is of type {side.type.tensor_type.elem_type}"


def _initializer(random: Random, model: Any) -> str:
    tensor = random.choice(model.graph.initializer)
    way = random.choice(("short", "shape", "type", "zeros", "random", "nan", "gone"))
    if way == "short":
        tensor.raw_data = tensor.raw_data[: len(tensor.raw_data) // 2]
    elif way == "shape":
        tensor.dims.append(random.choice((2, 0, -1, 2**40)))
    elif way == "type":
        tensor.data_type = random.choice((0, 1, 2, 3, 6, 7, 8, 99))
    elif way in ("zeros", "random"):
        length = len(tensor.raw_data)
        tensor.raw_data = bytes(length) if way == "zeros" else random.randbytes(length)
    elif way == "nan":
        tensor.raw_data = b"\x00\x00\xc0\x7f" * (len(tensor.raw_data) // 4) + bytes(len(tensor.raw_data) % 4)
    else:
        model.graph.initializer.remove(tensor)
    return f"initializer {tensor.name}: {way}"


def _node(random: Random, model: Any) -> str:
    node = random.choice(model.graph.node)
    way = random.choice(("type", "domain", "gone", "inputs", "name", "twice", "attributes"))
    if way == "type":
        node.op_type = random.choice(("Relu", "Conv", "NoSuchOperator", "", "If", "Loop", "Reshape"))
    elif way == "domain":
        node.domain = random.choice(("com.microsoft", "nobody.example", "ai.onnx.ml"))
    elif way == "gone":
        model.graph.node.remove(node)
    elif way == "inputs":
        node.input[0:1] = [random.choice(("", "nothing", node.output[0]))]
    elif way == "name":
        node.name = random.choice(("", "\x1b[31m", f"a\n{FORGED}", "x" * 10_000, "model.0:conv2d:0"))
    elif way == "twice":
        model.graph.node.append(node)
    else:
        del node.attribute[:]
    return f"node {node.name[:40]!r}: {way}"


def _outside(random: Random, model: Any) -> str:
    """Weights in a second file: not there, or any file of the machine."""
    tensor = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    name = random.choice(("weights.bin", "../../../etc/passwd", "/etc/passwd", "home/canary.txt", "", "/dev/zero"))
    for key, value in (
        ("location", name),
        ("offset", random.choice(("0", "-1", "9" * 30, "x"))),
        ("length", "1000000"),
    ):
        tensor.external_data.add(key=key, value=value)
    return f"weights in {name!r}"


def _head(random: Random, model: Any) -> str:
    way = random.choice(
        ("opset", "ir", "output's name", "input's name", "two inputs", "no output", "producer", "graph")
    )
    if way == "opset":
        model.opset_import[0].version = random.choice((0, 1, 999, -1))
    elif way == "ir":
        model.ir_version = random.choice((0, 1, 99, 2**31))
    elif way == "output's name":
        model.graph.output[0].name = random.choice(("", "nothing", "images", "\x1b[31m"))
    elif way == "input's name":
        model.graph.input[0].name = random.choice(("", "nothing", "\x1b[31m", f"a\n{FORGED}"))
    elif way == "two inputs":
        model.graph.input.append(model.graph.input[0])
    elif way == "no output":
        del model.graph.output[:]
    elif way == "producer":
        model.producer_name = f"\x1b[31m\n{FORGED}"
    else:
        model.ClearField("graph")
    return f"another {way}"


_CHANGES: tuple[Callable[[Random, Any], str], ...] = (
    _metadata,
    _metadata,
    _metadata,
    _shape,
    _element_type,
    _initializer,
    _node,
    _outside,
    _head,
)


def spoil_model(random: Random, path: Path) -> tuple[str, bool]:
    """Spoils an ONNX file; returns what was done, and whether it may still be right."""
    if random.random() < 0.25:
        what, may, _ = spoil(random, path)
        return what, may
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    what = random.choice(_CHANGES)(random, model)
    path.write_bytes(model.SerializeToString())
    return f"{path.name}: {what}", True


def _command(random: Random, path: Path) -> Trial:
    """One of the commands that read a model."""
    name = str(path)
    options: list[Trial] = [
        Trial(("predict", name, "frames"), ""),
        Trial(("predict", name, "frames", "--json"), ""),
        Trial(("baseline", "set", name, "--name", "mine"), "", ("baselines/mine",)),
        Trial(("baseline", "diff", SHIPPED, name), ""),
        Trial(("baseline", "diff", SHIPPED, name, "--json"), ""),
        Trial(("explain", "run", "--onnx", name), ""),
        Trial(("explain", "run", "--onnx", name, "--json"), ""),
        Trial(("latency", "burst", name, "--launches", "1", "--inferences", "2"), ""),
        Trial(("gate", name, "--baseline", SHIPPED, "--no-timing", "--out", "new"), "", ("new", "baselines"), ("new",)),
        Trial(
            ("gate", name, "--baseline", SHIPPED, "--no-static", "--target", BOARD, "--out", "new", "--limit-ms", "9"),
            "",
            ("new", "baselines"),
            ("new", "baselines"),
        ),
    ]
    return random.choice(options)


def _model(random: Random, place: Path, number: int) -> Trial:
    path = place / "mine.onnx"
    path.write_bytes(
        (place / "run" / random.choice(("qat.onnx", "qat.edge.onnx", "ptq.onnx", "fp32.onnx"))).read_bytes()
    )
    what, may = spoil_model(random, path)
    trial = _command(random, path.relative_to(place))
    return Trial(trial.arguments, what, trial.owns, trial.owns_if_failed, may)


KINDS = (Kind("models", 170, _model),)
