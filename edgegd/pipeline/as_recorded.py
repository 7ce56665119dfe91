"""What is trained is what stage `data` checked: image by image, box by box, before the first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgegd.data.contents import require_loaded
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stored import stored_contents, stored_dataset


def require_as_recorded(folder: RunFolder, split: str, loaded: Sequence[Mapping[str, Any]]) -> None:
    """Compares the labels of Ultralytics' loader for `split` (train, val) with data.json and the label files.

    Raises the errors of edgegd.data.contents.require_loaded, which name the file that differs.
    """
    dataset = stored_dataset(folder)
    images: tuple[Path, ...] = getattr(dataset, f"{split}_images")
    links = folder.artifact("view").absolute().joinpath(f"{split}.txt").read_text(encoding="utf-8").splitlines()
    by_link = dict(zip(links, images, strict=True))
    require_loaded(loaded, by_link, stored_contents(folder), len(dataset.names), split)
