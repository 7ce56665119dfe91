"""Oracle: Ultralytics' LetterBox, predictor preprocessing and scale_boxes; every comparison is exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ultralytics.data.augment import LetterBox
from ultralytics.utils import patches
from ultralytics.utils.ops import scale_boxes

from edgegd.runtime.contract import Preprocessing
from edgegd.runtime.images import read_image
from edgegd.runtime.letterbox import PixelInput, letterbox, network_input, preprocess

side = st.integers(1, 400)
network_size = st.sampled_from([(320, 320), (64, 96), (256, 128)])


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, channels), dtype=np.uint8)


@settings(max_examples=150, deadline=None)
@given(height=side, width=side, imgsz=network_size)
def test_pixels_and_values_are_ultralytics(height: int, width: int, imgsz: tuple[int, int]) -> None:
    image = noise(height, width)
    expected = LetterBox(new_shape=imgsz, auto=False, scaleup=True, center=True)(image=image)
    padded, _ = letterbox(image, Preprocessing(imgsz))
    np.testing.assert_array_equal(padded, expected)
    # ultralytics/engine/predictor.py, preprocess: BHWC -> BCHW, flip to RGB, float32 divided by 255
    tensor = torch.from_numpy(expected)[None].permute(0, 3, 1, 2).contiguous().flip(1).float().div_(255)
    values, _ = preprocess(image, Preprocessing(imgsz))
    assert values.dtype == np.float32 and values.flags.c_contiguous
    np.testing.assert_array_equal(values, tensor.numpy())


@pytest.mark.parametrize("imgsz", [(320, 320), (384, 640), (640, 640), (96, 224)], ids=str)
def test_photographs_are_read_and_letterboxed_as_ultralytics_does(
    bccd_images: tuple[Path, ...], imgsz: tuple[int, int]
) -> None:
    for path in bccd_images:
        theirs = patches.imread(str(path))
        image = read_image(path)
        np.testing.assert_array_equal(image, theirs)
        expected = LetterBox(new_shape=imgsz, auto=False, scaleup=True, center=True)(image=theirs)
        np.testing.assert_array_equal(letterbox(image, Preprocessing(imgsz))[0], expected)


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 8])
@settings(max_examples=40, deadline=None)
@given(height=side, width=side, imgsz=network_size)
def test_other_channels_keep_their_order(channels: int, height: int, width: int, imgsz: tuple[int, int]) -> None:
    image, portable = noise(height, width, channels), Preprocessing.of_images(imgsz, channels)
    expected = LetterBox(new_shape=imgsz, auto=False, scaleup=True, center=True)(image=image)
    padded, geometry = letterbox(image, portable)
    np.testing.assert_array_equal(padded, expected)
    # ultralytics/engine/predictor.py, preprocess: colours are turned only where there are three
    tensor = torch.from_numpy(expected)[None].permute(0, 3, 1, 2).contiguous().float().div_(255)
    np.testing.assert_array_equal(preprocess(image, portable)[0], tensor.numpy())
    edge = Preprocessing.of_pixels(portable, channels)
    pixels = PixelInput(edge)
    for number in range(2):  # the second time into a buffer with what another image left
        assert pixels.fill(image if number else 255 - image) == geometry
    assert pixels.array.shape == edge.input_shape == (1, *imgsz, channels)
    np.testing.assert_array_equal(pixels.array[0], expected)


@settings(max_examples=150, deadline=None)
@given(height=side, width=side, imgsz=network_size)
def test_boxes_return_as_by_scale_boxes(height: int, width: int, imgsz: tuple[int, int]) -> None:
    boxes = np.random.default_rng(width).uniform(-20, max(imgsz) + 20, (40, 4)).astype(np.float32)
    expected = scale_boxes(imgsz, torch.from_numpy(boxes.copy()), (height, width)).numpy()
    _, geometry = letterbox(noise(height, width), Preprocessing(imgsz))
    np.testing.assert_array_equal(geometry.to_original(boxes), expected)


@pytest.mark.parametrize("channels", [3, 4])
@settings(max_examples=60, deadline=None)
@given(sides=st.lists(st.tuples(side, side), min_size=1, max_size=4), imgsz=network_size)
def test_pixel_inputs_are_the_float_inputs_before_scaling(
    channels: int, sides: list[tuple[int, int]], imgsz: tuple[int, int]
) -> None:
    portable = Preprocessing(imgsz)
    pixels = PixelInput(Preprocessing.of_pixels(portable, channels))
    buffer = pixels.array
    for height, width in sides:  # one buffer for images of different shapes
        image = noise(height, width)
        expected, expected_geometry = preprocess(image, portable)
        assert pixels.fill(image) == expected_geometry
        assert pixels.array is buffer and buffer.dtype == np.uint8 and buffer.shape == (1, *imgsz, channels)
        rgb = buffer[..., 2::-1].transpose(0, 3, 1, 2)  # (1, h, w, BGR[X]) -> (1, RGB, h, w)
        np.testing.assert_array_equal(rgb.astype(np.float32) / np.float32(255), expected)
        assert (buffer[..., 3:] == 255).all()


def test_pixel_inputs_take_views_and_leave_the_image_alone() -> None:
    image = noise(100, 60)[::-1, ::-1]
    before = image.copy()
    for imgsz in ((64, 64), (100, 60)):
        edge = Preprocessing.of_pixels(Preprocessing(imgsz), 4)
        found, _ = network_input(image, edge)
        np.testing.assert_array_equal(found[0, :, :, :3], letterbox(image, Preprocessing(imgsz))[0])
        np.testing.assert_array_equal(image, before)
    with pytest.raises(ValueError, match="uint8 pixels"):
        preprocess(image, edge)


def test_bgr_networks_keep_the_channels() -> None:
    image = noise(32, 32)
    values, _ = preprocess(image, Preprocessing((32, 32), channel_order="bgr"))
    np.testing.assert_array_equal(values[0, 0], image[:, :, 0].astype(np.float32) / np.float32(255))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
        [[1]],
    ],
    ids=["grey", "four channels", "float", "empty", "list"],
)
def test_other_arrays_are_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"BGR image as a numpy array \(H, W, 3\) of uint8"):
        letterbox(image, Preprocessing((32, 32)))
    with pytest.raises(ValueError, match=r"BGR image as a numpy array \(H, W, 3\) of uint8"):
        PixelInput(Preprocessing.of_pixels(Preprocessing((32, 32)), 4)).fill(image)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 2), (0, 8, 1), (8, 8, 5)], ids=str)
def test_an_image_of_other_channels_is_refused(shape: tuple[int, ...], channels: int) -> None:
    with pytest.raises(ValueError, match=rf"\(H, W, {channels}\) of uint8, found uint8"):
        preprocess(np.zeros(shape, np.uint8), Preprocessing.of_images((64, 96), channels))
