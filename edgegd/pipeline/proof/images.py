"""The validation images as a target gets them: letterboxed pixels, by the hash of their content, within a budget."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np

from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.errors import DeviceSpaceError
from edgegd.runtime.contract import Preprocessing
from edgegd.runtime.images import read_for
from edgegd.runtime.letterbox import letterbox
from edgegd.targets.base import Target
from edgegd.targets.tensor_protocol import DeliveredImage
from edgegd.verify.device_codes import Image

MEGABYTE = 1_000_000


class DeviceImages:
    """The first images of a data set that fit into `budget_mb` (10^6 bytes each), at least one.

    Each is a .npy file (h, w, C) uint8, letterboxed as `preprocessing` says, delivered when it is first asked for; a
    target that has a file of this content is sent nothing. `scratch` holds the files until they are delivered.
    """

    def __init__(
        self, truth: GroundTruth, preprocessing: Preprocessing, target: Target, scratch: Path, budget_mb: float
    ) -> None:
        height, width = preprocessing.imgsz
        self.bytes_each = height * width * preprocessing.image_channels
        count = max(1, int(budget_mb * MEGABYTE) // self.bytes_each)
        self.all, self.truth = len(truth.image_paths), truth.first(count)
        self._preprocessing, self._target, self._scratch = preprocessing, target, scratch
        self._delivered: dict[int, DeliveredImage] = {}

    def __len__(self) -> int:
        return len(self.truth.image_paths)

    def pixels(self, index: int) -> np.ndarray:
        """One image, letterboxed: (h, w, C) uint8. Raises UnreadableImageError."""
        path = self.truth.image_paths[index]
        return letterbox(read_for(path, self._preprocessing), self._preprocessing)[0]

    def delivered(self, index: int) -> DeliveredImage:
        """One image on the target. Raises the errors of `deliver`, and UnreadableImageError."""
        if index not in self._delivered:
            file = self._scratch / f"{index}.npy"
            np.save(file, self.pixels(index))
            digest = sha256(file.read_bytes()).hexdigest()
            try:
                path = self._target.deliver(file)
            except DeviceSpaceError as error:
                raise DeviceSpaceError(
                    error.what,
                    expected=f"space for {len(self)} images of {self.bytes_each / MEGABYTE:.2g} MB each",
                    found=error.found,
                    mend="free some space there, or give a smaller --budget; what was done is kept",
                ) from error
            if path != str(file.resolve()):
                file.unlink()  # it was copied
            self._delivered[index] = DeliveredImage(path, digest)
        return self._delivered[index]

    def both(self, index: int) -> Image:
        """One image here and on the target."""
        return self.pixels(index), self.delivered(index)
