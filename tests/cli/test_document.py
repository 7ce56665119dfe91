"""The generated pages are the files in docs/, and every command shows an example; oracle: the code itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from edgegd.cli.document import cli_page, error_classes, errors_page, recipes_page
from edgegd.recipe.build import dotted_keys, field_types
from edgegd.recipe.schema import Recipe

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(("page", "name"), [(cli_page, "cli"), (errors_page, "errors"), (recipes_page, "recipes")])
def test_the_page_is_as_the_code_writes_it(page: Callable[[], str], name: str) -> None:
    written = (DOCS / f"{name}.md").read_text()
    assert written == page(), f"python -m edgegd.cli.document {name} > docs/{name}.md"


def test_every_exit_code_is_distinct_and_documented() -> None:
    codes = [kind.exit_code for kind in error_classes()]
    assert len(set(codes)) == len(codes) and not set(codes) & {0, 2}
    page = (DOCS / "errors.md").read_text()
    for kind in error_classes():
        assert f"| {kind.exit_code} | `{kind.__name__}` |" in page


def test_every_leaf_of_the_schema_is_a_row() -> None:
    page = (DOCS / "recipes.md").read_text()
    sections = {key for key in dotted_keys(Recipe) if any(other.startswith(f"{key}.") for other in dotted_keys(Recipe))}
    assert {"model.float"} < sections and set(field_types(Recipe)) - sections == {"version", "description"}
    assert re.findall(r"^\| `([\w.]+)`", page, re.MULTILINE) == [k for k in dotted_keys(Recipe) if k not in sections]


def test_every_command_shows_an_example_of_itself() -> None:
    sections = re.split(r"^## ", (DOCS / "cli.md").read_text(), flags=re.MULTILINE)[1:]
    assert len(sections) > 15
    for section in sections:
        name = section.splitlines()[0]
        assert re.search(rf"^  {name} \S|^  {name}$", section, re.MULTILINE), name
