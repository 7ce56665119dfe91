"""The user's own images without labels (`data.unlabelled_images`).

They are what the device will see, so calibration and refinement draw from them, and a training that learns from the
float model (train.distill) needs no labels for them.
"""

from __future__ import annotations

from pathlib import Path

from edgegd.data.image_files import images_below
from edgegd.errors import NoImagesError
from edgegd.foreign_text import one_line
from edgegd.recipe.paths import resolve_path

KEY = "data.unlabelled_images"


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
