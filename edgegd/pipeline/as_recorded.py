"""What is trained, or looked at again, is what stage `data` checked: image by image, before anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgegd.data.contents import require_loaded, require_loaded_without_boxes
from edgegd.data.files import hash_of_files
from edgegd.data.view import UNLABELLED
from edgegd.errors import MissingArtifactError
from edgegd.foreign_text import one_line
from edgegd.pipeline.artifacts import DATA, as_made
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stored import stored_contents, stored_dataset


def require_as_recorded(
    folder: RunFolder,
    split: str,
    loaded: Sequence[Mapping[str, Any]],
    *,
    unlabelled: bool = False,
    view: Path | None = None,
) -> None:
    """Compares the labels of Ultralytics' loader for `split` (train, val) with data.json and the label files.

    With `unlabelled`, the unlabelled images must be among those loaded, and have no labels. `view` is the folder of
    links through which they were loaded, where it is not the run's own. Raises the errors of
    edgegd.data.contents.require_loaded and require_loaded_without_boxes, which name the file that differs.
    """
    dataset, view = stored_dataset(folder), (view or folder.artifact("view")).absolute()

    def by_link(name: str, images: tuple[Path, ...]) -> dict[str, Path]:
        return dict(zip(view.joinpath(name).read_text(encoding="utf-8").splitlines(), images, strict=True))

    if unlabelled and dataset.unlabelled_images:
        others = by_link(UNLABELLED, dataset.unlabelled_images)
        require_loaded_without_boxes(loaded, others)
        loaded = [one for one in loaded if str(one["im_file"]) not in others]
    images: tuple[Path, ...] = getattr(dataset, f"{split}_images")
    require_loaded(loaded, by_link(f"{split}.txt", images), stored_contents(folder), len(dataset.names), split)


def require_images_as_recorded(folder: RunFolder, images: Sequence[Path]) -> None:
    """MissingArtifactError where one of `images` is not there any more, or the data set's files have changed.

    Files are compared as stage `data` compares them: by name, size and time. What has changed is named where it was
    written after data.json.
    """
    mend = "run the recipe again (edgegd run ...), which looks at what is there now"
    for image in images:
        if not image.is_file():
            raise MissingArtifactError(
                f"{one_line(image)} is not there any more.", expected="the images that stage `data` read", mend=mend
            )
    with as_made(folder, DATA):
        recorded = folder.read_json(DATA)["files"]
    if hash_of_files(stored_dataset(folder)) == recorded:
        return
    then = folder.artifact(DATA).stat().st_mtime
    changed = next((image for image in images if image.stat().st_mtime > then), None)
    raise MissingArtifactError(
        f"{one_line(changed) if changed else 'An image or a label file'} was changed since stage `data` read it.",
        expected="the files that stage `data` read",
        mend=mend,
    )
