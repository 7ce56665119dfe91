"""A window on the screen, by OpenCV, where there is a screen and an OpenCV that makes windows."""

from __future__ import annotations

import os
import subprocess
import sys
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgegd.errors import ScreenError
from edgegd.runtime.opencv import require_opencv

_NAME = "edgegd"
_ENDS = (27, ord("q"))
"""Keys that end a window: Escape and q."""
_TRY = f"import cv2; cv2.namedWindow({_NAME!r}); cv2.waitKey(1); cv2.destroyAllWindows()"
_TRY_S = 60.0


class Window:
    """A window that images are shown in, one after the other; use it in a `with` statement.

    Raises ScreenError where none can be made, and MissingExtraError without OpenCV.
    """

    def __init__(self) -> None:
        require_opencv()
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise _no_screen("neither DISPLAY nor WAYLAND_DISPLAY is set")
        # In a process of its own: where the screen cannot be reached, OpenCV's Qt ends the whole program.
        try:
            tried = subprocess.run([sys.executable, "-c", _TRY], capture_output=True, text=True, timeout=_TRY_S)
        except subprocess.TimeoutExpired as error:
            raise _no_screen(f"no window within {_TRY_S:g} s") from error
        if tried.returncode:
            lines = [line for line in tried.stderr.splitlines() if line.strip()]
            raise _no_screen(lines[-1][:200] if lines else f"exit code {tried.returncode}")

    def __enter__(self) -> Window:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        require_opencv().destroyAllWindows()

    def show(self, image: NDArray[np.uint8], wait: bool) -> bool:
        """Shows a BGR image, and until a key is pressed if it is to `wait`; whether more are wanted."""
        cv2 = require_opencv()
        cv2.imshow(_NAME, image)
        return (cv2.waitKey(0 if wait else 1) & 0xFF) not in _ENDS


def _no_screen(found: str) -> ScreenError:
    return ScreenError(
        "There is no screen to show images on.",
        expected="a graphical session, and an OpenCV that makes windows (opencv-python, not -headless)",
        found=found,
        mend="leave --show out; --save draws into files",
    )
