"""A YAML file as plain data plus the line of every key, so that a mistake can be shown where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from edgegd.safe_yaml import YamlProblem, compose, construct


@dataclass(frozen=True)
class Document:
    """A parsed mapping, the 1-based line of each dotted key, and what is wrong with the text itself."""

    data: dict[str, Any]
    lines: dict[str, int]
    mistakes: tuple[tuple[int, str], ...]


def parse_document(text: str) -> Document:
    """Parse YAML text whose top level is a mapping.

    Duplicate keys (which YAML loaders silently let the last one win) and syntax errors become entries of `mistakes`,
    each a line number (0: unknown) and a sentence; nothing is raised.
    """
    try:
        root = compose(text)
        data = construct(root)
    except YamlProblem as problem:
        return Document({}, {}, ((problem.line, problem.text),))
    if root is None:
        return Document({}, {}, ())
    if not isinstance(root, yaml.MappingNode):
        found = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
        text = f"expected sections (`model:`, `data:`, ...), found {found}"
        return Document({}, {}, ((root.start_mark.line + 1, text),))
    lines: dict[str, int] = {}
    mistakes: list[tuple[int, str]] = []
    _walk(root, "", lines, mistakes, set())
    return Document(data, lines, tuple(mistakes))


def _walk(
    node: yaml.MappingNode, prefix: str, lines: dict[str, int], mistakes: list[tuple[int, str]], parents: set[int]
) -> None:
    if id(node) in parents:  # an alias may contain itself
        return
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        dotted, line = f"{prefix}{key.value}", key.start_mark.line + 1
        if dotted in lines:
            mistakes.append((line, f"{dotted}: duplicate key; first given in line {lines[dotted]}"))
        else:
            lines[dotted] = line
        if isinstance(value, yaml.MappingNode):
            _walk(value, f"{dotted}.", lines, mistakes, parents | {id(node)})
