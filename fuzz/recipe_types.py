"""Which values a key of a recipe can never have, by the schema's own types."""

from __future__ import annotations

import types
import typing
from dataclasses import fields, is_dataclass
from typing import Any

from edgegd.recipe.schema import Recipe
from fuzz.values import OddValue

_FORMS = ("model.imgsz", "train.device")  # keys that have more forms than their type says


def leaves(kind: Any = Recipe, above: str = "") -> dict[str, Any]:
    """Every key of a recipe by its dotted name: its type and its metadata."""
    hints, found = typing.get_type_hints(kind), dict[str, Any]()
    for field in fields(kind):
        name = f"{above}.{field.name}" if above else field.name
        if is_dataclass(hints[field.name]):
            found |= leaves(hints[field.name], name)
        else:
            found[name] = (hints[field.name], field.metadata)
    return found


def never_right(name: str, value: OddValue, known: dict[str, Any]) -> bool:
    """Whether no recipe may have this value at the key `name`; False where that cannot be told."""
    if name not in known or name in _FORMS or value.family == "other":
        return False
    kind, limits = known[name]
    options = set(typing.get_args(kind)) if isinstance(kind, types.UnionType) else {kind}
    if value.family == "null":
        return type(None) not in options and bool(options & {int, float, bool})
    if value.family in ("list", "mapping"):
        return not {typing.get_origin(one) or one for one in options} & {list, dict, tuple}
    if value.family == "text":
        return bool(options & {int, float, bool}) and not options & {str}
    if value.family == "truth":
        return bool(options & {int, float}) and bool not in options
    if value.family == "not finite":
        return bool(options & {int, float, bool})
    minimum = limits.get("minimum")
    return bool(options & {int, float}) and value.negative and minimum is not None and minimum >= 0
