"""Pedestrians: articulated figures with clothes, bags and umbrellas."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edgegd.data.streets.camera import Camera
from edgegd.data.streets.light import Colour, Light
from edgegd.data.streets.paint import Drawable, Part, capsule, ellipse, rectangle

PEDESTRIAN = 0

_SKIN: tuple[Colour, ...] = ((165, 190, 228), (135, 165, 210), (95, 130, 180), (60, 85, 130), (42, 58, 90))
_HAIR: tuple[Colour, ...] = ((22, 22, 26), (30, 45, 70), (60, 110, 165), (110, 175, 210), (150, 150, 150))


def cloth_colour(rng: np.random.Generator, low: float = 0.2, high: float = 0.95) -> Colour:
    """A random clothing colour, BGR 0..255, of a value between `low` and `high`."""
    hsv = np.array([[[rng.uniform(0, 360), rng.uniform(0.05, 0.85), rng.uniform(low, high)]]], np.float32)
    b, g, r = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0] * 255
    return float(b), float(g), float(r)


def _darker(colour: Colour, factor: float) -> Colour:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def _step(start: tuple[float, float], length: float, angle: float) -> tuple[float, float]:
    return start[0] + length * float(np.sin(angle)), start[1] - length * float(np.cos(angle))


class _Figure:
    """A figure of height 1 on a plane facing the camera, scaled and placed by `make_pedestrian`."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.side = float(rng.uniform(0.0, 1.0))  # 0 seen from the front or back, 1 from the side
        self.turn = float(rng.choice([-1.0, 1.0]))
        self.swing = float(rng.uniform(-0.55, 0.55)) * (0.3 + 0.7 * self.side)
        self.shoulder = 0.145 - 0.06 * self.side
        self.top, self.trousers = cloth_colour(rng), cloth_colour(rng, 0.12, 0.7)
        self.skin = _SKIN[int(rng.integers(len(_SKIN)))]
        self.stout = float(rng.uniform(0.9, 1.25))
        self.shapes: list[tuple[NDArray[np.float64], Colour]] = []

    def leg(self, which: float) -> None:
        """A leg (`which` -1 or 1) with thigh, shin and shoe."""
        angle = which * self.swing * self.turn
        spread = which * 0.052 * (1 - 0.7 * self.side)
        bend = self.turn * (0.35 if angle * self.turn < 0 else 0.05) * self.side
        hip = (spread, 0.49)
        knee = _step(hip, 0.235, angle)
        ankle = _step(knee, 0.22, angle - bend)
        colour = _darker(self.trousers, 1.0 if which > 0 else 0.8)
        toe = (ankle[0] + self.turn * 0.055 * (0.3 + 0.7 * self.side), ankle[1] - 0.012)
        self.shapes += [
            (capsule(hip, knee, 0.052 * self.stout, 0.038), colour),
            (capsule(knee, ankle, 0.037, 0.026), colour),
            (capsule(ankle, toe, 0.026, 0.02), (35, 35, 40)),
        ]

    def arm(self, which: float, raised: bool = False) -> tuple[float, float]:
        """An arm (`which` -1 or 1) from shoulder to hand; returns the hand's position."""
        angle = -which * self.swing * 1.1 * self.turn + which * 0.13 * (1 - self.side)
        start = (which * self.shoulder * 0.95, 0.80)
        elbow = _step(start, 0.165, angle)
        hand = (self.turn * 0.08, 0.72) if raised else _step(elbow, 0.15, angle + self.turn * 0.3 * self.side)
        sleeve = _darker(self.top, 0.88 if which > 0 else 0.74)
        self.shapes += [
            (capsule(start, elbow, 0.035 * self.stout, 0.029), sleeve),
            (capsule(elbow, hand, 0.028, 0.021), sleeve),
            (ellipse(hand, 0.024, 0.026, 8), self.skin),
        ]
        return hand

    def torso(self) -> None:
        """Jacket, coat or dress, plain or striped."""
        shoulder, hip = self.shoulder, 0.095 * self.stout * (1 - 0.2 * self.side)
        kind = self.rng.choice(["jacket", "coat", "dress"], p=[0.6, 0.22, 0.18])
        hem = {"jacket": 0.46, "coat": 0.32, "dress": 0.30}[str(kind)]
        flare = {"jacket": 1.0, "coat": 1.15, "dress": 1.5}[str(kind)]
        outline = np.array(
            [
                (-shoulder * 0.55, 0.855),
                (shoulder * 0.55, 0.855),
                (shoulder, 0.81),
                (hip, 0.56),
                (hip * flare, hem),
                (-hip * flare, hem),
                (-hip, 0.56),
                (-shoulder, 0.81),
            ]
        )
        self.shapes.append((outline, self.top))
        if self.rng.random() < 0.3:
            stripe = cloth_colour(self.rng, 0.3, 1.0)
            for up in np.arange(0.58, 0.78, 0.08):
                self.shapes.append((rectangle(-hip * 0.98, up, hip * 0.98, up + 0.035), stripe))
        elif kind != "dress" and self.rng.random() < 0.5:
            self.shapes.append((rectangle(-0.006, hem, 0.006, 0.84), _darker(self.top, 0.6)))

    def head(self) -> None:
        """Neck, face and hair or a cap."""
        x = self.turn * 0.02 * self.side
        hair = _HAIR[int(self.rng.integers(len(_HAIR)))]
        from_behind = self.rng.random() < 0.3
        self.shapes += [
            (capsule((0.0, 0.84), (x, 0.88), 0.032, 0.03), _darker(self.skin, 0.85)),
            (ellipse((x, 0.925), 0.058, 0.072), hair if from_behind else self.skin),
        ]
        if not from_behind:
            back = x - self.turn * 0.016 * self.side
            around = np.linspace(-0.15, np.pi + 0.15, 9)
            cap = np.stack([back + 0.062 * np.cos(around), 0.938 + 0.066 * np.sin(around)], axis=1)
            self.shapes.append((cap, hair if self.rng.random() < 0.8 else cloth_colour(self.rng)))

    def luggage(self, hand: tuple[float, float]) -> None:
        """A hand bag, a rucksack, or nothing."""
        drawn, colour = self.rng.random(), cloth_colour(self.rng, 0.15, 0.9)
        if drawn < 0.18:
            self.shapes += [
                (rectangle(hand[0] - 0.06, hand[1] - 0.16, hand[0] + 0.06, hand[1] - 0.04), colour),
                (capsule(hand, (hand[0], hand[1] - 0.05), 0.008, 0.008), _darker(colour, 0.6)),
            ]
        elif drawn < 0.34:
            x = -self.turn * self.shoulder * 0.9 * self.side
            self.shapes.append((capsule((x, 0.78), (x, 0.62), 0.055, 0.065), colour))

    def umbrella(self) -> None:
        """An open umbrella above the head, its panels in two tones."""
        colour, x = cloth_colour(self.rng, 0.3, 0.95), self.turn * 0.06
        self.shapes.append((rectangle(x - 0.007, 0.7, x + 0.007, 1.2), (60, 60, 60)))
        around = np.linspace(0, np.pi, 11)
        for reach, tone in ((0.33, 1.0), (0.16, 0.8)):
            dome = np.stack([x + reach * np.cos(around), 1.03 + 0.19 * np.sin(around)], axis=1)
            self.shapes.append((dome, _darker(colour, tone)))


def make_pedestrian(rng: np.random.Generator, camera: Camera, light: Light, x: float, z: float) -> Drawable:
    """A pedestrian at ground point (x, z) metres."""
    height_m = rng.uniform(1.05, 1.4) if rng.random() < 0.14 else rng.uniform(1.55, 1.92)
    figure = _Figure(rng)
    umbrella = bool(rng.random() < (0.45 if light.rain else 0.02))
    figure.arm(-1.0)
    figure.leg(-1.0)
    figure.leg(1.0)
    figure.torso()
    figure.head()
    hand = figure.arm(1.0, raised=umbrella)
    if umbrella:
        figure.umbrella()
    else:
        figure.luggage(hand)
    parts = tuple(Part((camera.upright(shape * height_m, x, z),), colour) for shape, colour in figure.shapes)
    reach = height_m / max(light.sun[1], 0.35) * light.sun_strength * 0.6
    dx, dz = -light.sun[0] * reach, -light.sun[2] * reach
    wide = 0.24
    shadow = camera.ground(
        [(x - wide, z - 0.1), (x + wide, z - 0.1), (x + wide + dx, z + 0.1 + dz), (x - wide + dx, z + 0.1 + dz)]
    )
    return Drawable(parts, z, PEDESTRIAN, 9.0, shadow=shadow)
