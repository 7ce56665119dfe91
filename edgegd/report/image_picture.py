"""The picture of one image: its labelled boxes, FP32's and the INT8 model's, and what has changed between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegd.accuracy.image_changes import Changes
from edgegd.runtime.detector import Detections
from edgegd.runtime.draw import WHITE, draw_text
from edgegd.runtime.opencv import require_opencv

# BGR, apart for people who do not see red and green apart (Okabe and Ito 2008): bluish green, sky blue, vermilion.
LABEL, REFERENCE, MODEL = (115, 158, 0), (233, 180, 86), (0, 94, 213)
_SHORTEST_PX, _LONGEST_PX = 640, 1280  # of the longer side
_LEGEND_PX, _DASH_PX = 26, 6
_THIN, _THICK = 1, 2
_WORD_PX = (200, 18)  # what a word about a box takes: no other begins there
Color = tuple[int, int, int]


@dataclass(frozen=True)
class DrawnImage:
    """What is drawn: boxes in pixels of the image, and the changes between the two models' detections."""

    labelled: NDArray[np.float64]
    reference: Detections
    model: Detections
    changes: Changes


def draw_changes(image: NDArray[np.uint8], drawn: DrawnImage, title: str) -> NDArray[np.uint8]:
    """The BGR image (H, W, 3) uint8 with all boxes and a legend below; lost, new and moved boxes thick and with a word.

    `title` is what the legend calls the INT8 model. Small images are enlarged, large ones made smaller. Raises
    MissingExtraError without OpenCV.
    """
    cv2 = require_opencv()
    side = max(image.shape[:2])
    zoom = min(max(side, _SHORTEST_PX), _LONGEST_PX) / side
    size = max(round(image.shape[1] * zoom), 1), max(round(image.shape[0] * zoom), 1)
    canvas = cv2.resize(image, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
    for box in drawn.labelled:
        _rectangle(canvas, box * zoom, LABEL, _THIN)
    for first, second in drawn.changes.kept.tolist():
        _rectangle(canvas, drawn.reference.xyxy[first] * zoom, REFERENCE, _THIN)
        _dashed(canvas, drawn.model.xyxy[second] * zoom, MODEL, _THIN)
    _draw_changed(canvas, drawn, zoom)
    return np.concatenate([canvas, _legend(size[0], title)])


def _draw_changed(canvas: NDArray[np.uint8], drawn: DrawnImage, zoom: float) -> None:
    changes, words = drawn.changes, []
    for index in changes.lost.tolist():
        box = drawn.reference.xyxy[index] * zoom
        _rectangle(canvas, box, REFERENCE, _THICK)
        words.append((f"lost: {_called(drawn.reference, index)}", box, REFERENCE))
    for index in changes.gained.tolist():
        box = drawn.model.xyxy[index] * zoom
        _dashed(canvas, box, MODEL, _THICK)
        words.append((f"new: {_called(drawn.model, index)}", box, MODEL))
    for (first, second), shift_px in zip(changes.kept[changes.moved], changes.shift_px[changes.moved], strict=True):
        box = drawn.model.xyxy[second] * zoom
        _rectangle(canvas, drawn.reference.xyxy[first] * zoom, REFERENCE, _THICK)
        _dashed(canvas, box, MODEL, _THICK)
        words.append((f"moved {shift_px:.0f} px: {_called(drawn.model, second)}", box, MODEL))
    corners: list[tuple[int, int]] = []
    for text, box, color in words:
        left, top = round(float(box[0])), max(round(float(box[1])), _WORD_PX[1])
        while any(abs(left - x) < _WORD_PX[0] and abs(top - y) < _WORD_PX[1] for x, y in corners):
            top += _WORD_PX[1]
        corners.append((left, top))
        draw_text(canvas, text, (left, top), color, _THICK)


def _called(found: Detections, index: int) -> str:
    return f"{found.names[found.class_ids[index]]} {found.scores[index]:.2f}"


def _corners(box: NDArray[Any]) -> tuple[tuple[int, int], tuple[int, int]]:
    x1, y1, x2, y2 = (round(float(np.clip(side, -10_000, 10_000))) for side in box)
    return (x1, y1), (x2, y2)


def _rectangle(canvas: NDArray[np.uint8], box: NDArray[Any], color: Color, width: int) -> None:
    require_opencv().rectangle(canvas, *_corners(box), color, width)


def _dashed(canvas: NDArray[np.uint8], box: NDArray[Any], color: Color, width: int) -> None:
    """Dashes, so that a line below them stays visible."""
    cv2, ((x1, y1), (x2, y2)) = require_opencv(), _corners(box)
    for x in range(x1, x2, 2 * _DASH_PX):
        for y in (y1, y2):
            cv2.line(canvas, (x, y), (min(x + _DASH_PX, x2), y), color, width)
    for y in range(y1, y2, 2 * _DASH_PX):
        for x in (x1, x2):
            cv2.line(canvas, (x, y), (x, min(y + _DASH_PX, y2)), color, width)


def _legend(width: int, title: str) -> NDArray[np.uint8]:
    cv2 = require_opencv()
    strip = np.full((_LEGEND_PX, width, 3), 40, np.uint8)
    x, y = 8, _LEGEND_PX // 2
    for text, color, draw in (("label", LABEL, _rectangle), ("FP32", REFERENCE, _rectangle), (title, MODEL, _dashed)):
        draw(strip, np.array([x, y - 6, x + 18, y + 6]), color, 2)
        cv2.putText(strip, text, (x + 25, y + 5), cv2.FONT_HERSHEY_SIMPLEX, 0.45, WHITE, 1, cv2.LINE_AA)
        x += 40 + cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0]
    cv2.putText(strip, "thick: changed", (x, y + 5), cv2.FONT_HERSHEY_SIMPLEX, 0.45, WHITE, 1, cv2.LINE_AA)
    return strip
