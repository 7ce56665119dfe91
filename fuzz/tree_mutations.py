"""What happens to YAML and JSON: leaves of another type, keys gone, keys twice, bombs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import yaml

from fuzz.values import JSON_VALUES, YAML_VALUES, OddValue, odd

MARK = "@@ODD@@"
Steps = tuple[Any, ...]
"""A place in a tree: keys and indices."""


@dataclass(frozen=True)
class Change:
    """The text of a changed tree; where a leaf was replaced, `steps` and `value` say which by what."""

    text: str
    what: str
    steps: Steps = ()
    value: OddValue | None = None


def places(tree: Any, steps: Steps = ()) -> Iterator[Steps]:
    """Every place of a tree but its root; of long lists the first two items and the last."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield (*steps, key)
            yield from places(value, (*steps, key))
    elif isinstance(tree, list):
        for index in sorted({*range(min(2, len(tree))), len(tree) - 1} - {-1}):
            yield (*steps, index)
            yield from places(tree[index], (*steps, index))


def at(tree: Any, steps: Steps) -> Any:
    """What stands at a place."""
    for step in steps:
        tree = tree[step]
    return tree


def change_yaml(random: Random, text: str) -> Change:
    """One change of a YAML text."""
    return _change(
        random, yaml.safe_load(text), YAML_VALUES, lambda tree: yaml.safe_dump(tree, sort_keys=False), _YAML_BOMBS
    )


def change_json(random: Random, text: str, within: Steps = ()) -> Change:
    """One change of a JSON text, below the place `within`."""
    return _change(random, json.loads(text), JSON_VALUES, json.dumps, _JSON_BOMBS, within)


def _change(
    random: Random,
    tree: Any,
    values: tuple[OddValue, ...],
    dump: Callable[[Any], str],
    bombs: dict[str, Callable[[], str]],
    within: Steps = (),
) -> Change:
    found = [steps for steps in places(tree) if steps[: len(within)] == within] or [()]
    steps, way = random.choice(found), random.random()
    if way < 0.7 and steps:
        value = odd(random, values)
        at(tree, steps[:-1])[steps[-1]] = MARK
        text = dump(tree).replace(f"'{MARK}'", MARK).replace(f'"{MARK}"', MARK).replace(MARK, value.raw)
        return Change(text, f"{_name(steps)} is {value.raw[:60]}", steps, value)
    if way < 0.8 and steps:
        del at(tree, steps[:-1])[steps[-1]]
        return Change(dump(tree), f"{_name(steps)} is missing")
    if way < 0.88 and steps:
        holder = at(tree, steps[:-1])
        if isinstance(holder, dict):
            holder[random.choice(("unknown", "Imgsz", "", "\x1b[31m", "__class__", "epochs "))] = 1
            return Change(dump(tree), f"an unknown key beside {_name(steps)}")
        return Change(dump(holder), f"only {_name(steps[:-1])}")
    if way < 0.93 and steps and isinstance(steps[0], str):
        once = dump({steps[0]: tree[steps[0]]})
        if dump is json.dumps:
            return Change(dump(tree)[:-1] + ", " + once[1:], f"{steps[0]} twice")
        return Change(dump(tree) + once, f"{steps[0]} twice")
    name = random.choice(list(bombs))
    return Change(bombs[name](), name)


def _name(steps: Steps) -> str:
    return ".".join(map(str, steps)) or "the root"


def _aliases(depth: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, depth)]
    return "\n".join(lines) + "\n"


_YAML_BOMBS: dict[str, Callable[[], str]] = {
    "a bomb of aliases": lambda: _aliases(9),
    "a bomb of merged mappings": lambda: "".join(
        f"m{n}: &m{n} {{{'' if not n else f'<<: [*m{n - 1}, *m{n - 1}], '}k{n}: {n}}}\n" for n in range(40)
    ),
    "deep nesting": lambda: "[" * 20000,
    "deep nesting that is closed": lambda: "version: " + "[" * 3000 + "]" * 3000,
    "deep mappings": lambda: "".join(" " * n + f"k{n}:\n" for n in range(2000)),
    "a list": lambda: "- 1\n- 2\n",
    "a text": lambda: "hello\n",
    "a number": lambda: "1\n",
    "two documents": lambda: "version: 1\n---\nversion: 1\n",
    "tabs": lambda: "version:\t1\nmodel:\n\timgsz: 64\n",
    "a key that is a list": lambda: "? [a, b]\n: 1\n",
    "a million keys": lambda: "".join(f"k{n}: 1\n" for n in range(100_000)),
    "an unclosed text": lambda: 'version: "1\n',
    "a tag of Python": lambda: "!!python/object/apply:os.system ['touch canary']\n",
}
_JSON_BOMBS: dict[str, Callable[[], str]] = {
    "deep nesting": lambda: "[" * 100_000,
    "deep nesting that is closed": lambda: "[" * 50_000 + "]" * 50_000,
    "deep mappings": lambda: '{"a": ' * 50_000 + "1" + "}" * 50_000,
    "a list": lambda: "[1, 2]",
    "an empty list": lambda: "[]",
    "an empty mapping": lambda: "{}",
    "a text": lambda: '"hello"',
    "a number": lambda: "1",
    "null": lambda: "null",
    "two values": lambda: "{}\n{}",
    "a number of many digits": lambda: "9" * 100_000,
    "a comma too many": lambda: '{"schema": 1,}',
}
BOMBS = frozenset(_YAML_BOMBS) | frozenset(_JSON_BOMBS)
