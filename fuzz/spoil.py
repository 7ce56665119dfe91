"""A file of text or JSON or YAML, spoiled in one of all ways."""

from __future__ import annotations

from pathlib import Path
from random import Random

from fuzz.byte_mutations import mutate_bytes, replace_file
from fuzz.tree_mutations import BOMBS, Change, change_json, change_yaml


def spoil(random: Random, path: Path, form: str = "") -> tuple[str, bool, Change | None]:
    """Spoils `path` as a file of the form `yaml`, `json`, or any other.

    Returns what was done, whether the result may still be right, and the change of the tree where there was one.
    """
    way = random.random()
    if way < 0.12:
        return f"{path.name}: {replace_file(random, path)} in its place", False, None
    if form not in ("yaml", "json") or way < 0.4:
        what, may = mutate_bytes(random, path)
        return f"{path.name}: {what}", may, None
    text = path.read_text()
    change = change_yaml(random, text) if form == "yaml" else change_json(random, text)
    path.write_text(change.text, encoding="utf-8", errors="surrogatepass")
    return f"{path.name}: {change.what}", change.what not in BOMBS, change
