"""Ranges of recipe keys, as `edgegd sweep --set` takes them.

    KEY=a,b,c          one of these values, each written as after `edgegd run --set`
    KEY=lo..hi         a number from lo to hi, evenly; a whole number where the key takes whole numbers only
    KEY=log:lo..hi     the same, evenly on a logarithmic scale
    KEY=int:lo..hi     a whole number, whatever the key takes
    KEY=value          no range: the same everywhere

Commas within brackets and quotes do not part values: `model.imgsz=[256, 320],[320, 320]`.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from edgegd.errors import RecipeError
from edgegd.recipe.build import NUMBER
from edgegd.recipe.load import leaf_type, load_recipe
from edgegd.recipe.schema import Recipe

GRAMMAR = "KEY=a,b,c, KEY=lo..hi, KEY=log:lo..hi or KEY=int:lo..hi"
_SHAPES = ("log", "int")


@dataclass(frozen=True)
class Choices:
    """One of these values, as texts."""

    values: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many values there are."""
        return len(self.values)


@dataclass(frozen=True)
class Numbers:
    """A number from `low` to `high`, both included."""

    low: float
    high: float
    whole: bool = False
    logarithmic: bool = False

    @property
    def count(self) -> int | None:
        """How many values there are; None: as many as there are floats."""
        return int(self.high - self.low) + 1 if self.whole else None


Range: TypeAlias = "Choices | Numbers"


@dataclass(frozen=True)
class Space:
    """What is searched: the ranges by key, and the overrides `fixed` that hold everywhere."""

    ranges: Mapping[str, Range]
    fixed: tuple[str, ...]

    @property
    def count(self) -> int | None:
        """How many points there are; None: endlessly many."""
        total = 1
        for one in self.ranges.values():
            if one.count is None:
                return None
            total *= one.count
        return total


def parse_space(recipe: Path, settings: Sequence[str]) -> Space:
    """The ranges and fixed values of `--set` options, all of them tried on the recipe.

    Raises RecipeError for a key that does not exist (the nearest is named) or is given twice, a range that is empty or
    not understood, and a value or end of a range that the recipe refuses.
    """
    ranges: dict[str, Range] = {}
    fixed: list[str] = []
    for setting in settings:
        key, _, text = (part.strip() for part in setting.partition("="))
        found = _range_of(key, text)
        if key in ranges or any(one.partition("=")[0] == key for one in fixed):
            raise RecipeError(f"--set {key} is given twice.", mend="write all its values into one --set")
        if found is None:
            fixed.append(f"{key}={text}" if text or "=" in setting else setting)
        else:
            ranges[key] = found
    ends = {key: _ends(one) for key, one in ranges.items()}
    load_recipe(recipe, [*fixed, *(override(key, values[0]) for key, values in ends.items())])
    for key, values in ends.items():
        for value in values[1:]:
            load_recipe(recipe, [*fixed, override(key, value)])
    return Space(ranges, tuple(fixed))


def override(key: str, value: str | float) -> str:
    """`key=value` as `edgegd run --set` takes it."""
    return f"{key}={value}" if isinstance(value, str) else f"{key}={value!r}"


def own_point(recipe: Path, space: Space) -> dict[str, str | float] | None:
    """The recipe's own values as a point of the space; None where one of them lies outside of its range."""
    own, point = load_recipe(recipe, space.fixed), {}
    for key, one in space.ranges.items():
        value = value_of(own, key)
        if isinstance(one, Choices):
            same = (
                text
                for text in one.values
                if value_of(load_recipe(recipe, [*space.fixed, f"{key}={text}"]), key) == value
            )
            found: Any = next(same, None)
        else:
            inside = isinstance(value, int | float) and one.low <= value <= one.high
            found = None if not inside else int(value) if one.whole else float(value)
            found = None if found != value else found
        if found is None:
            return None
        point[key] = found
    return point


def value_of(recipe: Recipe, key: str) -> Any:
    """A recipe's value of a dotted key."""
    value: Any = recipe
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _range_of(key: str, text: str) -> Range | None:
    """The range that a text means for a key; None for a single value, and for keys that do not exist."""
    kinds = _kinds(key)
    if {int, float} & set(kinds):
        *shapes, rest = text.split(":")
        if ".." in rest or (shapes and set(shapes) <= set(_SHAPES)):
            return _numbers(key, text, shapes, rest, whole=float not in kinds)
    values = _parted(text)
    if len(values) < 2:
        return None
    if "" in values or len(set(values)) < len(values):
        raise _refused(key, text, "a value between commas is missing" if "" in values else "a value is there twice")
    return Choices(tuple(values))


def _numbers(key: str, text: str, shapes: Sequence[str], rest: str, *, whole: bool) -> Numbers:
    if not set(shapes) <= set(_SHAPES) or len(set(shapes)) < len(shapes):
        raise _refused(key, text, f"{':'.join(shapes)}: is not known")
    low_text, dots, high_text = (part.strip() for part in rest.partition(".."))
    if not dots or not NUMBER.fullmatch(low_text) or not NUMBER.fullmatch(high_text):
        raise _refused(key, text, "two numbers with .. between them are expected")
    whole, low, high = whole or "int" in shapes, float(low_text), float(high_text)
    if whole and (low != int(low) or high != int(high)):
        raise _refused(key, text, "the ends of a range of whole numbers are whole numbers")
    if low >= high:
        raise _refused(key, text, "the range is empty: its first number is not below its second")
    if "log" in shapes and low <= 0:
        raise _refused(key, text, "a logarithmic range begins above 0")
    return Numbers(int(low) if whole else low, int(high) if whole else high, whole, "log" in shapes)


def _kinds(key: str) -> tuple[Any, ...]:
    try:
        kind = leaf_type(key)
    except KeyError:
        return ()
    return typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def _ends(one: Range) -> tuple[str | float, ...]:
    return one.values if isinstance(one, Choices) else (one.low, one.high)


def _parted(text: str) -> list[str]:
    """The texts between commas that stand in no bracket and no quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _refused(key: str, text: str, why: str) -> RecipeError:
    return RecipeError(f"--set {key}={text}: {why}.", expected=GRAMMAR, mend="see `edgegd sweep --help`")
