"""The versions that are allowed, and those that are installed by `make`."""

from __future__ import annotations

from pathlib import Path

import pytest
from lowest_versions import lowest_versions
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PYPROJECT = (ROOT / "pyproject.toml").read_text()
LOWEST = lowest_versions(PYPROJECT)


def bounds(package: str) -> Requirement:
    (line,) = {line for line in PYPROJECT.split('"') if line.startswith(f"{package}>=")}
    return Requirement(line)


@pytest.mark.parametrize("package", sorted(LOWEST))
def test_the_pins_are_within_the_bounds(package: str) -> None:
    allowed = bounds(package).specifier
    pins = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#"]
    pinned = [str(pin.specifier).removeprefix("==") for pin in pins if pin.name.lower() == package.lower()]
    assert pinned and all(allowed.contains(version) for version in (*pinned, LOWEST[package]))


def test_ultralytics_has_both_bounds_and_not_the_versions_that_break() -> None:
    allowed = bounds("ultralytics").specifier
    assert not any(allowed.contains(version) for version in ("8.4.100", "8.4.140", "8.5.0", "9.0.0"))
    assert Version(LOWEST["ultralytics"]) == Version("8.4.190")


def test_safe_loading_needs_a_torch_that_knows_it() -> None:
    assert Version(LOWEST["torch"]) >= Version("2.6")  # torch.serialization.get_unsafe_globals_in_checkpoint
