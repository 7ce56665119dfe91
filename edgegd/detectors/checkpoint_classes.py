"""The class names inside a checkpoint, which is whatever somebody assigned there, as names by id."""

from __future__ import annotations

from typing import Any

from edgegd.errors import ClassCountError
from edgegd.foreign_text import one_line
from edgegd.limits import CHARACTERS_OF_A_NAME, CLASSES


def names_by_id(names: Any, count: int, source: object) -> dict[int, str]:
    """A model's `names` (a mapping from ids, or a list) as texts by id, `count` of them as its head has classes.

    A name that is no text (a number, true) becomes its text, as Ultralytics shows it. Raises ClassCountError for ids
    that are none or have gaps, and for another number of names than the head has outputs: nothing is renumbered.
    """
    found = dict(enumerate(names)) if isinstance(names, (list, tuple)) else names
    if not isinstance(found, dict):
        raise _wrong(source, "a name for each class id", f"{type(found).__name__} {one_line(repr(found)[:200], 80)}")
    by_id: dict[int, str] = {}
    for key, name in found.items():
        index = int(key) if isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 10 else key
        if type(index) is not int or index in by_id:
            raise _wrong(source, "ids 0, 1, 2, ... each once", f"the id {one_line(repr(key)[:200], 80)}")
        if not isinstance(name, (str, int, float)) or len(str(name)) > CHARACTERS_OF_A_NAME:
            raise _wrong(
                source,
                f"names of at most {CHARACTERS_OF_A_NAME} characters",
                f"class {index} is {one_line(repr(name)[:200], 80)}",
            )
        by_id[index] = str(name).encode(errors="backslashreplace").decode()
    if sorted(by_id) != list(range(len(by_id))):
        raise _wrong(source, "ids 0, 1, 2, ... without a gap", one_line(", ".join(map(str, sorted(by_id))), 80))
    if len(by_id) != count or count > CLASSES:
        raise _wrong(source, f"{count} names, as many as its head has classes", str(len(by_id)))
    return dict(sorted(by_id.items()))


def _wrong(source: object, expected: str, found: str) -> ClassCountError:
    return ClassCountError(
        f"The class names in {source} are not one for each class id.",
        expected=expected,
        found=found,
        mend="set them (YOLO(FILE).model.names = {0: ..., 1: ...}) and save the checkpoint again",
    )
