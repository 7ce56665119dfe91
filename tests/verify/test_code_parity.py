"""Counting equal codes; oracle: numpy on signed integers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from edgegd.verify.code_parity import EXACT, CodeComparison, CodeTolerance, TensorParity


def _plan(*addresses):
    return SimpleNamespace(tensors=[SimpleNamespace(address=a, rule="silu", reason="because") for a in addresses])


def test_counts_are_numpys_over_all_images():
    random = np.random.default_rng(0)
    comparison = CodeComparison(_plan("a", "b", "c"))
    ours, theirs = (random.integers(0, 256, (2, 3, 500), dtype=np.uint8) for _ in range(2))
    theirs[0, 1:], theirs[1, 1] = ours[0, 1:], ours[1, 1]  # b and c are equal but for c's second image
    for image in range(2):
        for index, address in enumerate("abc"):
            comparison.add(address, ours[image, index], theirs[image, index])
    result, distance = comparison.result(), np.abs(ours.astype(int) - theirs.astype(int))
    assert (result.tensors, result.codes) == (3, 3000)
    assert result.equal_share == pytest.approx((distance == 0).mean())
    assert result.largest_distance == distance.max() > 128
    assert [t.address for t in result.differing] == ["a", "c"]
    assert [t.differing for t in result.differing] == [(distance[:, i] > 0).sum() for i in (0, 2)]
    assert result.to_json()["differing"]["c"]["largest_distance"] == distance[:, 2].max()


@pytest.mark.parametrize(
    ("codes", "differing", "distance", "admitted"),
    [
        (10_000, 100, 1, True),
        (10_000, 101, 1, False),
        (10_000, 1, 2, False),
        (50, 8, 1, True),
        (50, 9, 1, False),
    ],
)
def test_a_tensor_may_differ_in_a_hundredth_of_its_codes_by_one(codes, differing, distance, admitted):
    assert CodeTolerance().admits(TensorParity("a", "silu", "because", codes, differing, distance)) is admitted
    assert not EXACT.admits(TensorParity("a", "silu", "because", codes, 1, 1))


def test_too_many_codes_over_all_tensors_name_the_first():
    comparison = CodeComparison(_plan("a", "b"))
    ours = np.zeros(1000, np.uint8)
    few, many = ours.copy(), ours.copy()
    few[:3], many[:9] = 1, 1
    comparison.add("a", ours, few)
    assert comparison.result().first_beyond(CodeTolerance(equal_share=0.997)) is None
    assert comparison.result().first_beyond(CodeTolerance()).address == "a"
    comparison.add("b", ours, many)
    assert comparison.result().first_beyond(CodeTolerance(tensor_share=0.995)).address == "b"
