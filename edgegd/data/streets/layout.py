"""Where cars, pedestrians, signs and street furniture stand."""

from __future__ import annotations

import numpy as np

from edgegd.data.streets.background import Street
from edgegd.data.streets.camera import Camera
from edgegd.data.streets.cars import make_car
from edgegd.data.streets.clutter import make_clutter
from edgegd.data.streets.light import Light
from edgegd.data.streets.paint import Drawable
from edgegd.data.streets.pedestrians import make_pedestrian
from edgegd.data.streets.signs import make_sign

_TRIES = 14  # places drawn for a thing before it is left out
_DISTANT_SHARE = 0.12


def _depth(rng: np.random.Generator, near_m: float, far_m: float, lean: float = 1.0) -> float:
    """A depth whose logarithm is uniform (`lean` 1) or leans to the near end (above 1).

    A few lie beyond `far_m`: they are the tail of objects of 8 pixels and little more.
    """
    if rng.random() < _DISTANT_SHARE:
        return float(rng.uniform(far_m, 2.6 * far_m))
    return float(near_m * (far_m / near_m) ** (rng.random() ** lean))


class _Ground:
    """The occupied places; refuses those outside of the picture or too close to another."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.taken: list[tuple[float, float, float, float]] = []

    def claim(self, x: float, z: float, wide_m: float, long_m: float, margin: float = 0.02) -> bool:
        column = self.camera.column(x, z) / self.camera.width
        if not margin < column < 1 - margin:
            return False
        for other_x, other_z, other_wide, other_long in self.taken:
            if abs(x - other_x) < (wide_m + other_wide) / 2 and abs(z - other_z) < (long_m + other_long) / 2:
                return False
        self.taken.append((x, z, wide_m, long_m))
        return True


def _car_place(rng: np.random.Generator, street: Street) -> tuple[float, float, float]:
    """(x, z, yaw) of a car: with the traffic, towards it, parked, or crossing."""
    z = _depth(rng, 6.5, 48.0, 1.15)
    drawn = rng.random()
    lanes = np.arange(street.left + street.lane / 2, street.right, street.lane)
    if drawn < 0.45:
        x = float(rng.choice(lanes)) + rng.normal(0, 0.25)
        yaw = (0.0 if x > -street.lane / 2 else np.pi) + rng.normal(0, 0.08)
    elif drawn < 0.65:
        right = rng.random() < 0.5
        x = street.right - 0.9 if right else street.left + 0.9
        yaw = (0.0 if right else np.pi) + rng.normal(0, 0.05)
    elif drawn < 0.86:
        x, yaw = rng.uniform(street.left, street.right), float(rng.choice([-1, 1])) * np.pi / 2 + rng.normal(0, 0.12)
    else:
        x, yaw = rng.uniform(street.left, street.right), rng.uniform(0, 2 * np.pi)
    return float(x), z + (2.0 if abs(np.cos(yaw)) > 0.5 else 0.0), float(yaw)


def _beside(rng: np.random.Generator, street: Street, inset: float) -> float:
    """An x on one of the sidewalks, `inset` metres or more from its edges."""
    offset = rng.uniform(inset, street.sidewalk - inset)
    return float(street.right + offset if rng.random() < 0.5 else street.left - offset)


def place_everything(rng: np.random.Generator, camera: Camera, light: Light, street: Street) -> list[Drawable]:
    """All standing things of a scene, far to near."""
    things: list[Drawable] = []
    ground = _Ground(camera)
    for _ in range(int(rng.choice([0, 1, 2, 3, 4, 5, 6], p=[0.04, 0.14, 0.24, 0.24, 0.17, 0.11, 0.06]))):
        for _ in range(_TRIES):
            x, z, yaw = _car_place(rng, street)
            sideways = abs(np.sin(yaw)) > 0.5
            if ground.claim(x, z, 5.4 if sideways else 2.3, 2.6 if sideways else 5.6):
                things.append(make_car(rng, camera, light, x, z, yaw))
                break
    for _ in range(int(rng.choice([0, 1, 2, 3, 4, 5, 6], p=[0.06, 0.16, 0.22, 0.22, 0.17, 0.11, 0.06]))):
        for _ in range(_TRIES):
            crossing = rng.random() < 0.4
            z = _depth(rng, 5.0, 30.0, 1.4)
            x = rng.uniform(street.left, street.right) if crossing else _beside(rng, street, 0.4)
            if ground.claim(x, z, 0.6, 0.8):
                things.append(make_pedestrian(rng, camera, light, x, z))
                break
    for _ in range(int(rng.choice([0, 1, 2, 3, 4], p=[0.08, 0.28, 0.32, 0.22, 0.10]))):
        for _ in range(_TRIES):
            edge = street.right + rng.uniform(0.3, 1.0) if rng.random() < 0.62 else street.left - rng.uniform(0.3, 1.0)
            z = _depth(rng, 6.0, 28.0, 1.5)
            if ground.claim(edge, z, 1.0, 0.8, margin=0.03):
                things += make_sign(rng, camera, light, edge, z)
                break
    for _ in range(int(rng.integers(2, 9))):
        for _ in range(_TRIES):
            x, z = _beside(rng, street, 0.2), _depth(rng, 6.0, 45.0)
            if ground.claim(x, z, 0.5, 0.6, margin=-0.05):
                things.append(make_clutter(rng, camera, light, x, z))
                break
    things.sort(key=lambda thing: -thing.depth_m)
    return things
