"""Open the data set that a recipe names: draw it, fetch it or read it, and list its images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgegd.data.unlabelled import list_unlabelled, require_unmeasured, without_training_images
from edgegd.data.yaml_set import find_data_yaml, list_images, read_data_yaml
from edgegd.errors import NoImagesError
from edgegd.recipe.paths import resolve_path
from edgegd.recipe.schema import DataSection

Progress = Callable[[int, int], None]
"""Called as progress(done, total) while images are drawn, fetched or checked."""


@dataclass(frozen=True)
class Dataset:
    """A detection data set on this disk: its images sorted by path, and its class names by class id.

    `root` is the folder that the YAML's paths are relative to; an image's labels are at labels.label_path(image).
    `unlabelled_images` are the recipe's data.unlabelled_images, without those that are training images too.
    `channels` are those that its images are read with: 1 (gray), 3 (colours), or the bands of multispectral files.
    """

    root: Path
    yaml_path: Path
    names: tuple[str, ...]
    train_images: tuple[Path, ...]
    val_images: tuple[Path, ...]
    channels: int = 3
    unlabelled_images: tuple[Path, ...] = ()

    @property
    def images(self) -> tuple[Path, ...]:
        """All images: those of training, of validation, and the unlabelled ones."""
        return (*self.train_images, *self.val_images, *self.unlabelled_images)


def open_dataset(section: DataSection, progress: Progress | None = None) -> Dataset:
    """The data set of a recipe's `data` section, made or downloaded first where it is absent.

    Relative paths are those of edgegd.recipe.paths.resolve_path. Labels and pixels are not looked at: that is
    edgegd.data.check.check_dataset. Raises DataNotFoundError, NoImagesError, DownloadError or MissingExtraError.
    """
    if section.source == "streets":
        yaml_path = _streets(section, resolve_path(section.path), progress)
    elif section.source == "bccd":
        yaml_path = _bccd(resolve_path(section.path), progress)
    else:
        yaml_path = find_data_yaml(section.path)
    described = read_data_yaml(yaml_path)
    train, val = (list_images(split, described) for split in ("train", "val"))
    unlabelled = list_unlabelled(section.unlabelled_images)
    require_unmeasured(unlabelled, val)
    return Dataset(
        described.root,
        yaml_path,
        described.names,
        train,
        val,
        described.channels,
        without_training_images(unlabelled, train),
    )


def _streets(section: DataSection, folder: Path, progress: Progress | None) -> Path:
    if section.train_images == 0 or section.val_images == 0:
        existing = folder / "streets.yaml"
        if not existing.is_file():
            raise NoImagesError(
                f"{folder} holds no streets data set",
                expected=str(existing),
                mend="set data.train_images and data.val_images, so that it is drawn there",
            )
        return existing
    from edgegd.data.streets import make_streets

    return make_streets(
        folder, train=section.train_images, val=section.val_images, seed=section.seed, progress=progress
    )


def _bccd(folder: Path, progress: Progress | None) -> Path:
    existing = folder / "bccd.yaml"
    if existing.is_file():
        return existing
    from edgegd.data.bccd import fetch_bccd

    return fetch_bccd(folder, progress)
