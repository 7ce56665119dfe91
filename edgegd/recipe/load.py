"""A recipe file and its `--set` overrides to a Recipe, with every mistake of both in one error."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgegd.errors import RecipeError
from edgegd.recipe.build import Mistake, build, describe, dotted_keys, field_types, nearest_key
from edgegd.recipe.document import parse_document
from edgegd.recipe.paths import resolve_path
from edgegd.recipe.schema import SCHEMA_VERSION, DataSection, Recipe, TargetSection
from edgegd.recipe.shipped import find_recipe
from edgegd.safe_yaml import YamlProblem, load_yaml, read_yaml_text
from edgegd.trust import is_trusted

OVERRIDE = "--set"
COMMAND = "command:"  # how the URL of a target begins that runs a command (edgegd.targets.command)


def load_recipe(path_or_name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a file, or of a shipped name such as `bccd/yolo26n`, with `section.key=value` overrides applied.

    Raises RecipeNotFoundError when there is no such file or name, and RecipeError with one line for each mistake of
    the file and of the overrides.
    """
    path = find_recipe(path_or_name)
    try:
        text = read_yaml_text(path)
    except (OSError, YamlProblem) as error:
        raise RecipeError(f"{path} cannot be read", expected="a YAML text file in UTF-8", found=str(error)) from error
    return parse_recipe(text, overrides, origin=str(path))


def parse_recipe(text: str, overrides: Sequence[str] = (), *, origin: str = "recipe") -> Recipe:
    """As load_recipe, from the file's text; `origin` names it in the error."""
    document = parse_document(text)
    data, override_mistakes, overridden = _apply_overrides(document.data, overrides)
    arguments, mistakes = build(Recipe, data, Recipe)
    recipe = Recipe(**arguments)
    if document.data or not document.mistakes:  # after a syntax error nothing is known about the keys
        broken = {mistake.key for mistake in mistakes}
        mistakes += [
            mistake
            for mistake in _check_version(data, recipe)
            + _check_data(recipe.data)
            + _check_mosaic(recipe)
            + _check_accumulate(recipe)
            + _check_target(recipe.target, overridden)
            if not broken & {mistake.key, mistake.key.split(".")[0]}
        ]
    located: list[tuple[int | str, str]] = [*document.mistakes]
    for mistake in mistakes:
        where = OVERRIDE if mistake.key in overridden else document.lines.get(mistake.key, 0)
        located.append((where, f"{mistake.key}: {mistake.text}"))
    located += [(OVERRIDE, problem) for problem in override_mistakes]
    if located:
        raise _error(located, origin)
    return recipe


def _apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> tuple[dict[str, Any], list[str], set[str]]:
    """A copy of the data with the overrides in it; what is wrong with them; the dotted keys they set."""
    data, mistakes, known, overridden = copy.deepcopy(data), [], set(dotted_keys(Recipe)), set()
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not key:
            mistakes.append(f"{override!r}: expected section.key=value")
            continue
        if key not in known:
            prefix, _, leaf = key.rpartition(".")
            mistakes.append(f"{key}: unknown key{nearest_key(leaf, f'{prefix}.' if prefix else '', Recipe)}")
            continue
        try:
            value = load_yaml(text)
        except YamlProblem:
            mistakes.append(f"{key}: {text!r} cannot be read as a YAML value")
            continue
        if leaf_type(key) is str and not isinstance(value, (str, list, dict)):
            value = text.strip()  # description=1.10 means the text "1.10", data.path= the empty text
        *sections, leaf = key.split(".")
        place: Any = data
        for section in sections:
            if not isinstance(place.get(section), dict):
                place[section] = {}
            place = place[section]
        place[leaf] = value
        overridden.add(key)
    return data, mistakes, overridden


def leaf_type(dotted: str) -> Any:
    """The type of a dotted key of a recipe; KeyError where there is none."""
    kind: Any = Recipe
    for name in dotted.split("."):
        kind = field_types(kind)[name]
    return kind


def _check_version(data: dict[str, Any], recipe: Recipe) -> list[Mistake]:
    if "version" not in data:
        return [Mistake("version", f"missing; write `version: {SCHEMA_VERSION}`")]
    if recipe.version != SCHEMA_VERSION:
        return [Mistake("version", f"this edgegd reads recipes of version {SCHEMA_VERSION}, found {recipe.version}")]
    return []


def _check_data(data: DataSection) -> list[Mistake]:
    """What a data section needs beyond each key's own limits."""
    if not data.path.strip():
        kind = "an Ultralytics data set YAML" if data.source == "yaml" else "the data set's folder"
        return [Mistake("data.path", f"missing; source {data.source} needs {kind}")]
    if data.source == "streets" and not resolve_path(data.path).exists():
        counts = {"train_images": data.train_images, "val_images": data.val_images}
        return [
            Mistake(
                f"data.{name}", f"expected at least 1 because {data.path} does not exist yet, found {describe(count)}"
            )
            for name, count in counts.items()
            if count == 0
        ]
    return []


def _check_accumulate(recipe: Recipe) -> list[Mistake]:
    """Equal parts of a batch."""
    batch, parts = recipe.train.batch, recipe.train.accumulate
    if batch % parts == 0:
        return []
    return [Mistake("train.accumulate", f"expected a number that divides train.batch, {batch}, found {parts}")]


def _check_mosaic(recipe: Recipe) -> list[Mistake]:
    """A mosaic of labelled and unlabelled images would be neither."""
    distills = [recipe.train.distill, *([recipe.train.adapt.distill] if recipe.quant.activation != "silu" else [])]
    mixes = any(distill.asks and distill.labels for distill in distills)
    if recipe.data.unlabelled_images and recipe.train.mosaic > 0 and mixes:
        return [
            Mistake(
                "train.mosaic",
                "expected 0 with data.unlabelled_images, because a mosaic would mix images "
                f"with and without labels, found {describe(recipe.train.mosaic)}; or set `labels: false`",
            )
        ]
    return []


def _check_target(target: TargetSection, overridden: set[str]) -> list[Mistake]:
    """A command is run for whoever types it or stored it under a name, not for whoever wrote a file."""
    if not target.host.lstrip().startswith(COMMAND) or "target.host" in overridden or is_trusted():
        return []
    return [
        Mistake(
            "target.host",
            f"a recipe cannot say which command to run ({target.host!r}); store it as a target "
            "(`edgegd target add NAME URL`) and write its name, give it with --set or --target, or add --trust "
            "(SECURITY.md)",
        )
    ]


def _error(located: list[tuple[int | str, str]], origin: str) -> RecipeError:
    """One line a mistake, the file's in the file's order and the overrides' after them."""
    in_file = sorted((line, text) for line, text in located if isinstance(line, int))
    rows = [f"  line {line}: {text}" if line else f"  {text}" for line, text in in_file]
    rows += [f"  {OVERRIDE} {text}" for line, text in located if line == OVERRIDE]
    count = f"{len(rows)} mistake{'s' if len(rows) > 1 else ''}"
    return RecipeError(
        "\n".join([f"{origin}: {count}", *rows]),
        mend="the keys and their limits are in docs/recipes.md; `edgegd recipe validate` checks again",
    )
