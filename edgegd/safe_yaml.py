"""YAML that somebody else wrote: read whole, within limits, without running anything of it.

PyYAML's safe loader constructs no foreign objects, but aliases of aliases let 800 bytes stand for more values than a
machine can hold. Here the values are counted as if every alias were written out, before anything is constructed; an
alias inside itself is refused. As in YAML 1.2, only `true` and `false` are booleans: `on`, `off`, `yes`, `no` are
text, and so may be names of classes (YAML 1.2.2, 10.3.2).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from edgegd.bounded_read import read_bounded
from edgegd.foreign_text import one_line
from edgegd.limits import YAML_BYTES, YAML_NODES

_TOO_MANY = f"more than {YAML_NODES} values, with its aliases written out"


class YamlProblem(Exception):
    """What is wrong with a YAML text: a sentence, and a line from 1 (0: none in particular)."""

    def __init__(self, text: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {text}" if line else text)
        self.text, self.line = text, line


class _Loader(yaml.SafeLoader):
    """The safe loader with the booleans of YAML 1.2, which stops at the node that is one too many."""

    nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.nodes += 1
        if self.nodes > YAML_NODES:
            raise YamlProblem(_TOO_MANY)
        return super().compose_node(parent, index)  # type: ignore[no-untyped-call,no-any-return]


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF"))


def compose(text: str) -> yaml.Node | None:
    """The nodes of a YAML text, with their lines; None for an empty one. Raises YamlProblem."""
    if len(text.encode(errors="replace")) > YAML_BYTES:
        raise YamlProblem(f"more than {YAML_BYTES >> 20} MiB of YAML")
    try:
        root: yaml.Node | None = yaml.compose(text, Loader=_Loader)
        if root is not None and _count(root, {}, set()) > YAML_NODES:
            raise YamlProblem(_TOO_MANY)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" at column {mark.column + 1}" if mark else ""
        problem = error.problem or error.context or "cannot be parsed"
        raise YamlProblem(f"YAML syntax error{where}: {one_line(problem)}", mark.line + 1 if mark else 0) from error
    except (yaml.YAMLError, ValueError) as error:
        raise YamlProblem(f"YAML cannot be read: {one_line(' '.join(str(error).split()))}") from error
    except RecursionError as error:
        raise YamlProblem("YAML is nested too deeply") from error
    return root


def construct(root: yaml.Node | None) -> Any:
    """The plain data of composed nodes: mappings, lists, text, numbers, true, false, null. Raises YamlProblem."""
    if root is None:
        return None
    loader = _Loader("")
    try:
        return loader.construct_document(root)  # type: ignore[no-untyped-call]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlProblem(
            f"YAML cannot be read: {one_line(error.problem or error)}", mark.line + 1 if mark else 0
        ) from error
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        # PyYAML's constructors let what an explicit tag makes of other text (`!!int x`) through as it comes.
        raise YamlProblem(f"YAML cannot be read: {one_line(' '.join(str(error).split()))}") from error
    except RecursionError as error:
        raise YamlProblem("YAML is nested too deeply") from error
    finally:
        loader.dispose()  # type: ignore[no-untyped-call]


def load_yaml(text: str) -> Any:
    """The plain data of a YAML text. Raises YamlProblem."""
    return construct(compose(text))


def read_yaml_text(path: Path) -> str:
    """A YAML file's text in UTF-8, with or without a byte order mark. Raises YamlProblem, and OSError."""
    content = read_bounded(path, YAML_BYTES)
    if content is None:
        raise YamlProblem(f"more than {YAML_BYTES >> 20} MiB of YAML")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise YamlProblem(f"no UTF-8: {error.reason} at byte {error.start}") from error


def read_yaml(path: Path) -> Any:
    """The plain data of a YAML file. Raises YamlProblem, and OSError."""
    return load_yaml(read_yaml_text(path))


def texts(node: yaml.Node) -> Any:
    """The data of nodes with every scalar as the text that stands there: names are not numbers. Raises YamlProblem."""
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if isinstance(node, yaml.SequenceNode):
        return [texts(item) for item in node.value]
    assert isinstance(node, yaml.MappingNode)
    found: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            raise YamlProblem("a key that is no text", key.start_mark.line + 1)
        if key.value in found:
            raise YamlProblem(f"the key {one_line(key.value, 80)} twice", key.start_mark.line + 1)
        found[key.value] = texts(value)
    return found


def _count(node: yaml.Node, known: dict[int, int], parents: set[int]) -> int:
    """How many values a node is with its aliases written out."""
    if id(node) in parents:
        raise YamlProblem("an alias inside itself", node.start_mark.line + 1)
    if id(node) not in known:
        count = 1
        if isinstance(node, yaml.CollectionNode):
            parents.add(id(node))
            for item in node.value:
                for value in item if isinstance(item, tuple) else (item,):
                    count += _count(value, known, parents)
            parents.remove(id(node))
        known[id(node)] = count
    return known[id(node)]
