"""How many images, and which: made-up histograms of a small network whose ranges are known. Oracle: numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from edgegd.plan.quant_plan import QuantPlan
from edgegd.quant.extremes import ImageExtremes, of_others, outermost
from edgegd.quant.growing_set import FEWEST, MOST, GrownSet, grow
from edgegd.quant.histogram import Histogram
from edgegd.quant.lone_images import lone_images
from edgegd.quant.nested_samples import Counted, nested_samples
from edgegd.quant.plan_module import plan_module
from edgegd.quant.ranges import choose_ranges, counted_addresses
from edgegd.quant.stability import Spread, enough, spread_of


@cache
def plan() -> QuantPlan:
    """A SiLU between two convolutions."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Conv2d(4, 4, 3)).eval()
    return plan_module(model, torch.zeros(1, 3, 8, 8), "x86-vnni")


def shown(values: np.ndarray) -> dict[str, Histogram]:
    """Every tensor has these values."""
    found = {}
    for address in counted_addresses(plan()):
        found[address] = Histogram()
        found[address].add_array(np.asarray(values, np.float32))
    return found


def image(number: int, size: float = 1.0) -> np.ndarray:
    """What an image of a number shows: values within +-size."""
    return np.random.default_rng(number).uniform(-size, size, 4000)


def test_equal_halves_have_no_spread_and_unequal_ones_theirs() -> None:
    one, equal, twice = (
        choose_ranges(plan(), shown(values), "minmax") for values in (image(0), image(0), 2 * image(0))
    )
    spread = spread_of([one, equal])
    assert (spread.median, spread.most) == (0, 0) and spread.is_stable
    spread = spread_of([one, twice])
    for value in (spread.median, spread.most, spread.worst[0][1]):
        assert value == pytest.approx(math.log(2) / math.sqrt(2), rel=1e-6)
    assert not spread.is_stable
    same = {group: chosen for group, chosen in twice.items() if group != "input"}
    assert spread_of([one | same, one | same | {"input": one["2:conv2d:0"]}]).worst[0][1] == 0  # the image's is known


def test_half_of_the_groups_and_nine_tenths_each_have_a_limit() -> None:
    assert Spread(0.02, 0.1, ()).is_stable
    assert not Spread(0.021, 0.1, ()).is_stable and not Spread(0.02, 0.11, ()).is_stable


def grown(sizes: list[float], observer: str = "minmax", fewest: int = FEWEST) -> tuple[GrownSet, list[int]]:
    """Grows over images of these sizes; also which of them were counted, in order."""
    counted: list[int] = []

    def count(start: int, end: int) -> Mapping[str, Histogram]:
        counted.extend(range(start, end))
        return shown(np.concatenate([image(0, sizes[number]) for number in range(start, end)]))

    return grow(count, len(sizes), plan(), observer, 99.99, fewest=fewest), counted


def test_equal_images_stop_the_growth_at_once_and_each_counts_once() -> None:
    found, counted = grown([1.0] * 600)
    assert found.images == FEWEST and found.is_stable and counted == list(range(FEWEST))
    assert [images for images, _ in found.course] == [FEWEST]
    found, counted = grown([1.0] * 600, fewest=50)
    assert found.images == 50 and counted == list(range(50))
    assert "50 images: the scales of the two halves of 50 images differ by 0.0 %" in found.reason()


def test_growing_images_go_to_the_bound() -> None:
    found, counted = grown([1.03**number for number in range(600)])
    assert found.images == MOST and not found.is_stable and counted == list(range(MOST))
    assert [images for images, _ in found.course] == [16, 32, 64, 128, 256, 512]
    assert found.histograms["0:conv2d:0"].total == MOST * 4000 and "as many as there may be" in found.reason()


def test_images_that_agree_only_later_stop_it_there() -> None:
    found, _ = grown([2.0, *[1.0] * 30, 2.0, *[1.0] * 31, 2.0] + [1.0] * 300)
    assert found.images == 32 and [spread.is_stable for _, spread in found.course] == [False, True]
    first = found.course[0][1]
    assert first.median == pytest.approx(math.log(2) / math.sqrt(2), rel=0.01)
    assert found.to_dict()["course"][0] == {
        "images": 16,
        "median": first.median,
        "most": first.most,
        "worst": [list(pair) for pair in first.worst],
    }


@pytest.mark.parametrize(("available", "course"), [(1, []), (15, []), (16, [16]), (40, [16, 32])])
def test_what_there_is_is_taken(available: int, course: list[int]) -> None:
    found, counted = grown([1.1**number for number in range(available)])
    assert found.images == available and counted == list(range(available))
    assert [images for images, _ in found.course] == course and not found.is_stable
    assert ("too few for two halves" in found.reason()) is (not course)


def test_merged_histograms_are_those_of_one_pass() -> None:
    found, _ = grown([1.1**number for number in range(40)])
    once = shown(np.concatenate([image(0, 1.1**number) for number in range(40)]))
    for address, histogram in once.items():
        np.testing.assert_array_equal(found.histograms[address].counts, histogram.counts)
        assert (found.histograms[address].low, found.histograms[address].high) == (histogram.low, histogram.high)


def samples(images: int, size: int, sensed: int) -> list[tuple[int, int, list[int], int]]:
    """Start, images, the values counted and how many of them by sensitivity, of every sample."""

    def counted(numbers: range) -> Counted:
        histogram = Histogram()
        histogram.add_array(np.array(numbers, np.float32) + 0.5)
        return Counted(numbers.start, len(numbers), {"x": histogram}, {"x": histogram}, len(numbers))

    parts = (counted(range(start, min(start + size, images))) for start in range(0, images, size))
    found = []
    for sample in nested_samples(parts, sensed):
        means, counts = sample.histograms["x"].bins()
        values = sorted(round(value * sample.histograms["x"].width - 0.5) for value in means)
        assert counts.tolist() == [1] * sample.images
        assert sample.sensitivities["x"].total == sample.sensed
        found.append((sample.start, sample.images, values, sample.sensed))
    return found


def test_samples_of_a_size_share_no_image_and_begin_where_the_draw_does() -> None:
    found = samples(22, 2, sensed=4)
    for start, images, values, sensed in found:
        assert values == list(range(start, start + images)) and sensed == min(images, 4)
    by_size = {size: [start for start, images, *_ in found if images == size] for size in (2, 4, 8, 16, 22)}
    assert by_size == {2: list(range(0, 22, 2)), 4: [0, 4, 8, 12, 16], 8: [0, 8], 16: [0], 22: [0]}
    assert found[-1][:2] == (0, 22)


def test_a_smaller_last_part_is_in_the_whole_alone_which_comes_once() -> None:
    assert [(start, images) for start, images, *_ in samples(5, 2, 9)] == [(0, 2), (2, 2), (0, 4), (0, 5)]
    assert [(start, images) for start, images, *_ in samples(4, 2, 9)] == [(0, 2), (2, 2), (0, 4)]
    assert [(start, images) for start, images, *_ in samples(1, 2, 9)] == [(0, 1)]


def extremes_of(images: list[np.ndarray]) -> tuple[ImageExtremes, dict[str, Histogram]]:
    """The images two at a time."""
    extremes = ImageExtremes()
    for start in range(0, len(images), 2):
        batch = torch.from_numpy(np.stack(images[start : start + 2]))
        for address in counted_addresses(plan()):
            extremes.add(address, batch)
        extremes.images += len(batch)
    return extremes, shown(np.concatenate(images))


@pytest.mark.parametrize("observer", ["minmax", "percentile", "mse"])
def test_a_planted_outlier_is_named_first(observer: str) -> None:
    images = [image(number) for number in range(9)]
    images[4] = np.concatenate([image(4, 4.0)[:2000], image(4)[:2000]])  # half of its values are four times as large
    images[7][0] = 1.3
    extremes, histograms = extremes_of(images)
    ranges = choose_ranges(plan(), histograms, observer)
    lone = lone_images(plan(), histograms, ranges, extremes, observer, 99.99)
    assert lone[0].image == 4 and len(lone) == 1  # that of image 7 is hidden behind image 4
    assert "input" not in lone[0].groups and "0:conv2d:0" in lone[0].groups
    present, without = lone[0].groups["2:conv2d:0"]
    assert present == ranges["2:conv2d:0"].scale
    if observer == "minmax":
        assert without / present == pytest.approx(2.3 / 8, rel=0.01)


def test_the_outermost_values_are_of_two_images() -> None:
    """A scale group has several tensors, and one image may lead in all of them."""
    assert outermost([(5.0, 1), (4.0, 1), (3.0, 2), (2.0, 3)], falling=True) == [(5.0, 1), (3.0, 2)]
    assert outermost([(5.0, 1), (4.0, 2), (3.0, 2)], falling=False) == [(3.0, 2), (5.0, 1)]


def test_an_extreme_that_two_images_share_is_no_outlier() -> None:
    images = [image(number) for number in range(6)]
    images[1] = images[3] = image(1, 4.0)
    extremes, histograms = extremes_of(images)
    ranges = choose_ranges(plan(), histograms, "minmax")
    assert lone_images(plan(), histograms, ranges, extremes, "minmax", 99.99) == []


def test_one_image_alone_has_nobody_to_stand_out_from() -> None:
    extremes, histograms = extremes_of([image(0)])
    ranges = choose_ranges(plan(), histograms, "minmax")
    assert lone_images(plan(), histograms, ranges, extremes, "minmax", 99.99) == []
    assert math.isnan(of_others(extremes.highs["0:conv2d:0"], 0))


def test_within_bounds_are_the_bins_that_they_touch() -> None:
    histogram = shown(np.array([-3.0, -1.0, 0.0, 1.0, 2.0, 7.0]))["0:conv2d:0"]
    inner = histogram.within(-1.0, 2.0)
    means, counts = inner.bins()
    assert (means * inner.width).tolist() == [-1, 0, 1, 2] and counts.tolist() == [1] * 4
    assert (inner.low, inner.high) == (-1, 2) and histogram.total == 6


def test_enough_is_where_no_sample_is_worse_beyond_the_noise() -> None:
    flat = {8: [3.0, 5.0], 16: [1.0, 1.1], 32: [1.05, 0.95], 64: [1.0]}
    found = enough(flat)
    deviations = [math.log(ratio) / math.sqrt(2) for ratio in (5 / 3, 1.1, 1.05 / 0.95)]
    assert found.images == 16 and found.noise == pytest.approx(math.hypot(*deviations) / math.sqrt(3))
    assert found.limit == pytest.approx(math.exp(2 * found.noise))
    assert enough(flat | {8: [1.0, 1.0]}).images == 8
    uneven = {4: [1.5, 0.5], 8: [1.0, 1.01], 16: [1.0, 1.1], 32: [1.05, 0.95], 64: [1.0]}
    assert enough(uneven).images == 8  # of 4 the average is good, but one draw is not


def test_enough_is_one_number_from_which_all_larger_ones_are_as_good() -> None:
    """A small number that happens to do well does not count where a larger one does not."""
    assert enough({8: [1.0, 1.0], 16: [2.0, 2.0], 32: [1.0, 1.02], 64: [1.02, 1.0], 128: [1.0]}).images == 32
    falling = enough({8: [8.0, 8.1], 16: [4.0, 4.1], 32: [2.0, 2.02], 64: [1.0]})
    assert falling.images is None and falling.limit == pytest.approx(1.0, rel=0.05)


def test_without_two_samples_of_any_number_nothing_is_judged() -> None:
    assert enough({8: [1.0], 12: [2.0]}) == enough({3: [1.0]})
    assert enough({3: [1.0]}).images is None and enough({3: [1.0]}).noise is None
