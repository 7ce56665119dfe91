"""What lens, sensor and weather do to the picture: glow, blur, rain, vignetting and noise."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edgegd.data.streets.camera import Camera
from edgegd.data.streets.light import Light
from edgegd.data.streets.paint import PointLight

_GLOW_SCALE = 4  # glow is smooth, so it is computed at a quarter of the resolution


def add_glow(image: NDArray[np.float32], lamps: Sequence[PointLight], camera: Camera, light: Light) -> None:
    """Add halos (and, in the dark, the beam of the own headlights) to a picture (H, W, 3) in place."""
    if not light.lamps_on:
        return
    height, width = image.shape[:2]
    size = (width // _GLOW_SCALE, height // _GLOW_SCALE)
    darkness = float(np.clip(1.1 - light.illumination.mean(), 0.1, 1.0))
    beam = np.zeros((size[1], size[0]), np.float32)
    middle, horizon = int(camera.centre_x / _GLOW_SCALE), int(camera.horizon_y / _GLOW_SCALE)
    cv2.ellipse(beam, (middle, horizon + size[1] // 4), (size[0] // 3, size[1] // 4), 0, 0, 360, 1.0, -1)
    beam = cv2.GaussianBlur(beam, (0, 0), size[1] / 9)
    gain = cv2.resize(beam, (width, height), interpolation=cv2.INTER_LINEAR) * (1.9 * darkness) + 1.0
    image *= gain[..., None]
    for spread, weight in ((1.0, 1.0), (3.5, 0.55)):
        halo = np.zeros((size[1], size[0], 3), np.float32)
        for lamp in lamps:
            radius = max(lamp.radius_px * spread / _GLOW_SCALE, 0.6)
            b, g, r = (channel * lamp.strength * weight * (0.35 + 0.65 * darkness) for channel in lamp.colour)
            place = (int(lamp.x * 16 / _GLOW_SCALE), int(lamp.y * 16 / _GLOW_SCALE))
            cv2.circle(halo, place, int(radius * 16 * 0.5), (b, g, r), -1, shift=4)
        halo = cv2.GaussianBlur(halo, (0, 0), 1.0 * spread)
        image += cv2.resize(halo, (width, height), interpolation=cv2.INTER_LINEAR)


def add_rain(rng: np.random.Generator, image: NDArray[np.float32], light: Light) -> None:
    """Streaks of rain, slanted alike, onto a picture (H, W, 3) in place."""
    if light.rain <= 0:
        return
    height, width = image.shape[:2]
    streaks = np.zeros((height, width), np.uint8)
    slant = rng.uniform(-0.35, 0.35)
    for _ in range(int(160 * light.rain)):
        x, y, length = rng.uniform(0, width), rng.uniform(-10, height), rng.uniform(6, 20)
        cv2.line(streaks, (int(x), int(y)), (int(x + slant * length), int(y + length)), int(rng.integers(40, 130)), 1)
    image += cv2.GaussianBlur(streaks, (3, 3), 0)[..., None] * np.float32(0.35 * light.illumination.mean() + 0.08)


def _motion_blur(image: NDArray[np.float32], length: int, angle_rad: float) -> NDArray[np.float32]:
    kernel = np.zeros((length, length), np.float32)
    half = (length - 1) / 2
    dx, dy = half * np.cos(angle_rad), half * np.sin(angle_rad)
    cv2.line(kernel, (round(half - dx), round(half - dy)), (round(half + dx), round(half + dy)), 1.0, 1)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.float32)


def expose(rng: np.random.Generator, image: NDArray[np.float32], light: Light) -> NDArray[np.uint8]:
    """Blur (motion or defocus, in a part of the images), vignetting, tone and noise: (H, W, 3) float32 to uint8."""
    height, width = image.shape[:2]
    dark = float(np.clip(1.0 - light.illumination.mean(), 0.0, 1.0))
    drawn = rng.random()
    if drawn < 0.12 + 0.12 * dark:
        image = _motion_blur(image, int(rng.integers(3, 8)), rng.normal(0.0, 0.4))
    elif drawn < 0.4:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.6)), np.float32)
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    vignette = 1.0 - np.float32(rng.uniform(0.0, 0.22)) * (x[None] ** 2 + y[:, None] ** 2) / 2
    gains = (rng.uniform(0.9, 1.12) * rng.uniform(0.95, 1.05, 3)).astype(np.float32)
    image = image * cv2.merge([vignette * gain for gain in gains])
    sigma = np.float32(rng.uniform(1.0, 4.5) + rng.uniform(0.0, 8.0) * dark)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    cv2.scaleAdd(noise, float(sigma), image, dst=noise)
    return np.asarray(cv2.convertScaleAbs(np.maximum(noise, 0, out=noise)), np.uint8)
