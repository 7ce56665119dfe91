"""A Recipe back to YAML, and the hash of its sections that decides whether a stage must run again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import yaml

from edgegd.recipe.schema import Recipe


def recipe_to_yaml(recipe: Recipe) -> str:
    """The whole recipe, defaults included, as YAML that loads into an equal Recipe."""
    return yaml.safe_dump(dataclasses.asdict(recipe), sort_keys=False)


def section_hash(recipe: Recipe, *dotted_names: str) -> str:
    """SHA-256 (hex) of the named sections or keys (`"model"`, `"train.epochs"`), of the whole recipe without names.

    The hash is over canonical JSON (sorted keys, no spaces), so it is the same on every machine and Python version.
    Raises KeyError for a name that the schema lacks.
    """
    whole = dataclasses.asdict(recipe)
    chosen = {name: _pick(whole, name) for name in dotted_names} if dotted_names else whole
    canonical = json.dumps(chosen, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _pick(whole: dict[str, Any], dotted: str) -> Any:
    value: Any = whole
    for name in dotted.split("."):
        value = value[name]
    return value
