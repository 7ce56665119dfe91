"""Plain data to the frozen dataclasses of schema.py; every mistake is collected, none raised.

Rules: (1) an unknown key is a mistake, the nearest known one is named; (2) whole numbers are accepted for numbers, and
so is text such as "1e-4", which YAML 1.1 does not take for a number; (3) true/false is never a number, and where it is
expected, yes, no, on and off will do, which are text everywhere else; (4) an empty section (`train:` with nothing under
it) takes all its defaults; (5) a list or a mapping holds values of one type; (6) a field with a canonical form takes
whatever that form can be made of; (7) a pair (`tuple[int, int]`) is written as a list of two; (8) choices are those of
text: a number beside them has its limits.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_TRUTH = {"yes": True, "on": True, "no": False, "off": False}
KIND = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}

PAIR = "a list of two whole numbers"


@dataclass(frozen=True)
class Mistake:
    """One thing wrong: the dotted key it is about, and a sentence."""

    key: str
    text: str


def field_types(section: type) -> dict[str, Any]:
    """The resolved type of each field of a schema dataclass."""
    return typing.get_type_hints(section)


def dotted_keys(section: type, prefix: str = "") -> Iterator[str]:
    """The dotted name of every field under a schema dataclass, sections themselves included."""
    for name, kind in field_types(section).items():
        yield f"{prefix}{name}"
        if dataclasses.is_dataclass(kind):
            yield from dotted_keys(typing.cast(type, kind), f"{prefix}{name}.")


def build(section: type, data: Any, root: type, prefix: str = "") -> tuple[dict[str, Any], list[Mistake]]:
    """Arguments for `section`'s constructor (nested sections built) from a mapping, and the mistakes found.

    `root` is the whole schema, in which a misplaced key is looked for. Fields with a mistake keep their default.
    """
    if data is None:
        return {}, []
    if not isinstance(data, Mapping):
        return {}, [Mistake(prefix.rstrip("."), f"expected a section (indented keys), found {describe(data)}")]
    kinds, metadata = field_types(section), {field.name: field.metadata for field in dataclasses.fields(section)}
    values: dict[str, Any] = {}
    mistakes: list[Mistake] = []
    for key, value in data.items():
        dotted = f"{prefix}{key}"
        if key not in kinds:
            mistakes.append(Mistake(dotted, f"unknown key{nearest_key(str(key), prefix, root)}"))
        elif dataclasses.is_dataclass(kinds[key]):
            kind = typing.cast(type, kinds[key])
            nested, below = build(kind, value, root, f"{dotted}.")
            values[key] = kind(**nested)
            mistakes += below
        else:
            converted, problem = convert(value, kinds[key], metadata[key])
            if problem:
                mistakes.append(Mistake(dotted, problem))
            else:
                values[key] = converted
    return values, mistakes


def convert(value: Any, kind: Any, limits: Mapping[str, Any]) -> tuple[Any, str]:
    """A value as a field's type and within its limits, or a sentence that says what is wrong ("" if nothing)."""
    canonical = limits.get("canonical")
    if canonical:
        try:
            return canonical(value), ""
        except ValueError as error:
            return None, str(error)
    if typing.get_origin(kind) in (list, dict):
        return _convert_many(value, kind, limits)
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    pair = next((option for option in options if typing.get_origin(option) is tuple), None)
    if pair and isinstance(value, (list, tuple)):
        return _convert_pair(value, pair, kind, limits)
    if isinstance(value, str) and float in options and str not in options and NUMBER.fullmatch(value):
        value = float(value)
    if options == (bool,) and isinstance(value, str) and value.lower() in _TRUTH:
        value = _TRUTH[value.lower()]
    if float in options and isinstance(value, int) and not isinstance(value, bool):
        # OverflowError is impossible here: YAML integers beyond float range are refused as not finite.
        value = float(value) if abs(value) < 1e308 else math.inf
    choices, minimum, maximum = limits.get("choices", ()), limits.get("minimum"), limits.get("maximum")
    if type(value) not in options:
        return None, f"expected {describe_kind(kind, choices)}, found {describe(value)}"
    if isinstance(value, float) and not math.isfinite(value):
        return None, f"expected a finite number, found {value}"
    if isinstance(value, str) and choices and value not in choices:
        lowered = {choice.lower(): choice for choice in choices}
        close = difflib.get_close_matches(str(value).lower(), lowered, n=1)
        hint = f"; did you mean {lowered[close[0]]}?" if close else ""
        known = f"one of {', '.join(choices)}" if str in options[:1] else describe_kind(kind, choices)
        return None, f"expected {known}, found {value!r}{hint}"
    is_number = isinstance(value, (int, float))
    if is_number and minimum is not None and value < minimum:
        return None, f"expected at least {minimum}, found {value}"
    if is_number and maximum is not None and value > maximum:
        return None, f"expected at most {maximum}, found {value}"
    return value, ""


def _convert_many(value: Any, kind: Any, limits: Mapping[str, Any]) -> tuple[Any, str]:
    """A list, or a mapping from text, each of whose values is within the limits; the first one that is not is named."""
    container, item_kind = typing.get_origin(kind), typing.get_args(kind)[-1]
    if not isinstance(value, container):
        return None, f"expected {describe_kind(kind)}, found {describe(value)}"
    items: list[tuple[Any, Any]] = list(value.items() if container is dict else enumerate(value, 1))
    converted = []
    for name, item in items:
        if container is dict and not isinstance(name, str):
            return None, f"expected text as every name, found {describe(name)}"
        new, problem = convert(item, item_kind, limits)
        if problem:
            return None, f"{name}: {problem}" if container is dict else f"value {name}: {problem}"
        converted.append(new)
    return (dict(zip((name for name, _ in items), converted, strict=True)) if container is dict else converted), ""


def _convert_pair(value: Any, pair: Any, kind: Any, limits: Mapping[str, Any]) -> tuple[Any, str]:
    """A list of two as a tuple, each value within the limits; `kind` is the field's whole type."""
    kinds = typing.get_args(pair)
    if len(value) != len(kinds):
        return None, f"expected {describe_kind(kind)}, found a list of {len(value)}"
    converted = []
    for number, (item, item_kind) in enumerate(zip(value, kinds, strict=True), 1):
        new, problem = convert(item, item_kind, limits)
        if problem:
            return None, f"value {number}: {problem}"
        converted.append(new)
    return tuple(converted), ""


def describe_kind(kind: Any, choices: Sequence[str] = ()) -> str:
    """A field's type in words; where it is a number or text, the text that it may be."""
    if typing.get_origin(kind) in (list, dict):
        many = "a list of" if typing.get_origin(kind) is list else "a mapping from text to"
        return f"{many} {KIND[typing.get_args(kind)[-1]].removeprefix('a ')}"
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    words = KIND | {str: ", ".join(choices)} if choices and len(options) > 1 else KIND
    return " or ".join(PAIR if typing.get_origin(option) is tuple else words[option] for option in options)


def describe(value: Any) -> str:
    """A found value in words for a message, shortened where it is long."""
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    return f"{KIND.get(type(value), type(value).__name__)} ({shown})"


def nearest_key(key: str, prefix: str, root: type) -> str:
    """ "; did you mean ...?" with the dotted key that was probably meant, or "".

    A key that exists under the same name in another section is the best guess, then a similar one in this section,
    then a similar one anywhere.
    """
    known = list(dotted_keys(root))
    leaf = {dotted: dotted.rsplit(".", 1)[-1] for dotted in known}
    here = [dotted for dotted in known if dotted == f"{prefix}{leaf[dotted]}"]
    same_name = [dotted for dotted in known if leaf[dotted] == key]
    if same_name:
        return f"; did you mean {' or '.join(same_name)}?"
    for candidates in (here, known):
        close = difflib.get_close_matches(key.lower(), [leaf[dotted] for dotted in candidates], n=1)
        if close:
            return f"; did you mean {next(dotted for dotted in candidates if leaf[dotted] == close[0])}?"
    return f"; known here: {', '.join(leaf[dotted] for dotted in here)}" if here else ""
