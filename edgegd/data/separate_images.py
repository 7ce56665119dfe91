"""Images that must not be the same: what is measured is never learned from, whatever its file is called.

An image that is trained on, or calibrated on, and measured as well would make every measured number too good, so
contents are compared.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgegd.bounded_read import read_bounded
from edgegd.errors import NoImagesError
from edgegd.foreign_text import one_line
from edgegd.limits import IMAGE_BYTES

SHOWN = 5


def without_known(images: Sequence[Path], known: Sequence[Path]) -> tuple[Path, ...]:
    """Those of `images` whose content is not that of a `known` image or of an earlier one: each counts once."""
    seen = _ByContent(known)
    kept = []
    for image in images:
        if seen.find(image) is None:
            kept.append(image)
            seen.add(image)
    return tuple(kept)


def require_apart(images: Sequence[Path], kind: str, others: Sequence[Path], other_kind: str, mend: str) -> None:
    """Raises NoImagesError where an image has the content of one of `others`; names the first five.

    `kind` (`test image`) and `other_kind` (`an image of another split`) are words of the message, `mend` its advice.
    """
    known = _ByContent(others if images else ())
    pairs = [(image, twin) for image in images if (twin := known.find(image)) is not None]
    if not pairs:
        return
    rows = [f"  {one_line(image)} is {one_line(twin)}" for image, twin in pairs[:SHOWN]]
    if len(pairs) > SHOWN:
        rows.append(f"  ... and {len(pairs) - SHOWN} more")
    are = f"{kind}s are each" if len(pairs) > 1 else f"{kind} is"
    raise NoImagesError(
        "\n".join([f"{len(pairs)} {are} {other_kind}:", *rows]), expected="images of one part only", mend=mend
    )


class _ByContent:
    """Files by what is in them; only files of equal size are read."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._by_size: dict[int, list[Path]] = defaultdict(list)
        self._digests: dict[Path, bytes | None] = {}
        for file in files:
            self.add(file)

    def add(self, file: Path) -> None:
        size = _size(file)
        if size is not None:
            self._by_size[size].append(file)

    def find(self, file: Path) -> Path | None:
        """A file that was added and has the same content."""
        size = _size(file)
        others = self._by_size.get(size, []) if size is not None else []
        digest = self._digest(file) if others else None
        return next((other for other in others if digest is not None and self._digest(other) == digest), None)

    def _digest(self, file: Path) -> bytes | None:
        if file not in self._digests:
            try:
                content = read_bounded(file, IMAGE_BYTES)
            except OSError:
                content = None  # whoever reads the image says what is wrong with it
            self._digests[file] = None if content is None else hashlib.sha256(content).digest()
        return self._digests[file]


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None
