"""Command lines in pages and workflows: found, and compared with what edgegd and the Makefile have; none is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]


def commands_of(text: str) -> Iterator[list[str]]:
    """The arguments of every line of a page, script or workflow that calls `edgegd`, without its comment."""
    for line in text.splitlines():
        if match := re.match(r"(?:    | *(?:- )?run: +)edgegd (.*)", line):
            yield shlex.split(match[1], comments=True)


def refuse_unknown_options(arguments: list[str]) -> None:
    """Raises click.UsageError for a command or an option that does not exist; runs nothing."""
    from edgegd.cli.main import edgegd

    command: click.Command = edgegd
    # With its settings: click keeps the first help option that it makes for a command, for the pages of others too.
    context = click.Context(edgegd, info_name="edgegd", **edgegd.context_settings)
    rest = [argument for argument in arguments if argument not in ("--version", "--debug")]
    while isinstance(command, click.Group) and rest:
        if rest[0] not in command.commands and command is not edgegd:
            break  # the group's default command
        _, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command, context = found, click.Context(found, parent=context, info_name=found.name)
    if not isinstance(command, click.Group):
        command.make_parser(context).parse_args(rest)


def refuse_unknown_make_targets(targets: Iterable[str]) -> None:
    """Raises AssertionError for a target that the Makefile does not have."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in targets:
        assert re.search(rf"^[a-z0-9 -]*(?<![a-z0-9-]){target}(?![a-z0-9-])[a-z0-9 -]*:", makefile, re.M), target
