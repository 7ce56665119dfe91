"""What is trained is what stage `data` checked: image by image, box by box, before the first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgegd.data.contents import require_loaded, require_loaded_without_boxes
from edgegd.data.view import UNLABELLED
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
