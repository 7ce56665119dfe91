"""One street scene: picture, boxes, classes and the id mask that the boxes come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgegd.data.streets.background import paint_background, sample_street, surface_noise
from edgegd.data.streets.camera import sample_camera
from edgegd.data.streets.degrade import add_glow, add_rain, expose
from edgegd.data.streets.layout import place_everything
from edgegd.data.streets.light import Light, sample_light
from edgegd.data.streets.paint import SUPERSAMPLING, Canvas, Drawable, PointLight

CLASS_NAMES = ("pedestrian", "car", "traffic sign")
SMALLEST_PX = 8  # the longer side of the smallest box that is drawn and labelled
LEAST_VISIBLE = 0.35  # the least visible share of an actor that is drawn and labelled


@dataclass(frozen=True)
class Scene:
    """A rendered scene of N actors; every actor in the picture has a box.

    `image` is (H, W, 3) uint8 BGR; `boxes` (N, 4) float32 xyxy in pixels, tight around the visible pixels (x2 and y2
    exclusive); `class_ids` (N,) int64 into CLASS_NAMES; `id_mask` (H, W) int32 with 0 for no actor and k for the actor
    of box k - 1; `visibility` (N,) float32 the share of each actor that is neither hidden nor outside of the picture.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    id_mask: NDArray[np.int32]
    visibility: NDArray[np.float32]


def _identities(things: Sequence[Drawable]) -> list[int]:
    """1, 2, ... for actors and 0 for clutter, in painting order."""
    actors = np.cumsum([thing.class_id is not None for thing in things])
    return [int(k) if thing.class_id is not None else 0 for thing, k in zip(things, actors, strict=True)]


def _measure(canvas: Canvas, actors: Sequence[Drawable]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes (N, 4) in pixels and visible shares (N,) of the actors in the canvas' mask."""
    boxes, visibility = np.zeros((len(actors), 4), np.float32), np.zeros(len(actors), np.float32)
    for i, actor in enumerate(actors):
        seen, boxes[i] = canvas.visible(actor, i + 1)
        visibility[i] = seen / max(actor.full_area, 1)
    return boxes, visibility


def _keep_visible(
    things: list[Drawable], width: int, height: int, light: Light, noise: NDArray[np.uint8]
) -> list[Drawable]:
    """Leave out the actors that would be too small or too hidden, so that no actor is drawn without a label.

    Leaving one out only uncovers others, so one pass is enough.
    """
    canvas = Canvas(width, height, light, noise)
    for thing, ident in zip(things, _identities(things), strict=True):
        canvas.draw_mask(thing, ident)
    actors = [thing for thing in things if thing.class_id is not None]
    boxes, visibility = _measure(canvas, actors)
    longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    good = iter((longer >= SMALLEST_PX) & (visibility >= LEAST_VISIBLE))
    return [thing for thing in things if thing.class_id is None or next(good)]


def _seen_lamps(things: Sequence[Drawable], identities: Sequence[int], mask: NDArray[np.int32]) -> list[PointLight]:
    """The lamps that nothing hides."""
    height, width = mask.shape
    lamps = []
    for thing, ident in zip(things, identities, strict=True):
        for lamp in thing.lamps:
            x, y = int(lamp.x), int(lamp.y)
            if not (0 <= x < width and 0 <= y < height) or ident == mask[y, x]:
                lamps.append(lamp)
    return lamps


def render_scene(rng: np.random.Generator, width: int = 480, height: int = 320, *, hour: float | None = None) -> Scene:
    """Render a random street scene of `width` x `height` pixels.

    All randomness comes from `rng`. `hour` fixes the time of day (12 noon .. 24 midnight); without it, it is random.
    """
    light, camera, street = sample_light(rng, hour), sample_camera(rng, width, height), sample_street(rng)
    noise = surface_noise(rng, width * SUPERSAMPLING, height * SUPERSAMPLING)
    things = _keep_visible(place_everything(rng, camera, light, street), width, height, light, noise)
    identities = _identities(things)
    canvas = Canvas(width, height, light, noise)
    paint_background(rng, canvas, camera, street)
    for thing in things:
        if thing.shadow is not None:
            canvas.darken(thing.shadow, 0.78 - 0.25 * light.sun_strength)
    for thing, ident in zip(things, identities, strict=True):
        canvas.draw(thing, ident)
    actors = [thing for thing in things if thing.class_id is not None]
    mask, (boxes, visibility) = canvas.id_mask(), _measure(canvas, actors)
    picture = cv2.resize(canvas.image, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    add_glow(picture, _seen_lamps(things, identities, mask), camera, light)
    add_rain(rng, picture, light)
    class_ids = np.array([actor.class_id for actor in actors], np.int64)
    return Scene(expose(rng, picture, light), boxes, class_ids, mask, visibility)
