"""Writing the `streets` data set to disk in YOLO's layout: all of it or nothing."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import yaml

from edgegd.data.streets.scene import CLASS_NAMES, Scene, render_scene
from edgegd.errors import NoSpaceError, WouldOverwriteError
from edgegd.safe_yaml import YamlProblem, read_yaml

GENERATOR_VERSION = 1  # to be raised by every change that changes a picture or a label
_SPLITS = ("train", "val")
_JPEG_QUALITY = 92
_YAML_NAME = "streets.yaml"


def scene_rng(seed: int, split: str, index: int) -> np.random.Generator:
    """The randomness of image `index` of a split; it depends on nothing else."""
    return np.random.default_rng(np.random.SeedSequence([seed, _SPLITS.index(split), index]))


def yolo_lines(scene: Scene) -> str:
    """The label file's text: a line `class x_centre y_centre width height` per box, normalized to 0..1."""
    height, width = scene.id_mask.shape
    lines = []
    for (x1, y1, x2, y2), class_id in zip(scene.boxes.tolist(), scene.class_ids.tolist(), strict=True):
        values = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        lines.append(" ".join([str(class_id), *(f"{value:.6f}" for value in values)]) + "\n")
    return "".join(lines)


def make_streets(
    directory: Path, *, train: int, val: int, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Generate `train` + `val` images with labels under `directory`; returns the path of its streets.yaml.

    Image i of a split depends only on the seed, the split and i, so that a larger set starts with the smaller one's
    images. `progress(done, total)` is called after every image. A folder that already holds the same set is left
    as it is. The set appears under its name only when complete.
    Raises WouldOverwriteError when `directory` holds anything else, NoSpaceError when the disk is full.
    """
    directory = Path(directory)
    recorded = {"generator": "streets", "version": GENERATOR_VERSION, "train": train, "val": val, "seed": seed}
    if _is_unchanged(directory, recorded):
        return directory / _YAML_NAME
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}.partial-", dir=directory.parent))
    except OSError as error:
        raise _no_space(error, directory) from error
    try:
        partial.chmod(0o755)  # mkdtemp makes it private
        _write_splits(partial, {"train": train, "val": val}, seed, progress)
        (partial / _YAML_NAME).write_text(_description(recorded), encoding="utf-8")
        os.replace(partial, directory)  # onto nothing or an empty folder; anything else was refused above
    except OSError as error:
        # another process may have put something there meanwhile: this same set is as good, anything else is refused
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and _is_unchanged(directory, recorded):
            return directory / _YAML_NAME
        raise _no_space(error, directory) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return directory / _YAML_NAME


def _is_unchanged(directory: Path, recorded: dict[str, object]) -> bool:
    """Whether `directory` holds this very set; False when there is nothing yet; raises WouldOverwriteError."""
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return False
    found: object = None
    if (directory / _YAML_NAME).is_file():
        try:
            content = read_yaml(directory / _YAML_NAME)
        except YamlProblem:
            content = None
        found = content.get("edgegd") if isinstance(content, dict) else None
    if found == recorded:
        return True
    raise WouldOverwriteError(
        f"{directory} already holds something else than the data set asked for",
        expected=f"no such folder, an empty one, or a streets set of {recorded}",
        found=f"a streets set of {found}" if found else "files that are not a streets set",
        mend="give another folder, or remove this one yourself",
    )


def _write_splits(folder: Path, counts: dict[str, int], seed: int, progress: Callable[[int, int], None] | None) -> None:
    done, total = 0, sum(counts.values())
    for split, count in counts.items():
        images, labels = folder / "images" / split, folder / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for index in range(count):
            scene = render_scene(scene_rng(seed, split, index))
            _, jpeg = cv2.imencode(".jpg", scene.image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            # cv2.imwrite would report a full disk as a mere False
            (images / f"{index:06d}.jpg").write_bytes(jpeg.tobytes())
            (labels / f"{index:06d}.txt").write_text(yolo_lines(scene), encoding="utf-8")
            done += 1
            if progress is not None:
                progress(done, total)


def _description(recorded: dict[str, object]) -> str:
    header = (
        "# streets: generated driving scenes, 480x320 JPEG, three classes, YOLO labels.\n"
        "# `path` is left out on purpose: it then resolves to this file's folder.\n"
    )
    content = {"train": "images/train", "val": "images/val", "names": dict(enumerate(CLASS_NAMES)), "edgegd": recorded}
    return header + yaml.safe_dump(content, sort_keys=False)


def _no_space(error: OSError, directory: Path) -> Exception:
    """The error to raise for `error`: NoSpaceError for a full disk or quota, otherwise `error` itself."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    return NoSpaceError(
        f"the disk is full: {directory} could not be generated; nothing of it was left behind",
        expected="about 45 KB of free space per image",
        found=str(error),
        mend="free some space, or ask for fewer images or another folder",
    )
