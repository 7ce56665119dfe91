"""Open the data set that a recipe names: draw it, fetch it or read it, and list its images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgegd.data.separate_images import require_apart, without_known
from edgegd.data.splits import held_out, usable_test_images
from edgegd.data.unlabelled import KEY, list_unlabelled
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
    `test_images` are the YAML's, where they are used; `held_out_images` the share of its training images that nothing
    is trained or calibrated on, where the recipe holds some out (they are not among `train_images`).
    `channels` are those that its images are read with: 1 (gray), 3 (colours), or the bands of multispectral files.
    """

    root: Path
    yaml_path: Path
    names: tuple[str, ...]
    train_images: tuple[Path, ...]
    val_images: tuple[Path, ...]
    channels: int = 3
    unlabelled_images: tuple[Path, ...] = ()
    test_images: tuple[Path, ...] = ()
    held_out_images: tuple[Path, ...] = ()

    @property
    def labelled_images(self) -> tuple[Path, ...]:
        """Those of training, held out, of validation and of test, in this order."""
        return (*self.train_images, *self.held_out_images, *self.val_images, *self.test_images)

    @property
    def images(self) -> tuple[Path, ...]:
        """All images: the labelled ones, then the unlabelled ones."""
        return (*self.labelled_images, *self.unlabelled_images)

    @property
    def selection_images(self) -> tuple[Path, ...]:
        """Those on which a training's epochs are compared."""
        return self.held_out_images or self.val_images

    @property
    def measured_images(self) -> tuple[Path, ...]:
        """Those on which everything is reported: mAP, codes, images of a verification."""
        return self.test_images or self.val_images


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
    test = usable_test_images(described) if section.select == "auto" else ()
    require_apart(test, "test image", (*val, *train), "an image of another split", f"correct the splits of {yaml_path}")
    unlabelled = list_unlabelled(section.unlabelled_images)
    require_apart(
        unlabelled,
        "unlabelled image",
        (*val, *test),
        "an image on which accuracy is measured",
        f"take them out of {KEY}, or out of the images that are measured",
    )
    unlabelled = without_known(unlabelled, train)
    kept_out = held_out(train, section.holdout_share, section.seed) if section.select == "holdout" else ()
    return Dataset(
        described.root,
        yaml_path,
        described.names,
        tuple(image for image in train if image not in set(kept_out)),
        val,
        described.channels,
        unlabelled,
        test,
        kept_out,
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
