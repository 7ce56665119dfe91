"""Whether a device meets the limits of a recipe (`prove.limits`); one verdict a limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from edgegd.recipe.prove import ProveLimits

LEAST = frozenset({"map50_95"})
"""The limits that must be reached; all others must not be exceeded."""


@dataclass(frozen=True)
class LimitVerdict:
    """One limit: its key of `prove.limits`, its value, what was found (None: not measured), and why it is judged so."""

    name: str
    limit: float
    found: float | None
    passed: bool
    reason: str

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of every field."""
        return asdict(self)


def judge(limits: ProveLimits, found: Mapping[str, float], missing: Mapping[str, str]) -> tuple[LimitVerdict, ...]:
    """A verdict on every limit that is set, in the order of the recipe's schema.

    `found` has what was measured, by the name of the limit; of what is not there, `missing` says why in a sentence.
    What was not measured does not pass.
    """
    verdicts = []
    for field in fields(ProveLimits):
        name, limit = field.name, getattr(limits, field.name)
        if limit is None:
            continue
        if name not in found:
            why = missing.get(name, "")
            verdicts.append(LimitVerdict(name, limit, None, False, f"Not measured. {why}".strip()))
            continue
        value, is_least = found[name], name in LEAST
        passed = value >= limit if is_least else value <= limit
        side = "reached" if passed and is_least else "kept" if passed else "missed" if is_least else "exceeded"
        verdicts.append(LimitVerdict(name, limit, value, passed, f"{value:.6g}: the limit of {limit:g} is {side}."))
    return tuple(verdicts)
