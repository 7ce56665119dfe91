"""Ultralytics' data set YAML: find it by path or name, read its keys, resolve its paths, list its images.

The meaning of the keys is that of ultralytics/data/utils.py (check_det_dataset) and data/base.py (get_img_files).
"""

from __future__ import annotations

import difflib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edgegd.data.class_names import class_names
from edgegd.data.download import datasets_folder, download_described
from edgegd.data.image_files import images_below, is_image, read_list
from edgegd.errors import DataNotFoundError, NoImagesError
from edgegd.home import expanded
from edgegd.recipe.paths import SHIPPED, is_packaged, resolve_path
from edgegd.runtime.contract import MOST_CHANNELS
from edgegd.safe_yaml import YamlProblem, compose, construct, read_yaml_text, texts


@dataclass(frozen=True)
class DataYaml:
    """A data set YAML with its paths resolved: each split is a list of folders, list files (.txt) or images."""

    yaml_path: Path
    root: Path
    names: tuple[str, ...]
    splits: dict[str, tuple[Path, ...]]
    channels: int = 3


def find_data_yaml(text: str) -> Path:
    """The file of a data set YAML given as a path, a folder that holds one, or a name such as `coco.yaml`.

    Names are looked up in the installed ultralytics package, which is not imported; after `shipped:` there alone.
    Raises DataNotFoundError.
    """
    path = resolve_path(text)
    if is_packaged(text):
        text = text.removeprefix(SHIPPED)
    elif path.is_file():
        return path
    elif path.is_dir():
        inside = sorted(path.glob("*.yaml"))
        if len(inside) == 1:
            return inside[0]
        raise DataNotFoundError(
            f"{path} does not say which data set it is",
            expected="one .yaml file in the folder",
            found=", ".join(file.name for file in inside) or "none",
            mend="set data.path to the YAML file itself",
        )
    folder = _ultralytics_datasets()
    name = text if text.endswith((".yaml", ".yml")) else f"{text}.yaml"
    if os.sep not in name and folder is not None and (folder / name).is_file():
        return folder / name
    known = sorted(file.name for file in folder.glob("*.yaml")) if folder is not None else []
    close = difflib.get_close_matches(Path(name).name, known, n=1)
    raise DataNotFoundError(
        f"no data set YAML {text!r}",
        found=f"no file {path}",
        expected="a file, or the name of one of Ultralytics' data sets",
        mend=f"did you mean {close[0]}?" if close else "set data.path to your data set's YAML file",
    )


def _ultralytics_datasets() -> Path | None:
    spec = importlib.util.find_spec("ultralytics")  # finds the package without importing it, and torch with it
    locations = spec.submodule_search_locations if spec else None
    return Path(locations[0]) / "cfg" / "datasets" if locations else None


def read_data_yaml(path: Path) -> DataYaml:
    """The data set that a YAML describes, downloaded by Ultralytics when it is absent and the YAML says from where.

    Raises DataNotFoundError (all that is wrong with the YAML at once), NoImagesError, DownloadError.
    """
    data = _load(path)
    names = class_names(data.get("names"), data.get("nc"))
    root = _root(path, data)
    if data.get("download") and not _exists(root, data["val"]):
        download_described(path, data, root)
        root = _root(path, data)
    splits = {split: _entries(root, data[split]) for split in ("train", "val", "test") if data.get(split)}
    return DataYaml(path, root, names, splits, data.get("channels", 3))


def list_images(split: str, described: DataYaml) -> tuple[Path, ...]:
    """Every image of a split, sorted by path; raises NoImagesError if a folder or list is missing or empty."""
    images: set[Path] = set()
    for entry in described.splits[split]:
        if entry.is_dir():
            found = images_below(entry)
        elif entry.is_file():
            found = [image for image in (read_list(entry) if entry.suffix == ".txt" else [entry]) if is_image(image)]
        else:
            raise NoImagesError(
                f"the {split} images of {described.yaml_path} are missing",
                expected=str(entry),
                found=_nearest_existing(entry),
                mend=f"put the images there, or correct `path` and `{split}` in the YAML",
            )
        if not found:
            raise NoImagesError(
                f"no {split} images in {entry}",
                expected="image files (.jpg, .png, ...)",
                found="none",
                mend=f"correct `{split}` in {described.yaml_path}",
            )
        twice = images.intersection(found)
        if twice:
            raise NoImagesError(
                f"{min(twice)} is among the {split} images twice",
                expected="every image once",
                found=f"it is in {entry} and in what stands before it",
                mend=f"correct `{split}` in {described.yaml_path}",
            )
        images.update(found)
    return tuple(sorted(images))


def _load(path: Path) -> dict[str, Any]:
    """The YAML's keys; the values below `names` are all text, as it stands there."""
    try:
        root = compose(read_yaml_text(path))
        data = construct(root)
        if isinstance(root, yaml.MappingNode) and isinstance(data, dict):
            for key, value in root.value:
                if key.value == "names" and isinstance(value, yaml.CollectionNode):
                    data["names"] = texts(value)
    except (OSError, YamlProblem) as error:
        raise DataNotFoundError(f"{path} is not a readable YAML file", found=" ".join(str(error).split())) from error
    if not isinstance(data, dict):
        raise DataNotFoundError(f"{path} is not a data set description", expected="keys `train`, `val` and `names`")
    if "val" not in data and "validation" in data:
        data["val"] = data["validation"]
    problems = []
    for key in ("train", "val", *(["test"] if data.get("test") else [])):
        entries = data.get(key) if isinstance(data.get(key), list) else [data.get(key)]
        if not entries or not all(isinstance(entry, str) and entry for entry in entries):
            problems.append(f"`{key}` must be a folder, a list file, or a list of those")
    if not isinstance(data.get("names"), (list, dict)) and not isinstance(data.get("nc"), int):
        problems.append("`names` must list the classes")
    if not isinstance(data.get("path", ""), (str, type(None))):
        problems.append("`path` must be a folder")
    channels = data.get("channels", 3)
    if type(channels) is not int or not 1 <= channels <= MOST_CHANNELS:
        problems.append(f"`channels` must be a whole number from 1 to {MOST_CHANNELS}, not {str(channels)[:40]}")
    if "kpt_shape" in data:
        problems.append("`kpt_shape` makes it a pose data set; this project detects boxes")
    if problems:
        raise DataNotFoundError(
            f"{path} is not a detection data set description",
            found="; ".join(problems),
            mend="see docs.ultralytics.com/datasets/detect for the format",
        )
    return data


def _root(yaml_path: Path, data: dict[str, Any]) -> Path:
    """The folder that the splits are relative to.

    `path` may be relative to the working directory, to the YAML, or to Ultralytics' datasets folder: the first of
    those that holds the validation images; where none does, the last, into which Ultralytics downloads.
    """
    if not data.get("path"):
        return yaml_path.parent.resolve()
    path = expanded(data["path"])
    if path.is_absolute():
        return path
    for root in (path.absolute(), yaml_path.parent.resolve() / path):
        if _exists(root, data["val"]):
            return root
    return datasets_folder() / path


def _entries(root: Path, value: str | list[str]) -> tuple[Path, ...]:
    entries = []
    for text in [value] if isinstance(value, str) else value:
        entry = root / text
        if text.startswith("../") and not entry.exists() and (root / text[3:]).exists():
            entry = root / text[3:]  # exports of other tools write ../train/images for a folder beside the YAML
        entries.append(Path(os.path.normpath(entry)))
    return tuple(entries)


def _exists(root: Path, value: str | list[str]) -> bool:
    return all(entry.exists() for entry in _entries(root, value))


def _nearest_existing(path: Path) -> str:
    parent = next(folder for folder in path.parents if folder.exists())
    inside = sorted(child.name for child in parent.iterdir())[:8] if parent.is_dir() else []
    return f"{parent} holds {', '.join(inside) or 'nothing'}"
