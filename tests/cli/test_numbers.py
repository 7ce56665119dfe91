"""NaN and infinity in options. Oracle: every option of every command that takes a number, found in the commands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import pytest

from edgegd.cli.main import edgegd
from edgegd.cli.numbers import FiniteFloat


def number_options(command: click.Command = edgegd, name: str = "") -> Iterator[tuple[str, click.Parameter]]:
    """COMMAND OPTION, and the option, for all that take a number."""
    for param in command.params:
        if isinstance(param.type, (click.types.FloatParamType, click.types.IntParamType)):
            yield f"{name} {param.opts[0]}".strip(), param
    for below, inside in getattr(command, "commands", {}).items():
        yield from number_options(inside, f"{name} {below}".strip())


OPTIONS = dict(number_options())


def test_the_options_of_the_issue_are_among_them() -> None:
    assert {"gate --margin", "predict --conf", "gate --limit-ms", "latency sustained --limit"} <= set(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-inf", "Infinity", "1e999", "-nan"])
def test_what_is_no_finite_number_is_refused(name: str, text: str) -> None:
    with pytest.raises(click.BadParameter):
        OPTIONS[name].type.convert(text, OPTIONS[name], None)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_number_has_limits(name: str) -> None:
    kind: Any = OPTIONS[name].type
    assert isinstance(kind, (FiniteFloat, click.IntRange)), "an option without limits"
    assert kind.min is not None
    if isinstance(kind, click.IntRange):
        assert kind.max is not None


@pytest.mark.parametrize(
    "arguments",
    [
        ("gate", "a.onnx", "--baseline", "b.onnx", "--margin", "nan"),
        ("predict", "a.onnx", "b.jpg", "--conf", "nan"),
        ("latency", "burst", "a.onnx", "--threads", "1000000"),
    ],
    ids=" ".join,
)
def test_commands_end_with_a_usage_error(edgegd_command: Any, arguments: tuple[str, ...]) -> None:
    ended = edgegd_command(*arguments)
    assert ended.code == 2 and arguments[-2] in ended.err and not ended.out


@pytest.mark.parametrize(
    "values", [{"margin": float("nan")}, {"limit_ms": float("inf")}, {"margin": True}, {"quads": 0}], ids=str
)
def test_the_plugin_takes_no_other_numbers(values: dict[str, Any]) -> None:
    from edgegd.pytest_plugin import _checked

    with pytest.raises(ValueError, match=rf"gate\.{next(iter(values))}"):
        _checked(values)
    assert _checked({"margin": 0.05, "baseline": "b"}) == {"margin": 0.05, "baseline": "b"}
