"""The files of a data set as the file system shows them: whether anything has changed, without reading them."""

from __future__ import annotations

import hashlib
import os

from edgegd.data.dataset import Dataset
from edgegd.data.labels import label_path


def hash_of_files(dataset: Dataset) -> str:
    """Hash of the names, sizes and modification times of all images and labels."""
    digest = hashlib.sha256()
    for image in dataset.images:
        for file in (image, label_path(image)):
            stat = os.stat(file) if file.exists() else None
            digest.update(f"{file} {(stat.st_size, stat.st_mtime_ns) if stat else None}\n".encode())
    return digest.hexdigest()
