"""What is behind the actors: sky, skyline, ground, road markings and facades."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgegd.data.streets.camera import Camera
from edgegd.data.streets.light import Colour
from edgegd.data.streets.paint import SUPERSAMPLING, Canvas, Part, rectangle

_FAR_M = 160.0


@dataclass(frozen=True)
class Street:
    """The ground plan, metres: the road spans x from `left` to `right`, with a sidewalk on either side."""

    left: float
    right: float
    lane: float
    sidewalk: float
    rural: bool


def sample_street(rng: np.random.Generator) -> Street:
    """A random street of two to four lanes; the camera is in one of its right-hand lanes."""
    lane = rng.uniform(2.9, 3.5)
    lanes_left, lanes_right = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    shift = rng.uniform(-0.6, 0.6) - lane / 2
    return Street(
        shift - lanes_left * lane, shift + lanes_right * lane, lane, rng.uniform(2.0, 4.0), bool(rng.random() < 0.25)
    )


def surface_noise(rng: np.random.Generator, width: int, height: int) -> NDArray[np.uint8]:
    """Grain (height, width, 3) uint8 of mean 128 in two scales, for asphalt, plaster and cloth."""
    fine = rng.integers(0, 256, (height, width), dtype=np.uint8)
    coarse = rng.integers(0, 256, (height // 8, width // 8), dtype=np.uint8)
    blotches = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(cv2.addWeighted(fine, 0.55, blotches, 0.45, 0.5), cv2.COLOR_GRAY2BGR), np.uint8)


def paint_background(rng: np.random.Generator, canvas: Canvas, camera: Camera, street: Street) -> None:
    """Paint everything that carries no id: sky, skyline, ground, markings, facades."""
    _sky(rng, canvas, camera)
    _skyline(rng, canvas, camera)
    _ground(rng, canvas, camera, street)
    for side in (-1.0, 1.0):
        edge = street.left - street.sidewalk if side < 0 else street.right + street.sidewalk
        if street.rural:
            _hedge(rng, canvas, camera, edge, side)
        else:
            _facades(rng, canvas, camera, edge, side)
    height, width = canvas.image.shape[:2]
    canvas.roughen((0, int(camera.horizon_y * SUPERSAMPLING * 0.9), width, height), rng.uniform(3.0, 8.0))


def _sky(rng: np.random.Generator, canvas: Canvas, camera: Camera) -> None:
    rows, columns = canvas.image.shape[:2]
    end = min(int(camera.horizon_y * SUPERSAMPLING) + 24, rows)
    light = canvas.light
    blend = np.linspace(0, 1, 48)[:, None, None] ** 0.8
    gradient = (1 - blend) * light.zenith + blend * light.horizon  # (48, 1, 3)
    large = cv2.resize(rng.random((5, 9)).astype(np.float32), (96, 48), interpolation=cv2.INTER_CUBIC)
    small = cv2.resize(rng.random((12, 22)).astype(np.float32), (96, 48), interpolation=cv2.INTER_CUBIC)
    clouds = np.clip((large + 0.35 * small - rng.uniform(0.55, 1.0)) * 1.6, 0, 0.75)[..., None]  # (48, 96, 1)
    bright = np.clip(245 * light.illumination.mean() ** 1.4, 0, 255)
    sky = np.clip((1 - clouds) * gradient + clouds * bright, 0, 255).astype(np.uint8)
    canvas.image[:end] = cv2.resize(sky, (columns, end), interpolation=cv2.INTER_LINEAR)
    b, g, r = light.shade((70, 90, 85), 60.0)
    cv2.rectangle(canvas.image, (0, end), (columns, rows), (int(b), int(g), int(r)), -1)


def _skyline(rng: np.random.Generator, canvas: Canvas, camera: Camera) -> None:
    base, x = camera.horizon_y + 8, -10.0
    while x < camera.width + 10:
        wide = rng.uniform(14, 60)
        tall = rng.uniform(4, 0.16 * camera.height)
        grey = rng.uniform(70, 120)
        canvas.fill(Part((rectangle(x, base - tall, x + wide, base),), (grey * 1.1, grey, grey * 0.95)), 90.0)
        x += wide * rng.uniform(0.7, 1.5)


def _flat(x0: float, x1: float, z0: float, z1: float) -> NDArray[np.float64]:
    return np.array([(x0, 0.0, z0), (x1, 0.0, z0), (x1, 0.0, z1), (x0, 0.0, z1)])


def _strip(camera: Camera, x0: float, x1: float, z0: float, z1: float) -> NDArray[np.float64]:
    return camera.project(_flat(x0, x1, z0, z1))


def _ground(rng: np.random.Generator, canvas: Canvas, camera: Camera, street: Street) -> None:
    """Verge, sidewalks with joints, asphalt with worn patches, lane lines and perhaps a crossing."""
    verge: Colour = (60, 115, 85) if street.rural or rng.random() < 0.3 else (120, 125, 130)
    walk_grey, road_grey = rng.uniform(125, 165), rng.uniform(70, 110)
    walk: Colour = (walk_grey * 0.95, walk_grey, walk_grey * 1.03)
    road: Colour = (road_grey, road_grey, road_grey * rng.uniform(0.96, 1.03))
    walks = ((street.left, street.left - street.sidewalk), (street.right, street.right + street.sidewalk))
    # haze grows with depth; the bands overlap a little so that no line of verge shows between them
    bands = ((0.0, 9.0), (9.0, 22.0), (22.0, 50.0), (50.0, _FAR_M))
    for near, far in reversed(bands):
        depth = max(near, 4.0) * 1.3
        canvas.fill(Part((_strip(camera, -200, 200, near, far),), verge), depth)
        for inner, outer in walks:
            canvas.fill(Part((_strip(camera, inner, outer, near, far * 1.03),), walk), depth)
        canvas.fill(Part((_strip(camera, street.left, street.right, near, far * 1.03),), road), depth)
    joint: Colour = (walk[0] * 0.8, walk[1] * 0.8, walk[2] * 0.8)
    for z in np.arange(4.0, 30.0, 1.5):
        lines = [_flat(inner, outer, z, z + 0.06) for inner, outer in walks]
        canvas.fill(Part(camera.project_each(lines), joint), z)
    for _ in range(int(rng.integers(2, 6))):
        x, z, tone = rng.uniform(street.left, street.right - 1.2), rng.uniform(4, 30), rng.uniform(0.82, 1.12)
        patch = _strip(camera, x, x + rng.uniform(0.4, 1.2), z, z + rng.uniform(0.5, 4))
        canvas.fill(Part((patch,), (road[0] * tone, road[1] * tone, road[2] * tone)), z)
    for x in (street.left, street.right):
        canvas.fill(Part((_strip(camera, x - 0.1, x + 0.1, 1.0, _FAR_M),), (150, 152, 155)), 18.0)
    paint: Colour = (215, 218, 220) if rng.random() < 0.8 else (70, 190, 225)
    for x in np.arange(street.left + street.lane, street.right - 1.0, street.lane):
        for z in np.arange(rng.uniform(1, 3), 70, 6.0):
            canvas.fill(Part((_strip(camera, x - 0.07, x + 0.07, z, z + 3.0),), paint), z)
    if rng.random() < 0.45:
        z = rng.uniform(7, 20)
        bars = [_flat(x, x + 0.5, z, z + 3.0) for x in np.arange(street.left + 0.3, street.right - 0.5, 1.0)]
        canvas.fill(Part(camera.project_each(bars), (215, 218, 220)), z)


def _upright(x: float, z0: float, z1: float, y0: float, y1: float) -> NDArray[np.float64]:
    return np.array([(x, y0, z0), (x, y0, z1), (x, y1, z1), (x, y1, z0)])


def _wall(camera: Camera, x: float, z0: float, z1: float, y0: float, y1: float) -> NDArray[np.float64]:
    return camera.project(_upright(x, z0, z1, y0, y1))


def _facades(rng: np.random.Generator, canvas: Canvas, camera: Camera, edge: float, side: float) -> None:
    """Buildings along one side, far to near, each with its end wall, windows, shop fronts and courses of brick."""
    ends = [rng.uniform(1.5, 6.0)]
    while ends[-1] < 110:
        ends.append(ends[-1] + rng.uniform(7, 18))
    for z0, z1 in reversed(list(itertools.pairwise(ends))):
        if rng.random() < 0.1:
            continue
        tone, tall = rng.uniform(80, 190), float(rng.integers(2, 7)) * 3.0 + 0.8
        wall: Colour = (tone * rng.uniform(0.6, 1.0), tone * rng.uniform(0.8, 1.0), tone)
        x, depth = edge + side * rng.uniform(0, 0.8), (z0 + z1) / 2
        gable = camera.project(np.array([(x, 0, z0), (x + side * 12, 0, z0), (x + side * 12, tall, z0), (x, tall, z0)]))
        canvas.fill(Part((gable,), (wall[0] * 0.75, wall[1] * 0.75, wall[2] * 0.75)), depth)
        canvas.fill(Part((_wall(camera, x, z0, z1, 0, tall),), wall), depth)
        if z0 < 30 and rng.random() < 0.5:
            courses = [_upright(x, z0, z1, y, y + 0.07) for y in np.arange(0.5, tall, 0.5)]
            canvas.fill(Part(camera.project_each(courses), (wall[0] * 0.82, wall[1] * 0.82, wall[2] * 0.82)), depth)
        _windows(rng, canvas, camera, x, z0, z1, tall)


def _windows(
    rng: np.random.Generator, canvas: Canvas, camera: Camera, x: float, z0: float, z1: float, tall: float
) -> None:
    depth, pitch = (z0 + z1) / 2, rng.uniform(1.8, 3.0)
    if rng.random() < 0.45:  # a shop front with an awning or a name board
        canvas.fill(Part((_wall(camera, x, z0 + 0.5, z1 - 0.5, 0.5, 2.3),), (70, 62, 55), canvas.light.lamps_on), depth)
        b, g, r = rng.uniform(30, 220, 3)
        canvas.fill(Part((_wall(camera, x, z0 + 0.3, z1 - 0.3, 2.35, 2.95),), (b, g, r)), depth)
    lit: list[NDArray[np.float64]] = []
    dark: list[NDArray[np.float64]] = []
    for z in np.arange(z0 + 0.7, z1 - 1.3, pitch):
        for floor in np.arange(3.7, tall - 1.0, 3.0):
            pane = _upright(x, z, z + pitch * 0.5, floor, floor + 1.5)
            (lit if canvas.light.lamps_on and rng.random() < 0.3 else dark).append(pane)
    if dark:
        canvas.fill(Part(camera.project_each(dark), (105, 88, 72)), depth)
    if lit:
        canvas.fill(Part(camera.project_each(lit), (110, 190, 225), True), depth)


def _hedge(rng: np.random.Generator, canvas: Canvas, camera: Camera, edge: float, side: float) -> None:
    """A row of bushes and trees beyond the sidewalk."""
    for z in np.arange(110.0, 4.0, -4.5):
        tall, tone = rng.uniform(1.0, 5.0), rng.uniform(0.7, 1.15)
        along = np.linspace(0, np.pi, 9)
        outline = np.stack(
            [
                edge + side * 3.0 + rng.uniform(2.0, 3.2) * np.cos(along),
                tall * np.sin(along) * rng.uniform(0.8, 1.15, 9),
                np.full(9, z),
            ],
            axis=1,
        )
        canvas.fill(Part((camera.project(outline),), (48 * tone, 95 * tone, 62 * tone)), z)
