"""Unlabelled street furniture: it hides actors, and some of it resembles them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgegd.data.streets.camera import Camera
from edgegd.data.streets.light import Colour, Light
from edgegd.data.streets.paint import Drawable, Part, PointLight, capsule, ellipse, rectangle
from edgegd.data.streets.pedestrians import cloth_colour

_GREY: Colour = (95, 98, 100)


def _tree(rng: np.random.Generator, camera: Camera, light: Light, x: float, z: float) -> Drawable:
    trunk, height = rng.uniform(0.12, 0.24), rng.uniform(4.0, 7.0)
    green: Colour = (rng.uniform(25, 60), rng.uniform(75, 135), rng.uniform(35, 95))
    parts = [Part((camera.upright(capsule((0, 0), (0, height * 0.6), trunk, trunk * 0.7), x, z),), (48, 66, 84))]
    crown = rng.uniform(1.3, 2.1)
    for tone in (0.72, 0.9, 1.1):
        blobs = tuple(
            camera.upright(
                _blob(
                    rng,
                    (rng.normal(0, crown * 0.42), height * 0.72 + rng.normal(0, crown * 0.35)),
                    crown * rng.uniform(0.4, 0.62),
                ),
                x,
                z,
            )
            for _ in range(4)
        )
        parts += [Part((blob,), (green[0] * tone, green[1] * tone, green[2] * tone)) for blob in blobs]
    return Drawable(tuple(parts), z)


def _blob(rng: np.random.Generator, centre: tuple[float, float], radius: float) -> np.ndarray:
    outline = ellipse((0.0, 0.0), radius, radius * 0.85, 13)
    return np.asarray(outline * rng.uniform(0.75, 1.2, (13, 1)) + centre)


def _lamp_post(rng: np.random.Generator, camera: Camera, light: Light, x: float, z: float) -> Drawable:
    height, arm = rng.uniform(5.0, 7.5), -np.sign(x) * rng.uniform(0.8, 1.8)
    shapes = [
        (rectangle(-0.08, 0, 0.08, height), _GREY),
        (capsule((0.0, height), (arm, height + 0.3), 0.06, 0.05), _GREY),
    ]
    parts = [Part((camera.upright(polygon, x, z),), colour) for polygon, colour in shapes]
    head = camera.upright(rectangle(arm - 0.4, height + 0.2, arm + 0.4, height + 0.36), x, z)
    parts.append(Part((head,), (170, 225, 255) if light.lamps_on else (150, 150, 150), light.lamps_on))
    lamps: tuple[PointLight, ...] = ()
    if light.lamps_on:
        centre = head.mean(axis=0)
        lamps = (PointLight(centre[0], centre[1], camera.focal_px * 0.8 / z, (120, 195, 255), 0.9),)
    return Drawable(tuple(parts), z, lamps=lamps)


def _blank_pole(rng: np.random.Generator, camera: Camera, light: Light, x: float, z: float) -> Drawable:
    height = rng.uniform(2.0, 4.5)
    return Drawable((Part((camera.upright(rectangle(-0.05, 0, 0.05, height), x, z),), (120, 122, 125)),), z)


def _traffic_light(rng: np.random.Generator, camera: Camera, light: Light, x: float, z: float) -> Drawable:
    lit, colours = int(rng.integers(3)), ((60, 60, 235), (40, 190, 250), (110, 220, 70))
    parts = [
        Part((camera.upright(rectangle(-0.06, 0, 0.06, 3.2), x, z),), (70, 72, 74)),
        Part((camera.upright(rectangle(-0.19, 2.3, 0.19, 3.35), x, z),), (30, 32, 32)),
    ]
    for i, (b, g, r) in enumerate(colours):
        tone = 1.0 if i == lit else 0.22
        lamp = camera.upright(ellipse((0.0, 3.14 - 0.32 * i), 0.12, 0.12, 10), x, z)
        parts.append(Part((lamp,), (b * tone, g * tone, r * tone), emissive=i == lit))
    return Drawable(tuple(parts), z)


def _bollard(rng: np.random.Generator, camera: Camera, light: Light, x: float, z: float) -> Drawable:
    colour = cloth_colour(rng, 0.3, 0.7)
    shapes = [(capsule((0, 0), (0, 0.9), 0.11, 0.1), colour), (rectangle(-0.105, 0.68, 0.105, 0.8), (225, 225, 225))]
    return Drawable(tuple(Part((camera.upright(p, x, z),), c) for p, c in shapes), z)


def _hydrant(rng: np.random.Generator, camera: Camera, light: Light, x: float, z: float) -> Drawable:
    red: Colour = (40, 40, 190) if rng.random() < 0.6 else (40, 180, 220)
    dark: Colour = (red[0] * 0.7, red[1] * 0.7, red[2] * 0.7)
    shapes = [
        (rectangle(-0.13, 0, 0.13, 0.6), red),
        (ellipse((0, 0.62), 0.15, 0.14, 12), red),
        (rectangle(-0.24, 0.34, 0.24, 0.48), dark),
        (rectangle(-0.18, 0.0, 0.18, 0.08), dark),
    ]
    return Drawable(tuple(Part((camera.upright(p, x, z),), c) for p, c in shapes), z)


def _mailbox(rng: np.random.Generator, camera: Camera, light: Light, x: float, z: float) -> Drawable:
    b, g, r = ((40, 200, 240), (60, 50, 190), (150, 80, 40))[int(rng.integers(3))]
    shapes: list[tuple[np.ndarray, Colour]] = [
        (rectangle(-0.06, 0, 0.06, 0.5), (60, 60, 60)),
        (rectangle(-0.26, 0.45, 0.26, 1.25), (b, g, r)),
        (capsule((-0.16, 1.22), (0.16, 1.22), 0.12, 0.12), (b * 0.85, g * 0.85, r * 0.85)),
        (rectangle(-0.18, 1.0, 0.18, 1.06), (30, 30, 30)),
    ]
    return Drawable(tuple(Part((camera.upright(p, x, z),), c) for p, c in shapes), z)


def _bin(rng: np.random.Generator, camera: Camera, light: Light, x: float, z: float) -> Drawable:
    b, g, r = cloth_colour(rng, 0.2, 0.55)
    body = np.array([(-0.26, 0.08), (0.26, 0.08), (0.32, 1.0), (-0.32, 1.0)])
    shapes: list[tuple[np.ndarray, Colour]] = [
        (body, (b, g, r)),
        (rectangle(-0.36, 0.98, 0.36, 1.1), (b * 0.75, g * 0.75, r * 0.75)),
        (ellipse((-0.2, 0.1), 0.1, 0.1, 8), (25, 25, 25)),
        (ellipse((0.2, 0.1), 0.1, 0.1, 8), (25, 25, 25)),
    ]
    return Drawable(tuple(Part((camera.upright(p, x, z),), c) for p, c in shapes), z)


def _billboard(rng: np.random.Generator, camera: Camera, light: Light, x: float, z: float) -> Drawable:
    low, half, tall = rng.uniform(1.8, 3.0), rng.uniform(1.1, 2.0), rng.uniform(1.2, 2.0)
    parts = [
        Part((camera.upright(rectangle(-0.08, 0, 0.08, low), x, z),), _GREY),
        Part((camera.upright(rectangle(-half, low, half, low + tall), x, z),), (70, 70, 70)),
        Part(
            (camera.upright(rectangle(-half + 0.07, low + 0.07, half - 0.07, low + tall - 0.07), x, z),),
            cloth_colour(rng, 0.5, 1.0),
        ),
    ]
    for _ in range(4):
        left, base = rng.uniform(-half + 0.1, half * 0.4), low + rng.uniform(0.1, tall * 0.7)
        patch = rectangle(left, base, left + rng.uniform(0.2, half * 0.5), base + rng.uniform(0.08, tall * 0.25))
        parts.append(Part((camera.upright(patch, x, z),), cloth_colour(rng, 0.3, 1.0)))
    return Drawable(tuple(parts), z)


def _cone(rng: np.random.Generator, camera: Camera, light: Light, x: float, z: float) -> Drawable:
    cone = np.array([(-0.17, 0.04), (0.17, 0.04), (0.03, 0.72), (-0.03, 0.72)])
    band = np.array([(-0.115, 0.28), (0.115, 0.28), (0.08, 0.45), (-0.08, 0.45)])
    shapes: list[tuple[np.ndarray, Colour]] = [
        (rectangle(-0.22, 0, 0.22, 0.05), (40, 60, 200)),
        (cone, (30, 95, 240)),
        (band, (235, 235, 235)),
    ]
    return Drawable(tuple(Part((camera.upright(p, x, z),), c) for p, c in shapes), z)


_Maker = Callable[[np.random.Generator, Camera, Light, float, float], Drawable]
_MAKERS: tuple[tuple[float, _Maker], ...] = (
    (0.24, _tree),
    (0.20, _lamp_post),
    (0.09, _blank_pole),
    (0.09, _traffic_light),
    (0.09, _bollard),
    (0.07, _hydrant),
    (0.06, _mailbox),
    (0.06, _bin),
    (0.05, _billboard),
    (0.05, _cone),
)


def make_clutter(rng: np.random.Generator, camera: Camera, light: Light, x: float, z: float) -> Drawable:
    """A random piece of street furniture at ground point (x, z) metres."""
    maker = _MAKERS[int(rng.choice(len(_MAKERS), p=[share for share, _ in _MAKERS]))][1]
    return maker(rng, camera, light, x, z)
