"""The oracle of the labels is the id mask, and the oracle of the id mask is the picture that was drawn."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from edgegd.data.streets import CLASS_NAMES, Scene, render_scene
from edgegd.data.streets.camera import Camera
from edgegd.data.streets.cars import make_car
from edgegd.data.streets.clutter import make_clutter
from edgegd.data.streets.light import sample_light
from edgegd.data.streets.paint import SUPERSAMPLING, Canvas, Drawable
from edgegd.data.streets.pedestrians import make_pedestrian
from edgegd.data.streets.scene import LEAST_VISIBLE, SMALLEST_PX
from edgegd.data.streets.signs import make_sign

SCENES = 60
CAMERA = Camera(width=240, height=160, focal_px=200.0, centre_x=120.0, horizon_y=70.0, height_m=1.5, roll_rad=0.0)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render_scene(np.random.default_rng([7, i])) for i in range(SCENES)]


def _actor(kind: str, rng: np.random.Generator) -> Drawable:
    light = sample_light(rng, 12.0)
    if kind == "car":
        return make_car(rng, CAMERA, light, 0.0, 12.0, float(rng.uniform(0, 2 * np.pi)))
    if kind == "pedestrian":
        return make_pedestrian(rng, CAMERA, light, 0.0, 6.0)
    return make_sign(rng, CAMERA, light, 0.0, 10.0)[1]


def test_the_same_generator_draws_the_same_scene_and_another_a_different_one() -> None:
    first, again, other = (render_scene(np.random.default_rng(seed)) for seed in (3, 3, 4))
    for name in ("image", "boxes", "class_ids", "id_mask", "visibility"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.image != other.image).mean() > 0.5


def test_shapes_and_types_are_as_documented(scenes: list[Scene]) -> None:
    for scene in scenes:
        count = len(scene.boxes)
        assert (scene.image.shape, scene.image.dtype) == ((320, 480, 3), np.uint8)
        assert (scene.id_mask.shape, scene.id_mask.dtype) == ((320, 480), np.int32)
        assert (scene.boxes.shape, scene.boxes.dtype) == ((count, 4), np.float32)
        assert (scene.class_ids.shape, scene.class_ids.dtype) == ((count,), np.int64)
        assert set(scene.class_ids.tolist()) <= set(range(len(CLASS_NAMES)))


def test_boxes_are_the_extreme_pixels_of_the_id_mask(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert set(np.unique(scene.id_mask)) - {0} == set(range(1, len(scene.boxes) + 1))
        for k, box in enumerate(scene.boxes, start=1):
            rows, columns = np.nonzero(scene.id_mask == k)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("kind", ["pedestrian", "car", "traffic sign"])
@pytest.mark.parametrize("seed", range(4))
def test_the_mask_covers_exactly_the_pixels_that_an_actor_paints(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    actor = _actor(kind, rng)
    assert CLASS_NAMES[actor.class_id or 0] == kind
    noise = np.full((320, 480, 3), 128, np.uint8)
    canvas = Canvas(CAMERA.width, CAMERA.height, sample_light(rng, 12.0), noise)
    canvas.image[:] = (1, 254, 3)  # a colour that no actor has
    canvas.draw(actor, 1)
    painted = (canvas.image != (1, 254, 3)).any(axis=2)
    np.testing.assert_array_equal(painted, canvas.ids == 1)
    assert canvas.visible(actor, 1)[0] == actor.full_area == painted.sum()


def test_a_half_hidden_actor_is_half_visible_and_its_box_shrinks() -> None:
    rng = np.random.default_rng(0)
    actor = _actor("car", rng)
    canvas = Canvas(CAMERA.width, CAMERA.height, sample_light(rng, 12.0), np.full((320, 480, 3), 128, np.uint8))
    canvas.draw(actor, 1)
    whole, (left, _, right, _) = canvas.visible(actor, 1)
    middle = (left + right) // 2
    canvas.ids[:, : middle * SUPERSAMPLING] = 2
    seen, box = canvas.visible(actor, 1)
    assert 0.3 * whole < seen < 0.7 * whole
    assert box[0] == middle
    assert box[2] == right


def test_a_nearer_thing_takes_the_mask_from_the_one_behind() -> None:
    rng = np.random.default_rng(5)
    light = sample_light(rng, 12.0)
    canvas = Canvas(CAMERA.width, CAMERA.height, light, np.full((320, 480, 3), 128, np.uint8))
    car = make_car(rng, CAMERA, light, 0.0, 14.0, np.pi / 2)
    canvas.draw(car, 1)
    before = canvas.visible(car, 1)[0]
    canvas.draw(make_pedestrian(rng, CAMERA, light, 0.0, 8.0), 2)
    between = canvas.visible(car, 1)[0]
    clutter = make_clutter(rng, CAMERA, light, 0.3, 6.0)
    canvas.draw(clutter, 0)
    assert before > between > canvas.visible(car, 1)[0] > 0


def test_every_labelled_actor_is_large_and_visible_enough(scenes: list[Scene]) -> None:
    for scene in scenes:
        sides = scene.boxes[:, 2:] - scene.boxes[:, :2]
        assert (sides.max(axis=1, initial=0) >= SMALLEST_PX).all()
        assert (scene.visibility >= LEAST_VISIBLE).all()


def test_the_tail_of_sizes_reaches_down_to_small_objects_and_most_are_medium(scenes: list[Scene]) -> None:
    boxes = np.concatenate([scene.boxes for scene in scenes])
    longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    assert longer.min() < 12
    assert longer.max() > 150
    assert 0.5 < ((longer >= 20) & (longer <= 150)).mean() < 0.95


def test_occlusion_occurs(scenes: list[Scene]) -> None:
    visibility = np.concatenate([scene.visibility for scene in scenes])
    assert 0.1 < (visibility < 0.9).mean() < 0.6
    assert visibility.max() <= 1.0


def test_every_class_appears_in_more_than_half_of_the_scenes(scenes: list[Scene]) -> None:
    for class_id, name in enumerate(CLASS_NAMES):
        share = np.mean([class_id in scene.class_ids for scene in scenes])
        assert share > 0.5, name
    assert 3 <= np.mean([len(scene.boxes) for scene in scenes]) <= 12


def test_night_is_darker_than_noon() -> None:
    noon = [render_scene(np.random.default_rng(i), hour=12.0).image.mean() for i in range(6)]
    night = [render_scene(np.random.default_rng(i), hour=23.0).image.mean() for i in range(6)]
    assert max(night) < min(noon)


def test_other_image_sizes_keep_the_boxes_inside_of_the_picture() -> None:
    for i in range(4):
        scene = render_scene(np.random.default_rng(i), 320, 224)
        assert scene.image.shape == (224, 320, 3)
        assert (scene.boxes >= 0).all()
        assert (scene.boxes[:, [0, 2]] <= 320).all()
        assert (scene.boxes[:, [1, 3]] <= 224).all()


def test_a_scene_cannot_be_altered(scenes: list[Scene]) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        scenes[0].boxes = np.zeros((0, 4), np.float32)  # type: ignore[misc]


def test_the_generator_needs_neither_torch_nor_ultralytics() -> None:
    code = "import sys, edgegd.data.streets; print(sorted({'torch', 'ultralytics'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
