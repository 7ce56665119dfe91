"""Image files in and annotated images out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegd.errors import UnreadableImageError
from edgegd.runtime.detector import Detections
from edgegd.runtime.letterbox import require_image
from edgegd.runtime.opencv import require_opencv

# BGR; far apart from each other and from skin, sky and asphalt; a class takes the colour of its index, cyclically.
PALETTE = (
    (56, 56, 255), (49, 210, 207), (187, 212, 0), (255, 149, 0), (255, 56, 132), (23, 204, 146), (168, 153, 44),
    (31, 112, 255), (134, 219, 61), (147, 69, 52),
)
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """The image file as (H, W, 3) uint8 BGR, turned as its EXIF orientation says (as cv2.imread does).

    Raises:
        UnreadableImageError: the file is missing, empty, or no image that OpenCV can decode.
        MissingExtraError: OpenCV is not installed.
    """
    cv2 = require_opencv()
    try:
        # Bytes first: cv2.imread cannot open a path with non-ASCII characters on every platform.
        data = np.frombuffer(Path(path).read_bytes(), dtype=np.uint8)
        image: NDArray[np.uint8] | None = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error) as error:
        raise _unreadable(path, str(error).strip().splitlines()[-1]) from error
    if image is None:
        raise _unreadable(path, f"{data.size} bytes that OpenCV cannot decode")
    return image


def write_image(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Writes a BGR image (H, W, 3) uint8 as PNG."""
    done, content = require_opencv().imencode(".png", image)
    if not done:
        raise ValueError(f"OpenCV cannot encode an image of shape {image.shape} as PNG")
    Path(path).write_bytes(content.tobytes())


def draw(image: NDArray[np.uint8], detections: Detections) -> NDArray[np.uint8]:
    """A copy of the BGR image (H, W, 3) uint8 with a box and a "name score" label per detection, the best on top.

    Raises:
        ValueError: the image has another type or shape.
        MissingExtraError: OpenCV is not installed.
    """
    require_image(image)
    cv2 = require_opencv()
    canvas = image.copy()
    line_width = max(round(sum(image.shape[:2]) / 2 * 0.003), 2)
    for index in reversed(range(len(detections))):
        class_id = int(detections.class_ids[index])
        x1, y1, x2, y2 = (round(float(side)) for side in detections.xyxy[index])
        color = PALETTE[class_id % len(PALETTE)]
        cv2.rectangle(canvas, (x1, y1), (x2, y2), color, line_width, cv2.LINE_AA)
        text = f"{detections.names[class_id]} {detections.scores[index]:.2f}"
        _draw_label(canvas, text, (x1, y1), color, line_width)
    return canvas


def _draw_label(
    canvas: NDArray[np.uint8], text: str, corner: tuple[int, int], color: tuple[int, int, int], line_width: int
) -> None:
    """Write the text on a filled plate above the corner, moved inside the image where it would stick out."""
    cv2 = require_opencv()
    scale, stroke = max(line_width / 4, 0.4), max(line_width // 2, 1)
    (width, height), baseline = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, stroke)
    plate_height = height + baseline + 2
    left = max(min(corner[0], canvas.shape[1] - width), 0)
    top = max(corner[1] - plate_height, 0)
    cv2.rectangle(canvas, (left, top), (left + width, top + plate_height), color, cv2.FILLED)
    blue, green, red = color
    ink = BLACK if 0.114 * blue + 0.587 * green + 0.299 * red > 140 else WHITE  # luma, ITU-R BT.601
    origin = (left, top + height + 1)
    cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, stroke, cv2.LINE_AA)


def _unreadable(path: str | Path, found: str) -> UnreadableImageError:
    return UnreadableImageError(
        f"cannot read the image {path}", expected="a JPEG, PNG or other image file that OpenCV decodes", found=found,
        mend="replace or remove the file",
    )
