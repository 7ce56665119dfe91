"""Every option and argument of every command, as click itself lists them: a new command is covered when it is added."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import click

from fuzz.base import BOARD, SHIPPED
from fuzz.trial import Kind, Trial
from fuzz.values import NOT_FINITE, OPTION_NUMBERS, OPTION_TEXTS

_BY_NAME = {
    "run_dir": "run",
    "model": "run/qat.onnx",
    "candidate": "run",
    "images": "frames",
    "recipe": "tiny.yaml",
    "destination": "new",
    "directory": "new",
    "data": "set",
    "path": "gates/one",
    "file": "gates/one/board.jsonl",
    "name": SHIPPED,
    "url": "ssh://pi@127.0.0.1:1",
}
"""A sound value of an argument, or of a required option, by its name."""
_BY_COMMAND = {
    ("recipe", "cp"): {"name": "streets/yolo26n"},
    ("recipe", "validate"): {"name": "tiny.yaml"},
    ("target", "check"): {"name": BOARD},
    ("target", "rm"): {"name": BOARD},
    ("latency", "calibrate"): {"model": "run"},
    ("emulate",): {"model": "run"},
    ("search",): {"run_dir": "none"},  # it would measure for a minute
}
_CHEAP: dict[tuple[str, ...], dict[str, str]] = {
    ("run",): {"--until": "data", "--run-dir": "new"},
    ("data", "make"): {"--train": "1", "--val": "1"},
    ("gate",): {"--baseline": SHIPPED, "--target": BOARD, "--out": "new", "--no-static": ""},
    ("latency", "burst"): {"--target": BOARD, "--launches": "1", "--inferences": "2"},
    ("latency", "sustained"): {"--target": BOARD, "--limit": "1"},
    ("latency", "calibrate"): {"--target": BOARD, "--launches": "10"},
    ("latency", "plot"): {"--output": "new.png"},
    ("qat",): {},
    ("prove",): {"--target": BOARD},
    ("emulate",): {"--images": "1", "--cpu": "haswell"},
}
"""What keeps a command within seconds."""
_LONG = {("search", "run"): "none", ("latency", "sustained", "1e3"): "nan"}
"""Command and value that ask for more than half a minute of work -> the value to take instead."""
_NO_NUMBERS = ("", " ", "0x10", "1,5", "true", "null", "\x1b[31m1", *NOT_FINITE)


@dataclass(frozen=True)
class Place:
    """One parameter of one command."""

    command: tuple[str, ...]
    parameter: click.Parameter

    @property
    def is_number(self) -> bool:
        """Whether only a number can stand here."""
        return isinstance(self.parameter.type, (click.types.IntParamType, click.types.FloatParamType))


def commands(group: Any = None, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that is no group, with its words."""
    if group is None:
        from edgegd.cli.main import edgegd as group
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*above, name))
        else:
            yield (*above, name), command


def parameters() -> list[Place]:
    """Every parameter of every command that takes a value: those of numbers first, the others after them."""
    found = [
        Place(words, one)
        for words, command in commands()
        for one in command.params
        if not getattr(one, "is_flag", False)
    ]
    return [one for one in found if one.is_number] * 3 + found


def sound(words: tuple[str, ...], command: click.Command, without: str = "") -> list[str]:
    """A sound command line; the parameter `without` is left out."""
    arguments, options = [], dict(_CHEAP.get(words, {}))
    for one in command.params:
        value = _BY_COMMAND.get(words, {}).get(str(one.name), _BY_NAME.get(str(one.name), "run"))
        if isinstance(one.type, click.Choice):
            value = str(one.type.choices[0])
        if isinstance(one, click.Argument):
            arguments += [] if one.name == without else [value]
        elif one.required:
            options[one.opts[0]] = value
    if without:
        options = {name: value for name, value in options.items() if name.lstrip("-").replace("-", "_") != without}
    return [*words, *arguments, *(part for pair in options.items() for part in pair if part)]


def _parameter(random: Random, place: Path, number: int) -> Trial:
    every = parameters()
    one = every[number % len(every)]
    command = dict(commands())[one.command]
    value = random.choice(OPTION_NUMBERS if one.is_number else OPTION_TEXTS)
    name = str(one.parameter.name)
    value = _LONG.get((*one.command, value), value)
    arguments = sound(one.command, command, without=name)
    if isinstance(one.parameter, click.Argument):
        at = len(one.command) + [p.name for p in command.params if isinstance(p, click.Argument)].index(name)
        arguments.insert(at, value)
    else:
        arguments += [max(one.parameter.opts, key=len), value]
    may = not (one.is_number and value in _NO_NUMBERS)
    return _trial(one.command, tuple(arguments), f"{name} is {value[:40]!r}", may)


def _shape(random: Random, place: Path, number: int) -> Trial:
    """Command lines of another shape: words missing, twice, unknown."""
    every = list(commands())
    words, command = every[number % len(every)]
    arguments, way = sound(words, command), random.choice(("short", "unknown", "more", "twice", "none", "first"))
    if way == "short":
        arguments = arguments[:-1]
    elif way == "unknown":
        arguments.append(random.choice(("--nonsense", "-q", "--jsonn", "--\x1b[31m", "--json=1", "--help=x")))
    elif way == "more":
        arguments.append("one-more")
    elif way == "twice":
        arguments += arguments[len(words) :]
    elif way == "none":
        arguments = list(words[:-1])
    else:
        arguments = ["--debugg", *arguments]
    return _trial(words, tuple(arguments), f"the command line is {way}", True)


def _trial(words: tuple[str, ...], arguments: tuple[str, ...], what: str, may: bool) -> Trial:
    own: dict[str, tuple[str, ...]] = {
        "target": ("home/.config/edgegd",),
        "gate": ("new", "run/gates", "baselines"),
        "latency": ("new.png", "run", "home/.local/share/edgegd"),
        "baseline": ("baselines",),
    }
    owns = own.get(words[0], ("new", "run"))
    failed = () if words[0] in ("baseline", "target", "recipe", "predict") else owns
    return Trial(arguments, f"{' '.join(words)}: {what}", owns, failed, may, patience_s=20, may_make=True)


KINDS = (Kind("options", 200, _parameter), Kind("command lines", 50, _shape))
