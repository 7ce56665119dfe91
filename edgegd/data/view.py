"""A folder of links through which Ultralytics sees a data set, so that nothing beside the user's files is written.

Ultralytics' loaders write `labels/train.cache` beside the labels (data/dataset.py, get_labels) and re-save a JPEG that
does not end with its end marker over the original (data/utils.py, check_image). Both follow the image's path. So each
image folder k of the data set appears here as a folder of links to its images, its labels as a link to their folder:

    images/k/NAME.jpg -> the image
    labels/k          -> the folder of its label files
    labels/k.cache       written by Ultralytics
    images/unlabelled-k/NAME.jpg -> an unlabelled image, without labels even where files of labels lie beside it

A JPEG that does not end with its end marker appears as a copy with one behind it: compressed anew, its pixels would be
others than those that calibration and accuracy see. The splits are list files: folders would be resolved to their
targets.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import yaml

from edgegd.atomic_files import write_atomically
from edgegd.bounded_read import read_bounded
from edgegd.data.dataset import Dataset
from edgegd.data.image_files import require_plain_name
from edgegd.data.labels import label_path
from edgegd.errors import FileAccessError
from edgegd.limits import IMAGE_BYTES
from edgegd.runtime.image_header import JPEG
from edgegd.safe_outputs import own_folder

UNLABELLED = "unlabelled.txt"
"""The list of the unlabelled images, beside the view's data.yaml."""
_END = b"\xff\xd9"


def ultralytics_yaml(dataset: Dataset, folder: Path) -> Path:
    """Make the view of a data set in `folder` and return its data.yaml, for Ultralytics' trainer and validator.

    Beside it lie the lists `train.txt`, `val.txt` and, where there are unlabelled images, UNLABELLED.

    All paths are absolute. What an earlier view left in `folder` is removed first: Ultralytics unpickles label caches
    and reads `.npy` files beside images, and a run folder may come from somebody else. Images keep the data set's order
    within each image folder, and folders keep their order by path. Raises OutputFileError where `folder` is a link.
    """
    folder = own_folder(folder.absolute())
    require_plain_name(folder)
    for part in ("images", "labels"):
        _remove(folder / part)
    numbers = {
        parent: number
        for number, parent in enumerate(
            sorted({image.parent for image in (*dataset.train_images, *dataset.val_images)})
        )
    }
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    for parent, number in numbers.items():
        (folder / f"images/{number:04d}").mkdir(parents=True, exist_ok=True)
        _link(folder / f"labels/{number:04d}", label_path(parent / "any.jpg").parent.absolute())
    for split, images in (("train", dataset.train_images), ("val", dataset.val_images)):
        links = [folder / f"images/{numbers[image.parent]:04d}" / image.name for image in images]
        for link, image in zip(links, images, strict=True):
            if not link.is_symlink() and not link.exists():  # an image may be in both splits
                show_image(link, image.absolute())
        write_atomically(folder / f"{split}.txt", "".join(f"{link}\n" for link in links).encode())
    _show_unlabelled(dataset.unlabelled_images, folder)
    data = {
        "path": str(folder),
        "train": "train.txt",
        "val": "val.txt",
        "names": dict(enumerate(dataset.names)),
        "channels": dataset.channels,
    }
    file = folder / "data.yaml"
    write_atomically(file, yaml.safe_dump(data, sort_keys=False, allow_unicode=True).encode())
    return file


def _show_unlabelled(images: Sequence[Path], folder: Path) -> None:
    """Links in folders that have no labels, and their list; without images there is no list."""
    (folder / UNLABELLED).unlink(missing_ok=True)
    if not images:
        return
    numbers = {parent: number for number, parent in enumerate(sorted({image.parent for image in images}))}
    links = [folder / f"images/unlabelled-{numbers[image.parent]:04d}" / image.name for image in images]
    for link, image in zip(links, images, strict=True):
        link.parent.mkdir(parents=True, exist_ok=True)
        show_image(link, image.absolute())
    write_atomically(folder / UNLABELLED, "".join(f"{link}\n" for link in links).encode())


def show_image(place: Path, image: Path) -> None:
    """Makes an image appear at `place`: as a link to its absolute path, or where it is a JPEG without an end as a copy
    with one.
    """
    ended = _with_end(image)
    if ended is None:
        _link(place, image)
    else:
        write_atomically(place, ended)


def _link(link: Path, target: Path) -> None:
    try:
        link.symlink_to(target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        raise FileAccessError(
            f"The file system of {link.parent} has no symbolic links.",
            expected="links to the images of the data set",
            found=str(error),
            mend="choose a folder on another file system",
        ) from error


def _with_end(image: Path) -> bytes | None:
    """The content of a JPEG that does not end with its end marker, with one; None for any other file."""
    if not image.is_file():
        return None
    with image.open("rb") as file:
        if file.read(2) != JPEG or file.seek(0, os.SEEK_END) < 4:
            return None
        file.seek(-2, os.SEEK_END)
        if file.read() == _END:
            return None
    content = read_bounded(image, IMAGE_BYTES)
    return None if content is None else content + _END


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)  # which removes links, and nothing behind them
