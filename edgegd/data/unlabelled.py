"""The user's own images without labels (`data.unlabelled_images`): listed, kept apart from those that are measured.

They are what the device will see, so calibration and refinement draw from them, and a training that learns from the
float model (train.distill) needs no labels for them. An image that is also among the validation images would make
every measured number too good, whatever its file is called, so contents are compared.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgegd.bounded_read import read_bounded
from edgegd.data.image_files import images_below
from edgegd.errors import NoImagesError
from edgegd.foreign_text import one_line
from edgegd.limits import IMAGE_BYTES
from edgegd.recipe.paths import resolve_path

KEY = "data.unlabelled_images"
SHOWN = 5


def list_unlabelled(text: str) -> tuple[Path, ...]:
    """The images in the folder `text` and below it, sorted by path; none where `text` is empty.

    Raises NoImagesError where it is no folder, holds no image, or as edgegd.data.image_files.images_below.
    """
    if not text.strip():
        return ()
    folder = resolve_path(text)
    if not folder.is_dir():
        raise NoImagesError(
            f"the folder of unlabelled images is missing: {one_line(folder)}",
            expected="a folder of images",
            found="a file" if folder.exists() else "nothing there",
            mend=f"correct {KEY}",
        )
    try:
        images = images_below(folder)
    except OSError as error:
        raise NoImagesError(
            f"the folder of unlabelled images cannot be read: {one_line(folder)}",
            expected="a folder of images",
            found=error.strerror or str(error),
            mend=f"correct {KEY}, or the folder's permissions",
        ) from error
    if not images:
        raise NoImagesError(
            f"no unlabelled images in {one_line(folder)}",
            expected="image files (.jpg, .png, ...)",
            found="none",
            mend=f"correct {KEY}, or leave it out",
        )
    return tuple(sorted(images))


def without_training_images(unlabelled: Sequence[Path], train: Sequence[Path]) -> tuple[Path, ...]:
    """Those of `unlabelled` whose content is not that of a training image or of an earlier one: each counts once."""
    known = _ByContent(train)
    kept = []
    for image in unlabelled:
        if known.find(image) is None:
            kept.append(image)
            known.add(image)
    return tuple(kept)


def require_unmeasured(unlabelled: Sequence[Path], val: Sequence[Path]) -> None:
    """Raises NoImagesError where an unlabelled image has the content of a validation image; names the first five."""
    measured = _ByContent(val)
    pairs = [(image, twin) for image in unlabelled if (twin := measured.find(image)) is not None]
    if not pairs:
        return
    rows = [f"  {one_line(image)} is {one_line(twin)}" for image, twin in pairs[:SHOWN]]
    if len(pairs) > SHOWN:
        rows.append(f"  ... and {len(pairs) - SHOWN} more")
    are = "images are validation images" if len(pairs) > 1 else "image is a validation image"
    raise NoImagesError(
        "\n".join([f"{len(pairs)} unlabelled {are}:", *rows]),
        expected="no image on which accuracy is measured",
        mend=f"take them out of {KEY}, or out of the validation images",
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
