"""Traffic signs: round, triangular, octagonal, rectangular and diamond plates with pictograms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgegd.data.streets.camera import Camera
from edgegd.data.streets.light import Colour, Light
from edgegd.data.streets.paint import Drawable, Part, capsule, ellipse, rectangle

TRAFFIC_SIGN = 2

_RED: Colour = (38, 32, 205)
_WHITE: Colour = (240, 240, 240)
_BLUE: Colour = (190, 95, 25)
_YELLOW: Colour = (40, 205, 245)
_BLACK: Colour = (25, 25, 25)

Shape = tuple[NDArray[np.float64], Colour]


def _regular(count: int, radius: float, start_rad: float) -> NDArray[np.float64]:
    around = start_rad + np.linspace(0, 2 * np.pi, count + 1)[:-1]
    return np.stack([radius * np.cos(around), radius * np.sin(around)], axis=1)


def _arrow(angle_rad: float, colour: Colour) -> list[Shape]:
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    turn = np.array([(cos, sin), (-sin, cos)])
    shaft, head = rectangle(-0.12, -0.55, 0.12, 0.15), np.array([(-0.36, 0.1), (0.36, 0.1), (0.0, 0.6)])
    return [(shaft @ turn, colour), (head @ turn, colour)]


def _figure(colour: Colour) -> list[Shape]:
    return [
        (ellipse((0.0, 0.38), 0.1, 0.11, 8), colour),
        (rectangle(-0.09, -0.1, 0.09, 0.27), colour),
        (capsule((0.0, -0.08), (-0.2, -0.5), 0.06, 0.05), colour),
        (capsule((0.0, -0.08), (0.2, -0.5), 0.06, 0.05), colour),
        (capsule((-0.2, 0.02), (0.2, 0.18), 0.045, 0.045), colour),
    ]


def _digits(rng: np.random.Generator, colour: Colour) -> list[Shape]:
    """Two seven-segment digits, as of a speed limit."""
    segments = {0: "abcdef", 2: "abged", 3: "abgcd", 4: "fgbc", 5: "afgcd", 6: "afgedc", 7: "abc", 8: "abcdefg"}
    boxes = {
        "a": (0, 0.62, 0.3, 0.72),
        "g": (0, 0.31, 0.3, 0.41),
        "d": (0, 0.0, 0.3, 0.1),
        "f": (0, 0.36, 0.1, 0.72),
        "b": (0.2, 0.36, 0.3, 0.72),
        "e": (0, 0, 0.1, 0.36),
        "c": (0.2, 0, 0.3, 0.36),
    }
    shapes: list[Shape] = []
    for digit, left in ((int(rng.choice([2, 3, 4, 5, 6, 7, 8])), -0.38), (0, 0.08)):
        for name in segments[digit]:
            x0, y0, x1, y1 = boxes[name]
            shapes.append((rectangle(left + x0, y0 - 0.36, left + x1, y1 - 0.36), colour))
    return shapes


def _pictogram(rng: np.random.Generator, colour: Colour) -> list[Shape]:
    drawn = rng.random()
    if drawn < 0.4:
        return _figure(colour)
    if drawn < 0.75:
        return _arrow(float(rng.choice([0.0, np.pi / 2, -np.pi / 2, np.pi / 4])), colour)
    return [(rectangle(-0.09, -0.2, 0.09, 0.45), colour), (ellipse((0.0, -0.38), 0.1, 0.1, 8), colour)]


def _round(rng: np.random.Generator) -> list[Shape]:
    disc = ellipse((0.0, 0.0), 1.0, 1.0, 22)
    drawn = rng.random()
    if drawn < 0.5:
        inner = _digits(rng, _BLACK) if rng.random() < 0.6 else _pictogram(rng, _BLACK)
        return [(disc, _RED), (disc * 0.74, _WHITE), *inner]
    if drawn < 0.75:
        return [(disc, _WHITE), (disc * 0.94, _BLUE), *_pictogram(rng, _WHITE)]
    return [(disc, _WHITE), (disc * 0.95, _RED), (rectangle(-0.66, -0.17, 0.66, 0.17), _WHITE)]


def _triangle(rng: np.random.Generator) -> list[Shape]:
    up = rng.random() < 0.7
    outline = _regular(3, 1.12, np.pi / 2 if up else -np.pi / 2)
    field = _WHITE if rng.random() < 0.6 else _YELLOW
    shapes: list[Shape] = [(outline, _RED), (outline * 0.66, field)]
    if up:
        shapes += [(polygon * 0.52 - np.array([0.0, 0.1]), colour) for polygon, colour in _pictogram(rng, _BLACK)]
    return shapes


def _octagon(rng: np.random.Generator) -> list[Shape]:
    outline = _regular(8, 1.06, np.pi / 8)
    shapes: list[Shape] = [(outline, _WHITE), (outline * 0.92, _RED)]
    for left in (-0.68, -0.32, 0.04, 0.40):  # four letters as blocks: S T O P
        shapes += [
            (rectangle(left, 0.14, left + 0.28, 0.26), _WHITE),
            (rectangle(left + float(rng.uniform(0, 0.18)), -0.26, left + 0.22, 0.2), _WHITE),
        ]
    return shapes


def _rectangle(rng: np.random.Generator) -> list[Shape]:
    plate = rectangle(-0.86, -1.0, 0.86, 1.0) if rng.random() < 0.5 else rectangle(-0.95, -0.95, 0.95, 0.95)
    if rng.random() < 0.75:
        shapes: list[Shape] = [(plate, _WHITE), (plate * 0.92, _BLUE)]
        if rng.random() < 0.5:
            return [*shapes, (_regular(3, 0.86, np.pi / 2), _WHITE), *[(p * 0.6, c) for p, c in _figure(_BLACK)]]
        return shapes + _pictogram(rng, _WHITE)
    diamond = _regular(4, 1.25, np.pi / 2)
    return [(diamond, _WHITE), (diamond * 0.82, _YELLOW), *[(p * 0.7, c) for p, c in _pictogram(rng, _BLACK)]]


_MAKERS = (_round, _triangle, _octagon, _rectangle)


def make_sign(rng: np.random.Generator, camera: Camera, light: Light, x: float, z: float) -> list[Drawable]:
    """A sign on its pole at ground point (x, z) metres: the pole (clutter) and one or two plates (actors)."""
    radius = rng.uniform(0.42, 0.68)
    bottom = rng.uniform(1.6, 2.4)
    foreshortening = np.cos(rng.uniform(0.0, 0.75))
    # the foil throws the own headlights back, so that in the dark signs are brighter than what is around them
    tone = rng.uniform(0.78, 1.04) * (rng.uniform(1.0, 1.9) if light.lamps_on else 1.0)
    plates = 2 if rng.random() < 0.15 else 1
    top = bottom + 2 * radius * plates
    pole = camera.upright(rectangle(-0.045, 0.0, 0.045, top + 0.05), x, z)
    things = [Drawable((Part((pole,), (128, 130, 132)),), z + 0.05)]
    for level in range(plates):
        centre = np.array([0.0, bottom + radius * (1 + 2.12 * level)])
        shapes = _MAKERS[int(rng.choice(4, p=[0.38, 0.24, 0.16, 0.22]))](rng)
        lean = rng.normal(0.0, 0.05)
        turn = np.array([(np.cos(lean), np.sin(lean)), (-np.sin(lean), np.cos(lean))])
        scale = np.array([radius * foreshortening, radius])
        parts = tuple(
            Part((camera.upright(polygon @ turn * scale + centre, x, z),), (b * tone, g * tone, r * tone))
            for polygon, (b, g, r) in shapes
        )
        things.append(Drawable(parts, z, TRAFFIC_SIGN, 4.0))
    return things
