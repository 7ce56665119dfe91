"""`train.device`: which texts name one device, and the one form in which the rest of the project sees it.

Needs no torch: a recipe is validated where nothing can train. Whether the device is there, edgegd.descent.device says.
"""

from __future__ import annotations

import re
from typing import Any

EXPECTED = "expected cpu, cuda, cuda:N, mps, or a whole number N, which means cuda:N"
_FORM = re.compile(r"cpu|mps|cuda(:(0|[1-9][0-9]{0,2}))?")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,2}")


def canonical_device(value: Any) -> str:
    """The device that a recipe names, as torch names it: Ultralytics' 0 and "0" become "cuda:0".

    Raises ValueError, with a sentence, for everything that does not name exactly one device.
    """
    text = str(value).strip() if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if _NUMBER.fullmatch(text):
        return f"cuda:{text}"
    if _FORM.fullmatch(text):
        return text
    if isinstance(value, (list, tuple)) or "," in text:
        found = "several devices; training runs on one"
    elif text and _FORM.fullmatch(text.lower()):
        found = f"{text!r}; did you mean {text.lower()}?"
    else:
        found = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
    raise ValueError(f"{EXPECTED}; found {found}")
