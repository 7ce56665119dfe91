"""Recipes, `--set` overrides, and edited plans."""

from __future__ import annotations

from pathlib import Path
from random import Random

from fuzz.recipe_types import leaves, never_right
from fuzz.spoil import spoil
from fuzz.trial import Kind, Trial
from fuzz.values import YAML_VALUES, odd

_NEW = "new"  # the folder of a run that a case starts


def _recipe(random: Random, place: Path, number: int) -> Trial:
    path = place / "mine.yaml"
    path.write_bytes((place / "run/recipe.yaml").read_bytes())
    what, may, change = spoil(random, path, "yaml")
    if change is not None and change.value is not None:
        may = not never_right(".".join(map(str, change.steps)), change.value, leaves())
    return _use(random, what, may, "mine.yaml")


def _use(random: Random, what: str, may: bool, recipe: str, overrides: tuple[str, ...] = ()) -> Trial:
    """Validates a recipe, or starts a run of it."""
    way = random.random()
    if way < 0.6:
        return Trial(("recipe", "validate", recipe, *overrides), what, may_succeed=may)
    until = "data" if way < 0.85 else "float" if way < 0.95 else "ptq"
    return Trial(("run", recipe, *overrides, "--run-dir", _NEW, "--until", until), what, (_NEW,), (_NEW,), may)


def _override(random: Random, place: Path, number: int) -> Trial:
    known = leaves()
    names = list(known)
    name, value = names[number % len(names)], odd(random, YAML_VALUES)
    way = random.random()
    if way < 0.1:
        name = random.choice(
            (name.upper(), f"{name}.x", name.partition(".")[0], f".{name}", "", " ", "a.b", "__init__")
        )
    raw = value.raw.replace("\x00", "")
    pair = f"{name}={raw}" if way < 0.95 else random.choice((name, f"{name}:{raw}", "=", "==", f"{name}=", "\n"))
    may = way >= 0.95 or not never_right(name, value, known)
    return _use(random, f"--set {pair[:80]}", may, "tiny.yaml", ("--set", pair[:100_000]))


def _plan(random: Random, place: Path, number: int) -> Trial:
    path = place / "plan.json"
    path.write_bytes((place / "run/plan.json").read_bytes())
    what, may, _ = spoil(random, path, "json")
    arguments = ("run", "tiny.yaml", "--set", "quant.plan=plan.json", "--run-dir", "run", "--until", "ptq")
    return Trial(arguments, what, ("run",), ("run",), may)


KINDS = (Kind("recipes", 160, _recipe), Kind("overrides", 160, _override), Kind("plans", 30, _plan))
