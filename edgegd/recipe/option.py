"""A key of a recipe: a dataclass field with its default, meaning and limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Any


def option(
    default: Any,
    text: str,
    *,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    canonical: Callable[[Any], str] | None = None,
) -> Any:
    """A dataclass field with its default, its help text and its limits (checked by edgegd.recipe.load).

    `canonical` turns what a recipe says into the one form that is stored, or raises ValueError with a sentence.
    """
    metadata = {"help": text, "choices": choices, "minimum": minimum, "maximum": maximum, "canonical": canonical}
    if isinstance(default, (dict, list)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)
