"""The generated pages of the documentation, as Markdown on stdout; a test compares them with the files in docs/.

python -m edgegd.cli.document cli > docs/cli.md
python -m edgegd.cli.document errors > docs/errors.md
python -m edgegd.cli.document recipes > docs/recipes.md
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

import click
import yaml

from edgegd import errors
from edgegd.cli.main import edgegd
from edgegd.cli.unforeseen import REMAINING
from edgegd.recipe.build import describe_kind, field_types
from edgegd.recipe.schema import Recipe

_HELP_WIDTH = 100  # characters; the same on every terminal


def cli_page() -> str:
    """Every command with its --help."""
    lines = [
        "# Commands",
        "",
        "Written by `python -m edgegd.cli.document cli > docs/cli.md`; do not edit.",
        "",
        "Every command takes `--json`: its result, or its error, is then one JSON value on stdout, and everything",
        "else goes to stderr. Exit codes are in [errors.md](errors.md).",
        "",
    ]
    for name, text in _helps(edgegd, "edgegd", None):
        lines += [f"## {name}", "", "```", text.rstrip(), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _helps(command: click.Command, name: str, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    settings: dict[str, Any] = {
        **command.context_settings,
        "max_content_width": _HELP_WIDTH,
        "terminal_width": _HELP_WIDTH,
    }
    with click.Context(command, info_name=name.rpartition(" ")[2], parent=parent, **settings) as context:
        yield name, command.get_help(context)
        if isinstance(command, click.Group):
            for below in command.list_commands(context):
                yield from _helps(command.commands[below], f"{name} {below}", context)


def errors_page() -> str:
    """Every exit code with its error class and meaning."""
    lines = [
        "# Errors and exit codes",
        "",
        "Written by `python -m edgegd.cli.document errors > docs/errors.md`; do not edit.",
        "",
        "An error is one message on stderr that says what went wrong and, where they apply, what was expected, what",
        "was found and how to mend it. With `--json` the same stands on stdout as",
        '`{"error": CLASS, "exit_code": CODE, "what": ..., "expected": ..., "found": ..., "mend": ...}`.',
        "`edgegd --debug COMMAND` shows the traceback instead. From Python, every class is in `edgegd.errors`.",
        "",
        "| exit code | class | meaning |",
        "|---|---|---|",
        "| 0 | | The command did what it was asked for. |",
    ]
    rows = [(kind.exit_code, f"`{kind.__name__}`", " ".join((kind.__doc__ or "").split())) for kind in error_classes()]
    rows.append((2, "`UsageError`", "The command line is wrong: an unknown command or option, or an impossible value."))
    lines += [f"| {code} | {name} | {meaning} |" for code, name, meaning in sorted(rows)]
    lines += [
        "",
        "## What exit code 1 may still mean",
        "",
        "No malformed input and no lying device is known that ends with 1 (docs/fuzzing.md). These are left:",
        "",
        "| what happened | why it has no error of its own |",
        "|---|---|",
        *(f"| {what} | {why} |" for what, why in REMAINING),
    ]
    return "\n".join(lines) + "\n"


def error_classes() -> list[type[errors.EdgegdError]]:
    """Every class of edgegd.errors that is raised, in the file's order."""
    return [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.EdgegdError) and kind is not errors.EdgegdError
    ]


def recipes_page() -> str:
    """Every key of a recipe with its type, default, limits and meaning."""
    lines = [
        "# Recipes",
        "",
        "Written by `python -m edgegd.cli.document recipes > docs/recipes.md`; do not edit.",
        "",
        "A recipe is a YAML file. A key that is left out takes its default; `--set section.key=value` overrides",
        "one on the command line. `edgegd recipe validate FILE` shows every mistake of a file at once.",
        "",
        "| key | type | default | limits | meaning |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *_rows(Recipe, "")]) + "\n"


def _rows(section: type, prefix: str) -> Iterator[str]:
    kinds = field_types(section)
    for field in dataclasses.fields(section):
        kind, name = kinds[field.name], f"{prefix}{field.name}"
        if dataclasses.is_dataclass(kind):
            yield from _rows(typing.cast(type, kind), f"{name}.")
            continue
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        limits, meaning = _limits(field.metadata), field.metadata["help"]
        types = describe_kind(kind, field.metadata["choices"]).removeprefix("a ")
        yield f"| `{name}` | {types} | `{_shown(default)}` | {limits} | {meaning} |"


def _shown(default: Any) -> str:
    """A default as YAML writes it."""
    return yaml.safe_dump(default).removesuffix("...\n").strip()


def _limits(metadata: Any) -> str:
    shown = [f"`{choice}`" for choice in metadata["choices"]]
    low, high = metadata["minimum"], metadata["maximum"]
    if low is not None:
        shown.append(f"{low} or more" if high is None else f"{low} to {high}")
    return ", ".join(shown)


_PAGES = {"cli": cli_page, "errors": errors_page, "recipes": recipes_page}


@click.command()
@click.argument("page", type=click.Choice(list(_PAGES)), default="cli")
def document(page: str) -> None:
    """Print a page of the documentation."""
    click.echo(_PAGES[page](), nl=False)


if __name__ == "__main__":
    document()
