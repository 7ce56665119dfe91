"""The pinhole camera of a street scene: world metres to image pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEAREST_M = 0.8  # points nearer than this are moved here, so that ground polygons that pass the camera stay finite


@dataclass(frozen=True)
class Camera:
    """A camera on the vehicle, looking along +z; x is to the right, y is up, the ground is y = 0 (metres).

    `focal_px` is the focal length, (`centre_x`, `horizon_y`) the vanishing point in pixels, `height_m` the camera's
    height and `roll_rad` its rotation about the viewing axis.
    """

    width: int
    height: int
    focal_px: float
    centre_x: float
    horizon_y: float
    height_m: float
    roll_rad: float

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """World points (N, 3) in metres to image points (N, 2) in pixels."""
        scale = self.focal_px / np.maximum(points[:, 2], NEAREST_M)
        right = scale * points[:, 0]
        down = scale * (self.height_m - points[:, 1])
        cos, sin = math.cos(self.roll_rad), math.sin(self.roll_rad)
        pixels = np.empty((len(points), 2))
        pixels[:, 0] = self.centre_x + cos * right - sin * down
        pixels[:, 1] = self.horizon_y + sin * right + cos * down
        return pixels

    def project_each(self, polygons: list[NDArray[np.float64]]) -> tuple[NDArray[np.float64], ...]:
        """Many world polygons of equally many points, each (N, 3), to image polygons (N, 2) in one go."""
        if not polygons:
            return ()
        count = len(polygons[0])
        return tuple(self.project(np.concatenate(polygons)).reshape(-1, count, 2))  # (K * N, 2) -> (K, N, 2)

    def ground(self, points: list[tuple[float, float]]) -> NDArray[np.float64]:
        """Ground points (x, z) in metres to image points (N, 2) in pixels."""
        return self.project(np.array([(x, 0.0, z) for x, z in points]))

    def upright(self, points: NDArray[np.float64], x: float, z: float) -> NDArray[np.float64]:
        """Points (N, 2) as (right, up) in metres on a plane that faces the camera at ground point (x, z), to pixels."""
        world = np.empty((len(points), 3))
        world[:, 0], world[:, 1], world[:, 2] = points[:, 0] + x, points[:, 1], z
        return self.project(world)

    def column(self, x: float, z: float) -> float:
        """The pixel column of ground point (x, z)."""
        return float(self.ground([(x, z)])[0, 0])


def sample_camera(rng: np.random.Generator, width: int, height: int) -> Camera:
    """A random camera for images of `width` x `height` pixels."""
    return Camera(
        width=width,
        height=height,
        focal_px=width * rng.uniform(0.75, 1.0),
        centre_x=width * rng.uniform(0.36, 0.64),
        horizon_y=height * rng.uniform(0.38, 0.54),
        height_m=rng.uniform(1.25, 2.1),
        roll_rad=rng.normal(0.0, 0.012),
    )
