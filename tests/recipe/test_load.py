"""Recipes are loaded, refused with every mistake at once, and written back; oracle: the schema itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegd.errors import RecipeError, RecipeNotFoundError
from edgegd.recipe.build import dotted_keys, field_types
from edgegd.recipe.dump import recipe_to_yaml, section_hash
from edgegd.recipe.load import load_recipe, parse_recipe
from edgegd.recipe.schema import Recipe

MINIMAL = "version: 1\ndata:\n  path: coco.yaml\n"


def mistakes(text: str, overrides: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, overrides, origin="mine.yaml")
    return [line.strip() for line in caught.value.what.splitlines()[1:]]


def test_minimal_recipe_takes_every_default() -> None:
    recipe = parse_recipe(MINIMAL)
    assert recipe == dataclasses.replace(Recipe(), data=dataclasses.replace(Recipe().data, path="coco.yaml"))


def test_five_mistakes_are_all_shown_each_with_its_line() -> None:
    text = (
        "version: 1\nmodel:\n  imgsz: big\n  weight: x.pt\ndata:\n  path: coco.yaml\n"
        "train:\n  epochs: 0\n  optimizer: adamw\nquants:\n  observer: mse\n"
    )
    found = mistakes(text)
    assert found == [
        "line 3: model.imgsz: expected a whole number or a list of two whole numbers, found text ('big')",
        "line 4: model.weight: unknown key; did you mean model.weights?",
        "line 8: train.epochs: expected at least 1, found 0",
        "line 9: train.optimizer: expected one of AdamW, Adam, SGD, MuSGD, found 'adamw'; did you mean AdamW?",
        "line 10: quants: unknown key; did you mean quant?",
    ]


def test_mistakes_of_file_and_overrides_come_in_one_error() -> None:
    found = mistakes("version: 1\ndata: {path: x.yaml}\ntrain: {epoch: 3}\n", ("train.lr=1", "model.imgsz=7", "epochs"))
    assert found == [
        "line 3: train.epoch: unknown key; did you mean train.epochs?",
        "--set model.imgsz: expected at least 32, found 7",
        "--set train.lr: unknown key; did you mean train.lrf?",
        "--set 'epochs': expected section.key=value",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data: {path: x.yaml}\n", "version: missing; write `version: 1`"),
        (MINIMAL.replace("1", "2"), "line 1: version: this edgegd reads recipes of version 1, found 2"),
        (MINIMAL + "quant: 3\n", "line 4: quant: expected a section (indented keys), found a whole number (3)"),
        (
            MINIMAL + "model:\n  imgsz: true\n",
            "line 5: model.imgsz: expected a whole number or a list of two whole numbers, found true",
        ),
        (
            MINIMAL + "model:\n  imgsz: 320.0\n",
            "line 5: model.imgsz: expected a whole number or a list of two whole numbers, found a number (320.0)",
        ),
        (
            MINIMAL + "model:\n  imgsz: [384]\n",
            "line 5: model.imgsz: expected a whole number or a list of two whole numbers, found a list of 1",
        ),
        (
            MINIMAL + "model:\n  imgsz: [384, 640, 3]\n",
            "line 5: model.imgsz: expected a whole number or a list of two whole numbers, found a list of 3",
        ),
        (
            MINIMAL + "model:\n  imgsz: [384, 640.5]\n",
            "line 5: model.imgsz: value 2: expected a whole number, found a number (640.5)",
        ),
        (
            MINIMAL + "model:\n  imgsz: [384, true]\n",
            "line 5: model.imgsz: value 2: expected a whole number, found true",
        ),
        (MINIMAL + "model:\n  imgsz: [0, 640]\n", "line 5: model.imgsz: value 1: expected at least 32, found 0"),
        (
            MINIMAL + "model:\n  imgsz: [384, 99968]\n",
            "line 5: model.imgsz: value 2: expected at most 4096, found 99968",
        ),
        (MINIMAL + "model:\n  imgsz: 99968\n", "line 5: model.imgsz: expected at most 4096, found 99968"),
        (MINIMAL + "model:\n  weights: null\n", "line 5: model.weights: expected text, found nothing (null)"),
        (
            MINIMAL + "model:\n  end2end: 1\n",
            "line 5: model.end2end: expected true or false or null, found a whole number (1)",
        ),
        (MINIMAL + "train:\n  lr0: .nan\n", "line 5: train.lr0: expected a finite number, found nan"),
        (MINIMAL + "train:\n  imgsz: 320\n", "line 5: train.imgsz: unknown key; did you mean model.imgsz?"),
        (MINIMAL + "train:\n  seed: 1\n  seed: 2\n", "line 6: train.seed: duplicate key; first given in line 5"),
        (
            MINIMAL + "model:\n  float:\n    epoch: 2\n",
            "line 6: model.float.epoch: unknown key; did you mean model.float.epochs?",
        ),
        ("version: 1\ndata:\n  source: yaml\n", "data.path: missing; source yaml needs an Ultralytics data set YAML"),
        ("model: [1\n", "line 2: YAML syntax error at column 1: expected ',' or ']', but got '<stream end>'"),
        ("- a\n- b\n", "line 1: expected sections (`model:`, `data:`, ...), found a list"),
        ("a: 2026-13-01\n", "YAML cannot be read: month must be in 1..12"),
    ],
    ids=lambda text: str(text).splitlines()[-1].strip()[:40],
)
def test_a_mistake_is_named(text: str, expected: str) -> None:
    assert mistakes(text) == [expected]


def test_streets_without_a_folder_need_image_counts(tmp_path: Path) -> None:
    text = f"version: 1\ndata: {{source: streets, path: {tmp_path}/new, val_images: 5}}\n"
    assert mistakes(text)[0].startswith("data.train_images: expected at least 1")
    (tmp_path / "new").mkdir()
    assert parse_recipe(text).data.train_images == 0


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("train.lr0=1e-4", "lr0", 1e-4),
        ("train.lr0=1", "lr0", 1.0),
        ("train.device=0", "device", "cuda:0"),
        ("train.device=cuda:1", "device", "cuda:1"),
        ("train.epochs=3", "epochs", 3),
    ],
)
def test_overrides_take_the_type_of_their_field(override: str, key: str, value: Any) -> None:
    found = getattr(parse_recipe(MINIMAL + "train:\n  lr0: 0.5\n", (override,)).train, key)
    assert found == value and type(found) is type(value)


def test_the_last_override_wins_and_the_others_stay() -> None:
    recipe = parse_recipe(MINIMAL + "train: {batch: 4}\n", ("train.epochs=3", "train.epochs=5", "model.float.epochs=7"))
    assert (recipe.train.epochs, recipe.train.batch, recipe.model.float.epochs) == (5, 4, 7)


def test_text_numbers_of_yaml_1_1_are_numbers_but_words_are_not() -> None:
    assert parse_recipe(MINIMAL + "train: {lr0: 1e-4}\n").train.lr0 == 1e-4
    assert mistakes(MINIMAL + "train: {lr0: infinity}\n") == [
        "line 4: train.lr0: expected a number, found text ('infinity')"
    ]


def test_lists_and_mappings_hold_values_of_one_type() -> None:
    text = MINIMAL + "quant:\n  float: [model.2*, 'model.22:*']\n  rules:\n    box-convolution: integer\n"
    quant = parse_recipe(text, ("train.distill.neck=2",)).quant
    assert quant.float == ["model.2*", "model.22:*"] and quant.rules == {"box-convolution": "integer"}
    assert parse_recipe(text, ("quant.float=[a]", "quant.rules={b: float}")).quant.rules == {"b": "float"}
    assert mistakes(MINIMAL + "quant:\n  float: [a, 3]\n  rules: {convolution: int}\n") == [
        "line 5: quant.float: value 2: expected text, found a whole number (3)",
        "line 6: quant.rules: convolution: expected one of float, integer, found 'int'; did you mean integer?",
    ]
    assert mistakes(MINIMAL + "quant:\n  float: a\n  rules: [b]\n") == [
        "line 5: quant.float: expected a list of text, found text ('a')",
        "line 6: quant.rules: expected a mapping from text to text, found a list",
    ]
    assert mistakes(MINIMAL + "quant: {rules: {3: float}}\n") == [
        "line 4: quant.rules: expected text as every name, found a whole number (3)"
    ]


def test_an_empty_section_takes_its_defaults() -> None:
    assert parse_recipe(MINIMAL + "train:\n").train == Recipe().train


def test_unreadable_file_is_a_recipe_error(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(file)
    with pytest.raises(RecipeNotFoundError):
        load_recipe(tmp_path / "absent.yaml")


def values_of(section: type) -> st.SearchStrategy[Any]:
    """Any instance of a schema dataclass within the limits of its fields."""
    arguments = {}
    metadata = {field.name: field.metadata for field in dataclasses.fields(section)}
    for name, kind in field_types(section).items():
        low, high = metadata[name].get("minimum"), metadata[name].get("maximum")
        if dataclasses.is_dataclass(kind):
            arguments[name] = values_of(kind)  # type: ignore[arg-type]
        elif metadata[name]["choices"]:
            arguments[name] = st.sampled_from(metadata[name]["choices"])
            if kind == dict[str, str]:
                arguments[name] = st.dictionaries(st.text(), arguments[name], max_size=3)
        elif metadata[name].get("canonical"):
            arguments[name] = st.sampled_from(["cpu", "mps", "cuda", "cuda:0", "cuda:12"])
        elif kind is int:
            arguments[name] = st.integers(low, high)
        elif kind == int | tuple[int, int]:
            side = st.integers(low, high)
            arguments[name] = side | st.tuples(side, side)
        elif kind is float:
            arguments[name] = st.floats(low, high, allow_nan=False, allow_infinity=False)
        elif kind is str:
            arguments[name] = st.text()
        elif kind == list[str]:
            arguments[name] = st.lists(st.text(), max_size=3)
        elif kind == int | None:
            arguments[name] = st.none() | st.integers(low, high)
        elif kind == float | None:
            arguments[name] = st.none() | st.floats(low, high, allow_nan=False, allow_infinity=False)
        else:
            arguments[name] = st.sampled_from([True, False] if kind is bool else [None, True, False])
    arguments.update({"version": st.just(1)} if section is Recipe else {})
    arguments.update(
        {
            "path": st.text(min_size=1).filter(str.strip),
            "source": st.just("yaml"),
            "unlabelled_images": st.just(""),
        }  # with some, a mosaic may be a mistake
        if "unlabelled" in arguments
        else {}
    )
    arguments.update({"accumulate": st.just(1)} if "accumulate" in arguments else {})  # others may not divide the batch
    return st.builds(section, **arguments)


@pytest.mark.parametrize(
    ("more", "mistake"),
    [
        ([], False),
        (["train.distill.head=1"], True),
        (["train.distill.neck=1", "train.distill.labels=false"], False),
        (["quant.activation=relu"], True),
        (["quant.activation=relu", "train.adapt.distill.labels=false"], False),
    ],
)
def test_a_mosaic_does_not_mix_labelled_and_unlabelled_images(more: list[str], mistake: bool) -> None:
    overrides = ["data.unlabelled_images=camera", "train.mosaic=0.5", *more]
    if mistake:
        with pytest.raises(RecipeError, match=r"train\.mosaic: expected 0 with data\.unlabelled_images"):
            parse_recipe(MINIMAL, overrides)
        parse_recipe(MINIMAL, [*overrides, "train.mosaic=0"])
    else:
        parse_recipe(MINIMAL, overrides)
    parse_recipe(MINIMAL, ["train.mosaic=0.5", *more])  # without unlabelled images, mosaics are as ever


@settings(max_examples=60, deadline=None)
@given(values_of(Recipe))
def test_writing_and_loading_gives_the_same_recipe(recipe: Recipe) -> None:
    assert parse_recipe(recipe_to_yaml(recipe)) == recipe


def test_dumped_recipe_holds_every_key() -> None:
    def keys(data: dict[str, Any], prefix: str = "") -> set[str]:
        return {f"{prefix}{key}" for key in data}.union(
            *(keys(value, f"{prefix}{key}.") for key, value in data.items() if isinstance(value, dict))
        )

    assert keys(yaml.safe_load(recipe_to_yaml(Recipe()))) == set(dotted_keys(Recipe))


def test_section_hash_depends_on_the_named_sections_only() -> None:
    one, other = parse_recipe(MINIMAL), parse_recipe(MINIMAL, ("train.epochs=3",))
    assert section_hash(one, "model", "data") == section_hash(other, "data", "model")
    assert section_hash(one, "train") != section_hash(other, "train")
    assert section_hash(one) != section_hash(other)
    assert section_hash(one, "train.seed") == section_hash(other, "train.seed") != section_hash(one, "data.seed")
    with pytest.raises(KeyError):
        section_hash(one, "trains")


def test_a_size_is_a_square_or_height_and_width() -> None:
    assert parse_recipe(MINIMAL + "model: {imgsz: 96}\n").model.size == (96, 96)
    assert parse_recipe(MINIMAL + "model: {imgsz: [384, 640]}\n").model.size == (384, 640)
    assert parse_recipe(MINIMAL, ["model.imgsz=[64, 96]"]).model.size == (64, 96)
    assert parse_recipe(MINIMAL + "model: {imgsz: [64, 96]}\n", ["model.imgsz=128"]).model.size == (128, 128)
