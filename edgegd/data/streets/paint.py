"""Painting polygons to a picture and to its id mask at once, at twice the image's resolution."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from edgegd.data.streets.light import Colour, Light

SUPERSAMPLING = 2
_SHIFT = 4  # OpenCV's fixed-point vertices carry this many fractional bits


@dataclass(frozen=True)
class Part:
    """Polygons of one colour: each (N, 2) in image pixels; polygons of one part must not overlap each other."""

    polygons: tuple[NDArray[np.float64], ...]
    colour: Colour  # BGR, 0..255, before light and haze
    emissive: bool = False

    @cached_property
    def vertices(self) -> list[NDArray[np.int32]]:
        """The polygons as supersampled fixed-point vertices, for picture and mask alike."""
        return _fixed_point(self.polygons)


@dataclass(frozen=True)
class PointLight:
    """A lamp that glows: image position and radius in pixels, colour BGR 0..255, strength 0..1."""

    x: float
    y: float
    radius_px: float
    colour: Colour
    strength: float


@dataclass(frozen=True)
class Drawable:
    """A thing that stands in the street: parts back to front, all at one depth.

    `class_id` is None for clutter, which hides actors and is not labelled. `texture` is the strength of surface
    noise in grey levels.
    """

    parts: tuple[Part, ...]
    depth_m: float
    class_id: int | None = None
    texture: float = 0.0
    lamps: tuple[PointLight, ...] = field(default=())
    shadow: NDArray[np.float64] | None = None  # (N, 2) in pixels, on the ground

    @cached_property
    def extent(self) -> tuple[int, int, int, int]:
        """The window (x0, y0, x1, y1) in supersampled pixels that holds all parts; it may reach out of the image."""
        return _extent([polygon for part in self.parts for polygon in part.polygons])

    @cached_property
    def full_area(self) -> int:
        """Supersampled pixels that the parts cover when nothing hides them and the image has no border."""
        x0, y0, x1, y1 = self.extent
        mask = np.zeros((y1 - y0 + 2, x1 - x0 + 2), np.uint8)
        offset = np.array([x0 - 1, y0 - 1], np.int32) << _SHIFT
        for part in self.parts:
            cv2.fillPoly(mask, [polygon - offset for polygon in part.vertices], 1, shift=_SHIFT)
        return int(cv2.countNonZero(mask))


def _extent(polygons: Sequence[NDArray[np.float64]]) -> tuple[int, int, int, int]:
    points = np.concatenate(list(polygons)) * SUPERSAMPLING
    x0, y0 = np.floor(points.min(axis=0)).astype(int).tolist()
    x1, y1 = np.ceil(points.max(axis=0)).astype(int).tolist()
    return x0, y0, x1 + 1, y1 + 1


def _fixed_point(polygons: Sequence[NDArray[np.float64]]) -> list[NDArray[np.int32]]:
    scale = SUPERSAMPLING * (1 << _SHIFT)
    points = np.rint((polygons[0] if len(polygons) == 1 else np.concatenate(polygons)) * scale)
    # far outside the image is enough; larger numbers overflow OpenCV's fixed point
    fixed = np.maximum(np.minimum(points, 1 << 20), -(1 << 20)).astype(np.int32)
    if len(polygons) == 1:
        return [fixed]
    ends = itertools.accumulate(len(p) for p in polygons)
    return [fixed[end - len(p) : end] for p, end in zip(polygons, ends, strict=True)]


class Canvas:
    """A picture (BGR uint8) and the id mask (int32) of the actors in it, both supersampled."""

    def __init__(self, width: int, height: int, light: Light, noise: NDArray[np.uint8]) -> None:
        self.light = light
        self.image = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING, 3), np.uint8)
        self.ids = np.zeros(self.image.shape[:2], np.int32)
        self._noise = noise  # (at least as large as the canvas, 3 channels), mean 128

    def fill(self, part: Part, depth_m: float) -> None:
        """Paint a part to the picture only (sky, ground and buildings: nothing is behind them)."""
        colour = self.light.shade(part.colour, depth_m, part.emissive)
        cv2.fillPoly(self.image, part.vertices, colour, shift=_SHIFT)

    def darken(self, polygon: NDArray[np.float64], keep: float) -> None:
        """Cast a shadow: multiply the picture within the polygon (N, 2) by `keep`."""
        x0, y0, x1, y1 = self._inside(_extent([polygon]))
        if x1 <= x0 or y1 <= y0:
            return
        window = self.image[y0:y1, x0:x1]
        mask = np.zeros(window.shape[:2], np.uint8)
        offset = polygon - np.array([x0, y0]) / SUPERSAMPLING
        cv2.fillPoly(mask, _fixed_point([offset]), 255, shift=_SHIFT)
        cv2.copyTo(cv2.convertScaleAbs(window, alpha=keep), mask, window)

    def roughen(
        self, window: tuple[int, int, int, int], strength: float, mask: NDArray[np.uint8] | None = None
    ) -> None:
        """Add surface noise of `strength` grey levels to a window (x0, y0, x1, y1) of the supersampled picture."""
        x0, y0, x1, y1 = window
        target = self.image[y0:y1, x0:x1]
        weight = strength / 64.0 * float(np.clip(self.light.illumination.mean(), 0.25, 1.0))
        rough = cv2.addWeighted(target, 1.0, self._noise[y0:y1, x0:x1], weight, -128.0 * weight)
        if mask is None:
            target[:] = rough
        else:
            cv2.copyTo(rough, mask, target)

    def draw(self, thing: Drawable, ident: int) -> None:
        """Paint a drawable to picture and mask; `ident` 0 hides the actors behind it."""
        for part in thing.parts:
            self.fill(part, thing.depth_m)
        self.draw_mask(thing, ident)
        window = self._inside(thing.extent)
        if thing.texture > 0 and window[2] - window[0] > 8 and window[3] - window[1] > 8:
            x0, y0, x1, y1 = window
            own = (self.ids[y0:y1, x0:x1] == ident).astype(np.uint8) if ident else None
            self.roughen(window, thing.texture, own)

    def draw_mask(self, thing: Drawable, ident: int) -> None:
        """Paint a drawable to the mask only."""
        for part in thing.parts:
            cv2.fillPoly(self.ids, part.vertices, ident, shift=_SHIFT)

    def visible(self, thing: Drawable, ident: int) -> tuple[int, tuple[int, int, int, int]]:
        """Supersampled pixels of an actor in the mask, and its box (x1, y1, x2, y2) in pixels of `id_mask`."""
        x0, y0, x1, y1 = self._inside(thing.extent)
        x0, y0 = x0 - x0 % SUPERSAMPLING, y0 - y0 % SUPERSAMPLING  # so that the window starts on a kept pixel
        if x1 <= x0 or y1 <= y0:
            return 0, (0, 0, 0, 0)
        own = (self.ids[y0:y1, x0:x1] == ident).astype(np.uint8)
        x, y, width, height = cv2.boundingRect(own[::SUPERSAMPLING, ::SUPERSAMPLING].copy())
        left, top = x0 // SUPERSAMPLING + x, y0 // SUPERSAMPLING + y
        return int(cv2.countNonZero(own)), (left, top, left + width, top + height)

    def id_mask(self) -> NDArray[np.int32]:
        """The id mask (H, W) at the resolution of the image."""
        return np.ascontiguousarray(self.ids[::SUPERSAMPLING, ::SUPERSAMPLING])

    def _inside(self, extent: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        x0, y0, x1, y1 = extent
        return max(x0, 0), max(y0, 0), min(x1, self.image.shape[1]), min(y1, self.image.shape[0])


def capsule(start: tuple[float, float], end: tuple[float, float], r0: float, r1: float) -> NDArray[np.float64]:
    """The hull (N, 2) of two circles: a limb of radii `r0` at `start` and `r1` at `end`."""
    around = np.linspace(0, 2 * np.pi, 9)[:-1]
    circle = np.stack([np.cos(around), np.sin(around)], axis=1)
    points = np.concatenate([circle * r0 + start, circle * r1 + end]).astype(np.float32)
    return np.asarray(cv2.convexHull(points)[:, 0], np.float64)  # (N, 1, 2) -> (N, 2)


def ellipse(centre: tuple[float, float], rx: float, ry: float, count: int = 14) -> NDArray[np.float64]:
    """An ellipse as a polygon (count, 2)."""
    around = np.linspace(0, 2 * np.pi, count + 1)[:-1]
    return np.stack([centre[0] + rx * np.cos(around), centre[1] + ry * np.sin(around)], axis=1)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> NDArray[np.float64]:
    """An axis-parallel rectangle as a polygon (4, 2)."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64)
