"""Weights and ranges in another profile's formats. Oracle: torch's own for_profile, bit for bit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from edgegd.export.graph import state_of
from edgegd.export.insert.other_profile import in_profile, requantizes
from edgegd.export.profile import for_profile
from edgegd.plan.profiles import TABLES
from edgegd.quant.attach import QuantizedModel


def _require_equal(found, expected):
    assert found.ranges == expected.ranges
    for ours, theirs in ((found.weight_scales, expected.weight_scales), (found.parameters, expected.parameters)):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert value.dtype == theirs[name].dtype
            np.testing.assert_array_equal(value, theirs[name], err_msg=name)


@pytest.mark.parametrize("learned", [False, True], ids=["tied", "learned"])
@pytest.mark.parametrize("profile", TABLES)
@pytest.mark.parametrize("trained_for", ["x86-vnni", "x86-avx2"])
def test_it_is_what_torch_makes_of_the_model(exported, trained_for, profile, learned):
    one = exported("yolov8n")
    plan = one.plan.for_profile(trained_for)
    trained = QuantizedModel(copy.deepcopy(one.model), plan, learned_weight_scales=learned).eval()
    trained.load_state_dict(one.quantized.state_dict(), strict=False)
    trained.follow_weights(tie=True)
    with torch.no_grad():
        for quantizer in trained.weights.values():
            if learned:  # as training may leave them: weights beyond the largest code
                quantizer.scale.mul_(0.7)
        first, *_ = trained.weights.values()
        first.scale[0] = 2.0**-40  # a dead channel
        trained.model.model[0].conv.weight[0] = 0
    before = copy.deepcopy(state_of(trained))
    found_plan, found = in_profile(plan, before, profile)
    other = for_profile(copy.deepcopy(trained), profile)
    assert found_plan == other.plan
    _require_equal(found, state_of(other))
    _require_equal(before, state_of(trained))  # nothing was changed in place
    assert requantizes(trained_for, profile) == (trained_for == "x86-vnni" and profile == "x86-avx2")
