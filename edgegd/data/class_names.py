"""The class names of a data set YAML: ids from 0 without a gap, each with the text that stands there."""

from __future__ import annotations

import re
from typing import Any

from edgegd.errors import DataNotFoundError
from edgegd.foreign_text import one_line
from edgegd.limits import CHARACTERS_OF_A_NAME, CLASSES


def class_names(names: Any, count: Any) -> tuple[str, ...]:
    """The names by id, from the values of the keys `names` (every scalar as text: edgegd.safe_yaml.texts; None where
    there is no such key) and `nc`.

    Classes are ids: two may have one name. Raises DataNotFoundError.
    """
    if count is not None and (type(count) is not int or not 1 <= count <= CLASSES):
        raise _wrong(f"nc: {one_line(repr(count), 80)}", f"`nc` is a whole number from 1 to {CLASSES}")
    if names is None:
        return tuple(f"class_{index}" for index in range(count or 0))
    by_id = _by_id(names)
    if len(by_id) > CLASSES:
        raise _wrong(f"{len(by_id)} classes are too many", f"at most {CLASSES}")
    if sorted(by_id) != list(range(len(by_id))) or not by_id:
        raise _wrong(one_line(str(names)[:400], 200), "ids 0, 1, 2, ... without a gap")
    for index, name in by_id.items():
        if not isinstance(name, str) or len(name) > CHARACTERS_OF_A_NAME or not _is_whole(name):
            raise _wrong(
                f"the name of class {index} is {one_line(repr(name)[:200], 80)}",
                f"text of at most {CHARACTERS_OF_A_NAME} characters",
            )
    if count is not None and count != len(by_id):
        raise _wrong(f"nc is {count}, and there are {len(by_id)} names", "as many names as `nc` says")
    return tuple(by_id[index] for index in range(len(by_id)))


def _is_whole(name: str) -> bool:
    """Whether it can be written in UTF-8: YAML's escapes can make half characters."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _by_id(names: Any) -> dict[int, Any]:
    if isinstance(names, list):
        return dict(enumerate(names))
    if not isinstance(names, dict):
        return {}
    found: dict[int, Any] = {}
    for key, name in names.items():
        if not re.fullmatch(r"[0-9]{1,9}", key):
            raise _wrong(f"the id {one_line(key, 80)}", "ids 0, 1, 2, ... without a gap")
        if int(key) in found:
            raise _wrong(f"the id {int(key)} twice", "ids 0, 1, 2, ... without a gap")
        found[int(key)] = name
    return found


def _wrong(found: str, expected: str) -> DataNotFoundError:
    return DataNotFoundError("the data set's `names` are not a class for each id", expected=expected, found=found)
