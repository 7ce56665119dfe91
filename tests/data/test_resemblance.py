"""The search for images that resemble each other. Oracles: every pair compared alone, OpenCV's cosine transform."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgegd.data.doctor import resemblance
from edgegd.data.doctor.appearance import SIDE, digest_of_pixels, hashes, small_picture
from edgegd.data.doctor.resemblance import LEAST_CORRELATION, MOST_BITS, correlation, resembling

pytest.importorskip("scipy")
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def photographs(bccd_images: tuple[Path, ...]) -> list[Pixels]:
    return [np.asarray(cv2.imread(str(path)), np.uint8) for path in bccd_images]


def small(images: list[Pixels]) -> Pixels:
    return np.stack([small_picture(image)[0] for image in images])


def test_the_hash_is_that_of_the_cosine_transform(photographs: list[Pixels]) -> None:
    pictures = small(photographs)
    for picture, bits in zip(pictures, hashes(pictures), strict=True):
        low = cv2.dct(picture.astype(np.float32))[:8, :8].ravel()
        scale = np.ones(64)
        scale[:8] *= np.sqrt(2)  # OpenCV's transform is orthonormal: constants have another factor
        scale[::8] *= np.sqrt(2)
        np.testing.assert_array_equal(bits, low * scale > np.median(low * scale))
        assert bits.sum() == 32


def by_pairs(pictures: Pixels) -> list[set[int]]:
    """The groups of pictures, each pair compared for itself."""
    bits, groups = hashes(pictures), [{place} for place in range(len(pictures))]
    for first in range(len(pictures)):
        for second in range(first):
            close = correlation(pictures[[first]], pictures[[second]])[0] >= LEAST_CORRELATION
            if close and (bits[first] != bits[second]).sum() <= MOST_BITS:
                one, other = (next(group for group in groups if place in group) for place in (first, second))
                if one is not other:
                    groups.remove(other)
                    one |= other
    return groups


@pytest.mark.parametrize(("tile", "batch"), [(2048, 4096), (16, 3)], ids=["one tile", "many tiles and batches"])
def test_the_groups_are_those_of_all_pairs(tile: int, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resemblance, "_TILE", tile)
    monkeypatch.setattr(resemblance, "_BATCH", batch)
    rng = np.random.default_rng(0)
    scenes = np.stack([cv2.resize(rng.integers(40, 200, (6, 6), np.uint8), (SIDE, SIDE)) for _ in range(12)])
    noise = rng.normal(0, rng.uniform(1, 25, 90)[:, None, None], (90, SIDE, SIDE))
    pictures = np.clip(scenes[rng.integers(0, 12, 90)] + noise, 0, 255).astype(np.uint8)
    found = resembling(pictures, hashes(pictures))
    expected = by_pairs(pictures)
    assert found.is_complete and 12 <= len(expected) < 80
    groups = {number: {int(place) for place in np.flatnonzero(found.groups == number)} for number in set(found.groups)}
    assert sorted(map(sorted, groups.values())) == sorted(map(sorted, expected))


def gamma(image: Pixels) -> Pixels:
    return np.asarray(255 * (image / 255.0) ** 0.7, np.uint8)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "jpeg": lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 1),
    "half": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "gamma": gamma,
    "noise": lambda image: np.clip(image + np.random.default_rng(0).normal(0, 8, image.shape), 0, 255).astype(np.uint8),
    "cut": lambda image: image[4:-4, 5:-5],
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_photographs_resemble_their_originals_and_no_others(photographs: list[Pixels], change: str) -> None:
    pictures = small([*photographs, *map(CHANGES[change], photographs)])
    groups = resembling(pictures, hashes(pictures)).groups
    assert groups[: len(photographs)].tolist() == groups[len(photographs) :].tolist()
    assert len(set(groups.tolist())) == len(photographs)


def test_plain_pictures_resemble_nothing() -> None:
    plain = np.random.default_rng(0).integers(0, 2, (4, SIDE, SIDE)).astype(np.uint8)
    plain[1] = plain[0]
    assert len(set(resembling(plain, hashes(plain)).groups)) == 4


def test_no_pictures_and_one() -> None:
    for count in (0, 1):
        pictures = np.full((count, SIDE, SIDE), 7, np.uint8)
        assert resembling(pictures, hashes(pictures)).groups.tolist() == list(range(count))


def test_a_film_of_one_scene_needs_few_comparisons(photographs: list[Pixels], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resemblance, "MOST_COMPARED", 3_000)  # of 499,500 pairs
    monkeypatch.setattr(resemblance, "_BATCH", 1_000)
    film = np.repeat(small(photographs[:1]), 1_000, axis=0)
    found = resembling(film, hashes(film))
    assert found.is_complete and len(set(found.groups.tolist())) == 1


def test_a_search_that_would_not_end_is_cut_off_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resemblance, "MOST_COMPARED", 100)
    monkeypatch.setattr(resemblance, "_BATCH", 50)
    pictures = np.random.default_rng(0).integers(0, 255, (40, SIDE, SIDE), dtype=np.uint8)
    equal_hashes = np.repeat(hashes(pictures[:1]), 40, axis=0)
    assert not resembling(pictures, equal_hashes).is_complete


def test_equal_pixels_have_equal_digests_whatever_the_file(photographs: list[Pixels]) -> None:
    image = photographs[0]
    assert digest_of_pixels(image) == digest_of_pixels(image.copy())
    assert digest_of_pixels(image) != digest_of_pixels(image.reshape(640, 480, 3))
    changed = image.copy()
    changed[0, 0, 0] ^= 1
    assert digest_of_pixels(image) != digest_of_pixels(changed)
