"""Light of a street scene, from noon to night: illumination, sun, sky and haze."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]  # BGR, 0..255

# (hour, brightness, illumination tint BGR, sky at the zenith BGR, sky at the horizon BGR); between them interpolated
_DAY = (
    (12.0, 1.00, (1.00, 1.00, 1.00), (225, 165, 105), (240, 222, 200)),
    (16.5, 0.92, (0.86, 0.96, 1.06), (215, 160, 115), (205, 218, 238)),
    (18.5, 0.62, (0.82, 0.88, 1.10), (150, 100, 90), (110, 155, 235)),
    (20.0, 0.45, (1.15, 0.95, 0.90), (85, 50, 40), (115, 85, 105)),
    (22.0, 0.35, (1.12, 0.98, 0.92), (38, 20, 14), (56, 40, 38)),
    (24.0, 0.29, (1.15, 1.00, 0.92), (22, 12, 8), (38, 28, 26)),
)


@dataclass(frozen=True)
class Light:
    """The light of one scene. Tints multiply BGR; `haze_per_m` is the extinction of Koschmieder's law."""

    illumination: NDArray[np.float64]  # (3,) BGR multipliers
    zenith: NDArray[np.float64]  # (3,) BGR, 0..255
    horizon: NDArray[np.float64]  # (3,) BGR, 0..255; also the colour of haze
    haze_per_m: float
    sun: NDArray[np.float64]  # (3,) unit vector towards the sun: right, up, forward
    sun_strength: float  # 0 overcast or night .. 1 clear
    lamps_on: bool
    rain: float  # 0 dry .. 1 heavy

    def shade(self, colour: Colour, depth_m: float, emissive: bool = False) -> Colour:
        """The BGR colour (0..255) of a surface seen at `depth_m`: lit (unless it emits light itself), then hazed."""
        clear = math.exp(-self.haze_per_m * depth_m)
        gain = (1.0, 1.0, 1.0) if emissive else self.illumination.tolist()
        b, g, r = (
            min(max(clear * (channel * factor) + (1.0 - clear) * haze, 0.0), 255.0)
            for channel, factor, haze in zip(colour, gain, self.horizon.tolist(), strict=True)
        )
        return float(b), float(g), float(r)


def _interpolate(hour: float) -> tuple[float, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    hours = [row[0] for row in _DAY]
    brightness = float(np.interp(hour, hours, [row[1] for row in _DAY]))

    def mix(column: int) -> NDArray[np.float64]:
        return np.array([np.interp(hour, hours, [row[column][c] for row in _DAY]) for c in range(3)])  # type: ignore

    return brightness, mix(2), mix(3), mix(4)


def sample_light(rng: np.random.Generator, hour: float | None = None) -> Light:
    """Random weather at `hour` (12 noon .. 24 midnight); without it a random hour, more often by day than by night."""
    drawn = rng.uniform(12.0, 17.5) if rng.random() < 0.6 else rng.uniform(17.5, 24.0)
    hour = drawn if hour is None else hour
    brightness, tint, zenith, horizon = _interpolate(hour)
    weather = rng.choice(["clear", "overcast", "rain", "fog"], p=[0.5, 0.24, 0.14, 0.12])
    haze = {
        "clear": rng.uniform(0.0005, 0.004),
        "overcast": rng.uniform(0.001, 0.006),
        "rain": rng.uniform(0.004, 0.012),
        "fog": rng.uniform(0.015, 0.045),
    }[str(weather)]
    if weather != "clear":
        grey = 0.8 * float(horizon.mean())
        horizon = 0.4 * horizon + 0.6 * grey
        zenith = 0.35 * zenith + 0.65 * grey * 0.95
        brightness *= rng.uniform(0.78, 0.95)
    elevation = np.deg2rad(float(np.interp(hour, [12.0, 18.5], [62.0, 14.0])))
    azimuth = rng.uniform(0.0, 2.0 * np.pi)
    sun = np.array([np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])
    return Light(
        illumination=tint * brightness * rng.uniform(0.9, 1.08),
        zenith=zenith,
        horizon=horizon,
        haze_per_m=haze,
        sun=sun,
        sun_strength=(1.0 if weather == "clear" else 0.25) if hour < 18.8 else 0.0,
        lamps_on=bool(hour > 18.3 or (weather != "clear" and rng.random() < 0.3)),
        rain=rng.uniform(0.3, 1.0) if weather == "rain" else 0.0,
    )
