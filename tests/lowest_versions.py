"""Prints the oldest version that pyproject.toml allows of each package that edgegd runs with, as pip's constraints.

python tests/lowest_versions.py [--none]    # with --none nothing, for the newest versions
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_SECTIONS = ("dependencies", "image", "lab", "train", "sweep")  # what runs; the tools of `dev` are not what is tested


def lowest_versions(pyproject: str) -> dict[str, str]:
    """Package -> its lower bound, from the text of pyproject.toml."""
    found: dict[str, str] = {}
    for section in _SECTIONS:
        (listed,) = re.findall(rf"^{section} = \[(.*?)\]$", pyproject, re.MULTILINE | re.DOTALL)
        found |= dict(re.findall(r'"([\w.-]+)>=([\d.]+)', listed))
    return found


def main() -> None:
    """Prints the pins."""
    if "--none" not in sys.argv:
        text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
        print("\n".join(f"{name}=={version}" for name, version in lowest_versions(text).items()))


if __name__ == "__main__":
    main()
