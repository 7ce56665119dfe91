"""Annotated images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegd.runtime.detector import Detections
from edgegd.runtime.letterbox import require_image
from edgegd.runtime.opencv import require_opencv

# BGR; far apart from each other and from skin, sky and asphalt; a class takes the colour of its index, cyclically.
PALETTE = (
    (56, 56, 255),
    (49, 210, 207),
    (187, 212, 0),
    (255, 149, 0),
    (255, 56, 132),
    (23, 204, 146),
    (168, 153, 44),
    (31, 112, 255),
    (134, 219, 61),
    (147, 69, 52),
)
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def write_image(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Writes a BGR image (H, W, 3) uint8 as PNG."""
    Path(path).write_bytes(encoded(image, ".png"))


def encoded(image: NDArray[np.uint8], suffix: str) -> bytes:
    """A BGR image (H, W, 3) uint8 as a file of the kind that the suffix names (`.png`, `.jpg`)."""
    done, content = require_opencv().imencode(suffix, image)
    if not done:
        raise ValueError(f"OpenCV cannot encode an image of shape {image.shape} as {suffix}")
    data: bytes = content.tobytes()
    return data


def drawable(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image (H, W, C) uint8 to draw on, (H, W, 3): gray as colours, of multispectral bands the first three."""
    if image.shape[2] == 3:
        return image
    bands = [min(band, image.shape[2] - 1) for band in range(3)]
    return np.ascontiguousarray(image[:, :, bands])


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
        draw_text(canvas, text, (x1, y1), color, line_width)
    return canvas


def draw_text(
    canvas: NDArray[np.uint8], text: str, corner: tuple[int, int], color: tuple[int, int, int], line_width: int
) -> None:
    """Writes the text on a filled plate above the corner (x, y) in pixels, moved inside where it would stick out."""
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
