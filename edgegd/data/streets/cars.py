"""Cars as extruded side profiles, so that every view (rear, front, side, three-quarter) is of one solid body."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgegd.data.streets.camera import Camera
from edgegd.data.streets.light import Colour, Light
from edgegd.data.streets.paint import Drawable, Part, PointLight

CAR = 1


@dataclass(frozen=True)
class _Body:
    """Side profiles as (along, up) in metres, clockwise from the rear bumper; the nose is at +along."""

    width_m: float
    lower: tuple[tuple[float, float], ...]
    cabin: tuple[tuple[float, float], ...]
    wheel_m: float = 0.34

    @property
    def half_length_m(self) -> float:
        return max(along for along, _ in self.lower)


_BODIES = (
    _Body(
        1.80,
        ((-2.25, 0.25), (-2.25, 0.78), (-2.1, 0.96), (0.9, 0.96), (2.1, 0.8), (2.25, 0.62), (2.25, 0.25)),
        ((-1.8, 0.95), (-1.05, 1.44), (0.3, 1.46), (1.15, 0.95)),
    ),
    _Body(
        1.72,
        ((-1.95, 0.25), (-1.95, 0.86), (-1.85, 1.0), (0.9, 0.98), (1.8, 0.82), (1.95, 0.62), (1.95, 0.25)),
        ((-1.88, 0.98), (-1.5, 1.5), (0.15, 1.52), (1.05, 0.97)),
    ),
    _Body(
        1.92,
        ((-2.3, 0.32), (-2.3, 0.95), (-2.2, 1.12), (1.1, 1.12), (2.15, 1.0), (2.3, 0.8), (2.3, 0.32)),
        ((-2.2, 1.1), (-1.95, 1.74), (0.35, 1.77), (1.15, 1.1)),
        0.39,
    ),
    _Body(
        1.98,
        ((-2.5, 0.3), (-2.5, 1.0), (-2.48, 1.18), (1.8, 1.18), (2.35, 0.95), (2.5, 0.7), (2.5, 0.3)),
        ((-2.46, 1.16), (-2.38, 2.1), (1.15, 2.1), (1.85, 1.16)),
    ),
    _Body(
        1.95,
        ((-2.6, 0.35), (-2.6, 0.95), (-2.58, 1.1), (1.4, 1.1), (2.45, 1.0), (2.6, 0.8), (2.6, 0.35)),
        ((-0.7, 1.08), (-0.5, 1.74), (0.8, 1.76), (1.5, 1.08)),
        0.4,
    ),
)
_BODY_SHARES = (0.32, 0.26, 0.22, 0.11, 0.09)
_PAINTS: tuple[Colour, ...] = (
    (235, 235, 235),
    (180, 180, 182),
    (120, 120, 124),
    (52, 50, 48),
    (40, 35, 185),
    (30, 30, 120),
    (170, 95, 35),
    (205, 150, 60),
    (60, 110, 50),
    (50, 190, 225),
    (40, 120, 225),
    (150, 190, 205),
    (95, 60, 30),
    (140, 160, 90),
)
_GLASS: Colour = (92, 78, 62)
_TYRE: Colour = (28, 28, 28)


class _Solid:
    """A car body placed in the world: from (along, across, up) in metres to pixels and visible faces."""

    def __init__(self, camera: Camera, light: Light, x: float, z: float, yaw_rad: float) -> None:
        self.camera, self.light = camera, light
        self.origin = np.array([x, 0.0, z])
        self.axes = np.array(
            [(np.sin(yaw_rad), 0.0, np.cos(yaw_rad)), (np.cos(yaw_rad), 0.0, -np.sin(yaw_rad)), (0.0, 1.0, 0.0)]
        )
        self.parts: list[Part] = []

    def world(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.origin + points @ self.axes

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.camera.project(self.world(points))

    def facing(self, points: NDArray[np.float64], inside: NDArray[np.float64]) -> tuple[bool, float]:
        """Whether a plane face is seen from the camera, and its brightness; `inside` is a point within the solid."""
        corners, core = self.world(points), self.world(inside[None])[0]
        centre = corners.mean(axis=0)
        (ax, ay, az), (bx, by, bz) = corners[1] - corners[0], corners[2] - corners[0]
        normal = np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
        normal /= math.sqrt(normal @ normal) + 1e-9
        if normal @ (centre - core) < 0:
            normal = -normal
        seen = float(normal @ (np.array([0.0, self.camera.height_m, 0.0]) - centre)) > 0
        upward, sunward = max(float(normal[1]), 0.0), max(float(normal @ self.light.sun), 0.0)
        return seen, 0.72 + 0.16 * upward + 0.24 * self.light.sun_strength * sunward

    def add(self, points: NDArray[np.float64], colour: Colour, brightness: float = 1.0, emissive: bool = False) -> None:
        b, g, r = colour
        self.parts.append(Part((self.pixels(points),), (b * brightness, g * brightness, r * brightness), emissive))

    def sees(self, along: float) -> bool:
        """Whether the face at the front (+1) or the rear (-1) is turned to the camera."""
        towards = np.array([0.0, self.camera.height_m, 0.0]) - self.origin
        return float(self.axes[0] @ towards) * along > 2.2


def _at_end(along: float, across0: float, across1: float, up0: float, up1: float) -> NDArray[np.float64]:
    return np.array([(along, across0, up0), (along, across1, up0), (along, across1, up1), (along, across0, up1)])


def _inset(points: NDArray[np.float64], keep: float) -> NDArray[np.float64]:
    centre = points.mean(axis=0)
    return centre + (points - centre) * keep


def _extrude(
    solid: _Solid, profile: NDArray[np.float64], half_widths: NDArray[np.float64], paint: Colour, glass: bool
) -> None:
    """Paint the visible faces of a profile (N, 2) whose vertices have these half widths (N,), glazed if `glass`."""
    left = np.stack([profile[:, 0], -half_widths, profile[:, 1]], axis=1)
    right = np.stack([profile[:, 0], half_widths, profile[:, 1]], axis=1)
    inside = np.array([profile[:, 0].mean(), 0.0, profile[:, 1].mean()])
    count = len(profile)
    for i in range(count):
        j = (i + 1) % count
        quad = np.array([left[i], left[j], right[j], right[i]])
        seen, brightness = solid.facing(quad, inside)
        if seen and abs(profile[i] - profile[j]).sum() > 0:
            solid.add(quad, paint, brightness)
            if glass and i in (0, 2):  # the rear window and the windscreen
                solid.add(_inset(quad, 0.84), _GLASS, brightness)
    for side in (left, right):
        seen, brightness = solid.facing(side, inside)
        if seen:
            solid.add(side, paint, brightness)
            if glass:
                solid.add(_inset(side, 0.82), _GLASS, brightness * 0.95)
                middle, sign = profile[:, 0].mean(), np.sign(side[0, 1])
                half = half_widths.mean() * sign
                low, high = profile[:, 1].min() + 0.04, profile[:, 1].max() - 0.04
                pillar = np.array(
                    [
                        (middle - 0.06, half * 1.05, low),
                        (middle + 0.06, half * 1.05, low),
                        (middle + 0.06, half * 0.94, high),
                        (middle - 0.06, half * 0.94, high),
                    ]
                )
                solid.add(pillar, paint, brightness)


def _wheels(solid: _Solid, body: _Body, on_top: bool) -> None:
    """The four wheels under the body, or (`on_top`) the discs of the side that faces the camera."""
    around = np.linspace(0, 2 * np.pi, 15)[:-1]
    radius, half = body.wheel_m, body.width_m / 2
    towards = np.array([0.0, 0.0, 0.0]) - solid.origin
    near = float(np.sign(solid.axes[1] @ towards)) or 1.0
    for along in (-0.62 * body.half_length_m, 0.62 * body.half_length_m):
        for side in (-1.0, 1.0):

            def ring(across: float, size: float, along: float = along) -> NDArray[np.float64]:
                return np.stack([along + size * np.cos(around), np.full(14, across), radius + size * np.sin(around)], 1)

            if not on_top:
                outline = solid.pixels(np.concatenate([ring(side * half, radius), ring(side * (half - 0.22), radius)]))
                hull = cv2.convexHull(outline.astype(np.float32))[:, 0]  # (N, 1, 2) -> (N, 2)
                solid.parts.append(Part((np.asarray(hull, np.float64),), _TYRE))
            elif side == near and abs(float(solid.axes[1] @ towards)) > half:
                solid.add(ring(side * half, radius * 1.12), (20, 20, 20))
                solid.add(ring(side * half, radius), _TYRE)
                solid.add(ring(side * half, radius * 0.6), (165, 165, 168))


def _ends(solid: _Solid, body: _Body, lamps_on: bool, braking: bool) -> list[PointLight]:
    """Lamps, number plate and grille of the ends that face the camera; the lamps that glow are returned."""
    half, length = body.width_m / 2, body.half_length_m
    belt = body.lower[2][1]
    lights: list[PointLight] = []
    front, rear = solid.sees(1.0), solid.sees(-1.0)
    for end, seen in ((1.0, front), (-1.0, rear)):
        if not seen:
            continue
        along = end * (length + 0.01)
        solid.add(_at_end(along, -half * 0.98, half * 0.98, body.lower[0][1], body.lower[0][1] + 0.13), (48, 48, 48))
        if end > 0:
            solid.add(_at_end(along, -0.45 * half, 0.45 * half, belt * 0.46, belt * 0.64), (38, 38, 38))
        solid.add(_at_end(along, -0.26, 0.26, belt * 0.44, belt * 0.56), (215, 225, 225))
        glows = lamps_on or (braking and end < 0)
        colour: Colour = (225, 240, 245) if end > 0 else ((40, 40, 235) if glows else (35, 30, 160))
        low, high = (0.54, 0.70) if end > 0 else (0.60, 0.82)
        for side in (-1.0, 1.0):
            lamp = _at_end(along, side * half * 0.6, side * half * 0.96, belt * low, belt * high)
            solid.add(lamp, colour, emissive=glows)
            if glows and (lamps_on or end < 0):
                centre = solid.pixels(lamp).mean(axis=0)
                size = solid.camera.focal_px * 0.42 / solid.origin[2]
                halo: Colour = (190, 225, 255) if end > 0 else (30, 30, 255)
                lights.append(
                    PointLight(centre[0], centre[1], size if end > 0 else size * 0.6, halo, 0.95 if end > 0 else 0.5)
                )
    return lights


def make_car(rng: np.random.Generator, camera: Camera, light: Light, x: float, z: float, yaw_rad: float) -> Drawable:
    """A car at ground point (x, z) metres, heading `yaw_rad` from +z."""
    body = _BODIES[int(rng.choice(len(_BODIES), p=_BODY_SHARES))]
    tone = rng.uniform(0.85, 1.1)
    b, g, r = _PAINTS[int(rng.integers(len(_PAINTS)))]
    paint: Colour = (min(b * tone, 250.0), min(g * tone, 250.0), min(r * tone, 250.0))
    solid = _Solid(camera, light, x, z, yaw_rad)
    half = body.width_m / 2
    _wheels(solid, body, on_top=False)
    _extrude(solid, np.array(body.lower), np.full(len(body.lower), half), paint, glass=False)
    _extrude(solid, np.array(body.cabin), half * np.array([0.95, 0.8, 0.8, 0.95]), paint, glass=True)
    lights = _ends(solid, body, light.lamps_on, braking=bool(rng.random() < 0.25))
    _wheels(solid, body, on_top=True)
    length = body.half_length_m
    slide = -light.sun[[0, 2]] / light.sun[1] * 0.7 * light.sun_strength
    base = [(solid.world(np.array([[a, c, 0.0]]))[0][[0, 2]]) for a in (-length, length) for c in (-half, half)]
    cast = [p + slide for p in base]
    outline = cv2.convexHull(camera.ground([(float(p[0]), float(p[1])) for p in base + cast]).astype(np.float32))
    shadow = np.asarray(outline[:, 0], np.float64)  # (N, 1, 2) -> (N, 2)
    return Drawable(tuple(solid.parts), z, CAR, 5.0, tuple(lights), shadow)
