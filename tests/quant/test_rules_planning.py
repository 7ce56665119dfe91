"""What the rules make of small modules. Oracle: the decisions, worked out by hand on modules of a few operations."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgegd.errors import UnsupportedModelError
from edgegd.plan.profiles import TABLES
from edgegd.plan.profiles.placement import PLACEMENT_RULES
from edgegd.quant.plan_module import plan_module


class _Module(nn.Module):
    """Convolutions a, b, c, d of 4 channels (a reads the image) under a forward pass given as a function."""

    def __init__(self, forward):
        super().__init__()
        for name in "abcd":
            self.add_module(name, nn.Conv2d(3 if name == "a" else 4, 4, 3, padding=1))
        self.function, self.norm = forward, nn.BatchNorm2d(4)
        self.wide = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        return self.function(self, x)


def _plan(forward, profile="x86-vnni", **changes):
    return plan_module(_Module(forward), torch.zeros(1, 3, 8, 8), profile, **changes)


def _decisions(plan):
    return {op.address: (op.decision, op.rule) for op in plan.ops}


def _learns(plan):
    return {tensor.address: tensor.learns for tensor in plan.tensors}


def test_a_relu_that_is_the_only_reader_of_a_convolution_is_absorbed():
    plan = _plan(lambda m, x: m.b(F.relu(m.a(x))))
    assert _decisions(plan)[":relu:0"] == ("absorbed", "absorbed-relu")
    assert plan.by_address["a:conv2d:0"].result == ":relu:0" and plan.by_address["b:conv2d:0"].result == "b:conv2d:0"
    assert _learns(plan) == {"input": "nothing", ":relu:0": "scale", "b:conv2d:0": "range"}


def test_a_relu_is_float_where_its_convolution_has_another_reader():
    plan = _plan(lambda m, x: m.b(F.relu(y := m.a(x))) + m.c(y))
    assert _decisions(plan)[":relu:0"] == ("float", "relu")
    assert plan.by_address["a:conv2d:0"].result == "a:conv2d:0"
    assert _learns(plan)["a:conv2d:0"] == "range" and _learns(plan)[":relu:0"] == "scale"
    assert {t.address: t.rule for t in plan.tensors}[":relu:0"] == "boundary"


def test_a_concat_of_relu_results_shares_their_range_and_one_with_others_does_not():
    plan = _plan(lambda m, x: m.wide(torch.cat([F.relu(y := m.a(x)), m.b(F.max_pool2d(F.relu(y), 1))], 1)))
    assert len({plan.groups[a] for a in (":relu:0", "b:conv2d:0", ":cat:0")}) == 3
    assert _learns(plan)[":cat:0"] == "range" and not plan.keeps_codes(plan.by_address[":cat:0"])
    plan = _plan(lambda m, x: m.wide(torch.cat([y := F.relu(m.a(x)), F.relu(m.b(F.max_pool2d(y, 1)))], 1)))
    tied = (":relu:0", ":max_pool2d:0", ":relu:1", ":cat:0")
    assert {plan.groups[a] for a in tied} == {":relu:0"} and {_learns(plan)[a] for a in tied} == {"scale"}
    assert plan.keeps_codes(plan.by_address[":cat:0"]) and plan.keeps_codes(plan.by_address[":max_pool2d:0"])


def test_a_concat_ties_nothing_to_the_image_but_parts_of_the_image():
    plan = _plan(lambda m, x: m.wide(torch.cat([x, m.a(x), x[:, :1]], 1)))
    assert plan.groups[":slice:0"] == "input" and _learns(plan)[":slice:0"] == "nothing"
    assert plan.groups[":cat:0"] == ":cat:0" and _learns(plan)[":cat:0"] == "range"
    plan = _plan(lambda m, x: m.wide(F.pad(torch.cat([x, x, x[:, :2]], 1), [1, 1])))
    assert set(plan.groups.values()) == {"input", "wide:conv2d:0"}


def test_sums_and_products_of_what_is_never_negative_keep_zero_point_zero():
    plan = _plan(lambda m, x: m.c((y := F.relu(m.a(x))) * F.relu(m.b(y)) + F.avg_pool2d(y, 1)))
    assert {_decisions(plan)[a][0] for a in (":mul:0", ":add:0", ":avg_pool2d:0")} == {"integer"}
    assert {_learns(plan)[a] for a in (":mul:0", ":add:0", ":avg_pool2d:0")} == {"scale"}
    assert _learns(_plan(lambda m, x: m.c(F.relu(y := m.a(x)) + m.b(y))))[":add:0"] == "range"


def test_operations_on_demand_are_float_where_no_convolution_reads_them():
    plan = _plan(lambda m, x: F.avg_pool2d(F.silu(m.a(x)) + m.a.bias.sum(), 2))
    assert _decisions(plan) == {
        "a:conv2d:0": ("integer", "convolution"),
        ":silu:0": ("float", "silu"),
        ":add:0": ("float", "constant-operand"),
        ":avg_pool2d:0": ("float", "average-pool"),
    }
    assert _learns(plan) == {"input": "nothing", "a:conv2d:0": "range"}


def test_a_gate_of_pooled_channels_runs_in_integers():
    plan = _plan(lambda m, x: m.d((y := F.leaky_relu(m.a(x))) * m.b(F.adaptive_avg_pool2d(y, 1)).sigmoid()))
    assert {op.decision for op in plan.ops} == {"integer"}
    assert _learns(plan)[":sigmoid:0"] == "scale"


def test_float_operations_between_convolutions_are_quantized_for_the_next_one():
    plan = _plan(lambda m, x: m.b(F.gelu(m.a(x)).softmax(1)))
    assert _decisions(plan)[":gelu:0"] == ("float", "no-integer-kernel")
    assert {t.address: t.rule for t in plan.tensors} == {
        "input": "input",
        "a:conv2d:0": "convolution",
        ":softmax:0": "boundary",
        "b:conv2d:0": "convolution",
    }


def test_an_operation_without_a_rule_stays_float_and_is_named():
    plan = _plan(lambda m, x: m.b(m.norm(m.a(x))))
    (op,) = (op for op in plan.ops if op.rule == "no-rule")
    assert (op.address, op.decision, op.reason) == (
        "norm:batch_norm:0",
        "float",
        "no rule covers the operation batch_norm",
    )


def test_convolutions_without_weights_of_their_own_stay_float():
    plan = _plan(lambda m, x: F.conv2d(m.b(m.b(m.a(x))), m.c.weight))
    assert [(op.operation, op.decision, op.rule, op.weight) for op in plan.ops] == [
        ("conv2d", "integer", "convolution", "a"),
        ("conv2d", "float", "convolution", ""),
        ("conv2d", "float", "convolution", ""),
        ("functional_conv2d", "float", "no-rule", ""),
    ]
    assert plan.ops[1].reason == "its weights serve 2 calls"


def test_a_forward_that_depends_on_the_batch_size_is_refused():
    with pytest.raises(UnsupportedModelError, match="batch size"):
        _plan(lambda m, x: torch.cat([m.a(image[None]) for image in x]))


def test_a_float_convolution_keeps_its_activation_float():
    forward = lambda m, x: m.c(F.silu(m.b(F.silu(m.a(x)))))  # noqa: E731
    plan = _plan(forward, float_patterns=["b:*"])
    assert _decisions(plan)["b:conv2d:0"] == ("float", "recipe") and _decisions(plan)[":silu:1"] == ("float", "silu")
    assert plan.by_address["b:conv2d:0"].reason == "quant.float: b:*"
    assert plan.groups.keys() == {"input", "a:conv2d:0", ":silu:0/sigmoid", ":silu:0", ":silu:1", "c:conv2d:0"}
    assert _decisions(_plan(forward))[":silu:1"] == ("integer", "silu")


@pytest.mark.parametrize("rule", [rule.name for rule in PLACEMENT_RULES])
def test_every_rule_may_be_turned_to_float(rule):
    plan = _plan(lambda m, x: m.wide(torch.cat([y := F.relu(m.a(x)), F.silu(m.b(y) + y)], 1)), rules={rule: "float"})
    assert {op.decision for op in plan.ops if op.rule == rule} <= {"float"}
    assert all(op.result in plan.groups for op in plan.ops if op.decision == "integer")


def test_all_profiles_decide_the_same():
    def forward(m, x):
        return m.wide(torch.cat([y := F.relu(m.a(x)), F.silu(F.avg_pool2d(m.b(y), 1) + y)], 1))

    plans = {profile: _plan(forward, profile) for profile in TABLES}
    assert len({plan.ops for plan in plans.values()}) == 1 and len(plans) == 4
    assert all(plan == plans["x86-vnni"].for_profile(profile) for profile, plan in plans.items())
    formats = {name: (plan.activation_format.name[:4], plan.weight_format.name[:4]) for name, plan in plans.items()}
    assert formats == {
        "x86-vnni": ("uint", "int8"),
        "x86-avx2": ("uint", "int7"),
        "arm64": ("int8", "int8"),
        "arm64-nodot": ("uint", "int8"),
    }
