"""Keys of a recipe file set to other values; comments, order and everything else of its text stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from edgegd.atomic_files import write_atomically
from edgegd.errors import OutputFileError, RecipeError
from edgegd.recipe.load import parse_recipe
from edgegd.recipe.schema import Recipe
from edgegd.safe_outputs import require_appendable
from edgegd.safe_yaml import YamlProblem, compose, read_yaml_text

_INDENT = "  "


def require_editable(path: Path) -> None:
    """Raises what `set_numbers` would raise for a file that is no recipe, or may not be written; nothing is changed."""
    require_appendable(path)
    _read(path)


def set_numbers(path: Path, numbers: Mapping[str, float]) -> None:
    """Sets dotted keys of a recipe file (`train.lr0`) to numbers, in their places or at the end of their section.

    Atomic. Raises RecipeError where the file is no recipe, or the text cannot be changed in these places alone (a value
    that an alias shares, for example), OutputFileError for a link or no file, FileAccessError; the file is then as it
    was.
    """
    require_appendable(path)
    text, before = _read(path)
    changed = text
    for key, number in numbers.items():
        changed = _with_number(changed, key, number, path)
    expected = dataclasses.asdict(before)
    for key, number in numbers.items():
        place: Any = expected
        *sections, leaf = key.split(".")
        for section in sections:
            place = place[section]
        place[leaf] = float(shown(number))
    if dataclasses.asdict(parse_recipe(changed, origin=str(path))) != expected:
        raise _refused(path, "the changed text would mean something else")
    write_atomically(path, changed.encode())


def shown(number: float) -> str:
    """A number with two digits, without an exponent where that is short: 0.00005, 1.2e-08."""
    text = f"{number:.1e}"
    if not 1e-6 <= abs(number) < 1e6:
        return text
    places = max(0, 1 - int(text.partition("e")[2]))
    written = f"{float(text):.{places}f}"
    return written.rstrip("0").rstrip(".") if places else written


def _read(path: Path) -> tuple[str, Recipe]:
    if not path.is_file():
        raise OutputFileError(f"{path} is no recipe file.", expected="a file", found="none", mend="name your recipe")
    try:
        text = read_yaml_text(path)
    except (OSError, YamlProblem) as error:
        raise RecipeError(f"{path} cannot be read", expected="a YAML text file in UTF-8", found=str(error)) from error
    return text, parse_recipe(text, origin=str(path))


def _with_number(text: str, key: str, number: float, path: Path) -> str:
    *sections, leaf = key.split(".")
    node: yaml.Node | None
    try:
        node = compose(text)
    except YamlProblem as problem:  # another value was an alias of the one that was changed
        raise _refused(path, str(problem)) from problem
    for depth, section in enumerate(sections):
        below = _value(node, section)
        if below is None:
            rest = [*sections[depth + 1 :], leaf]
            lines = [f"{_INDENT * level}{name}:" for level, name in enumerate([section, *rest])]
            return _added(text, node, [*lines[:-1], f"{lines[-1]} {shown(number)}"], path)
        node = below
    old = _value(node, leaf)
    if old is None:
        return _added(text, node, [f"{leaf}: {shown(number)}"], path)
    start, end = old.start_mark.index, old.end_mark.index
    if not isinstance(old, yaml.ScalarNode) or start == end:
        raise _refused(path, f"{key} has no value in its place")
    return text[:start] + shown(number) + text[end:]


def _value(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _added(text: str, node: yaml.Node | None, lines: list[str], path: Path) -> str:
    """The text with lines behind the last entry of a mapping; in a flow mapping, one line before its end."""
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise _refused(path, "there is no section to add a key to")
    if node.flow_style:
        if len(lines) > 1:
            raise _refused(path, "a section cannot be added to {...}")
        place = node.value[-1][1].end_mark.index
        return f"{text[:place]}, {lines[0]}{text[place:]}"
    first = node.value[0][0].start_mark
    # The end of the line on which the last value ends: a comment behind it stays behind it.
    last = _last_line(node)
    rows = text.splitlines(keepends=True)
    if not rows[last].endswith("\n"):
        rows[last] += "\n"
    end = "\r\n" if rows[last].endswith("\r\n") else "\n"
    rows.insert(last + 1, "".join(f"{' ' * first.column}{line}{end}" for line in lines))
    return "".join(rows)


def _last_line(node: yaml.Node) -> int:
    """The number, from 0, of the line on which a node's own text ends: end marks of blocks are behind what follows."""
    if isinstance(node, yaml.MappingNode) and node.value and not node.flow_style:
        return _last_line(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and node.value and not node.flow_style:
        return _last_line(node.value[-1])
    mark = node.end_mark
    return int(mark.line if mark.column or mark.line == node.start_mark.line else mark.line - 1)


def _refused(path: Path, why: str) -> RecipeError:
    return RecipeError(
        f"{path} cannot be changed: {why}.",
        mend="write the suggested rates into it by hand; the file is as it was",
    )
