"""The import graph: rooms stand on floors (docs/design.md), imports point down, and no module is in a circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "edgegd"


def modules() -> dict[str, Path]:
    """Dotted name -> file, of every module of the package."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(tree: ast.Module, known: dict[str, Path]) -> Iterator[str]:
    """The package's modules that one imports anywhere, inside functions too; not for annotations alone."""
    only_typed = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in only_typed:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def graph() -> dict[str, set[str]]:
    known = modules()
    return {name: set(imports(ast.parse(file.read_text()), known)) - {name} for name, file in known.items()}


def floors(heading: str) -> dict[str, int]:
    """Room -> floor, counted from below, of the first block of code after a line of docs/design.md."""
    text = (ROOT / "docs/design.md").read_text()
    block = re.search(re.escape(heading) + r".*?\n\n((?:    [^\n]+\n)+)", text, re.DOTALL)
    assert block, f"docs/design.md has no block after {heading!r}"
    lines = [line.split() for line in block[1].splitlines()]
    return {room: height for height, line in enumerate(reversed(lines)) for room in line}


def room_of(module: str) -> str:
    """The folder below edgegd that a module is in; empty for a module of edgegd itself that is no room."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (len(parts) > 2 or (PACKAGE / parts[1]).is_dir()) else ""


def test_every_room_has_a_floor_and_imports_from_lower_floors_only() -> None:
    height = floors("Rooms stand on floors")
    rooms = {room_of(name) for name in modules()} - {""}
    assert rooms == {room for room in height if (PACKAGE / room).is_dir()}, "docs/design.md names other rooms"
    upward = []
    for name, read in graph().items():
        for other in read:
            above = height.get(room_of(name) or name.rpartition(".")[2], -1)
            below = height.get(room_of(other) or other.rpartition(".")[2], -1)
            if room_of(name) != room_of(other) and below >= above and not (above == below == -1):
                upward.append(f"{name} imports {other}")
    assert not upward


def test_the_rooms_of_latency_stand_on_floors_too() -> None:
    height = floors("Inside latency")
    upward = [
        f"{name} imports {other}"
        for name, read in graph().items()
        for other in read
        if name.startswith("edgegd.latency.") and other.startswith("edgegd.latency.")
        for here, there in [(name.split(".")[2], other.split(".")[2])]
        if here != there and height[there] >= height[here]
    ]
    assert not upward


def test_no_module_is_in_a_circle_of_imports() -> None:
    TopologicalSorter(graph()).prepare()  # raises CycleError, which names the circle


def test_an_upward_import_and_a_circle_are_found(tmp_path: Path) -> None:
    known = {"edgegd": tmp_path, "edgegd.plan.formats": tmp_path, "edgegd.cli.run": tmp_path}
    source = "def late():\n    from edgegd.cli import run\nfrom edgegd.plan.formats import Format\n"
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from edgegd.cli import run\n"
    known["edgegd.cli"] = tmp_path
    assert set(imports(ast.parse(source), known)) == {"edgegd.cli.run", "edgegd.plan.formats"}
    assert set(imports(ast.parse(typed), known)) == set()
