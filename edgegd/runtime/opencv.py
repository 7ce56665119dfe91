"""OpenCV, the runtime's one image library, imported only when an image is touched.

Loading models and decoding outputs work without it; `pip install edgegd` therefore does not bring it.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

from edgegd.errors import MissingExtraError
from edgegd.limits import IMAGE_PIXELS

PIXELS_VARIABLE = "OPENCV_IO_MAX_IMAGE_PIXELS"
"""OpenCV reads it when it is loaded; whoever has loaded it before keeps its own limit."""


def require_opencv() -> ModuleType:
    """The `cv2` module.

    Raises:
        MissingExtraError: OpenCV is not installed, or its shared libraries cannot be loaded.
    """
    os.environ.setdefault(PIXELS_VARIABLE, str(IMAGE_PIXELS))
    os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")  # what is wrong with an image is said once, by us
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise MissingExtraError(
            "reading and resizing images needs OpenCV",
            found=str(error),
            mend="pip install edgegd[image]",
        ) from error
