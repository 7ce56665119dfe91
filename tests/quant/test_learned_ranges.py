"""Gradients of ranges. Oracle: LSQ's and LSQ+'s formulas element by element in float64; autograd for the SiLU."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from edgegd.plan.formats import INT8_WEIGHT, LARGEST_SCALE, SMALLEST_SCALE
from edgegd.quant import fake_quantize
from edgegd.quant.fake_quantize import FakeQuantizeSiLU, lsq_factor
from edgegd.quant.quantizers import ActivationQuantizer, WeightQuantizer, update_ranges


def _quantizer(scale: float, zero_point: int, learns: str = "range") -> ActivationQuantizer:
    quantizer = ActivationQuantizer(learns)
    quantizer.set_range(scale, zero_point)
    return quantizer


def _expected(x, gradient, quantizer):
    """LSQ, equation 3, times the scale (the logarithm learns), and LSQ+, equation 4; both times LSQ's factor."""
    x, g = x.double().numpy(), gradient.double().numpy()
    scale, (low, high) = float(quantizer.scale), quantizer.bounds
    codes = np.rint((x / scale).astype(np.float32))
    inside = (codes >= low) & (codes <= high)
    by_scale = np.where(inside, codes - x / scale, np.clip(codes, low, high))
    factor = lsq_factor(x[0].size, 255)
    return (g * by_scale).sum() * scale * factor, (g * np.where(inside, 0, -scale)).sum() * factor, g * inside


@pytest.mark.parametrize("chunk", [64, 1 << 17], ids=["in-pieces", "at-once"])
def test_the_gradients_of_a_range_are_those_of_lsq(monkeypatch, chunk):
    monkeypatch.setattr(fake_quantize, "_CHUNK", chunk)
    torch.manual_seed(0)
    x, gradient = torch.randn(2, 5, 7, 11, requires_grad=True), torch.randn(2, 5, 7, 11)
    quantizer = _quantizer(0.011, 100)  # -1.1 .. 1.7: much saturates on both sides
    quantizer(x).backward(gradient)
    by_scale, by_shift, by_x = _expected(x.detach(), gradient, quantizer)
    assert float(quantizer.log_scale.grad) == pytest.approx(by_scale, rel=1e-4)
    assert float(quantizer.shift.grad) == pytest.approx(by_shift, rel=1e-4)
    np.testing.assert_array_equal(x.grad.numpy(), by_x.astype(np.float32))


def test_pieces_change_no_value(monkeypatch):
    torch.manual_seed(0)
    x = torch.randn(3, 1000)
    whole = _quantizer(0.02, 77)(x)
    monkeypatch.setattr(fake_quantize, "_CHUNK", 100)
    assert torch.equal(_quantizer(0.02, 77)(x), whole)


def _silu(x, gate, result):
    return FakeQuantizeSiLU.apply(
        x, result.log_scale, result.shift, result.scale, result.scale_value, result.bounds, gate.scale, gate.bounds
    )


def test_the_silu_is_its_parts_and_its_gradient_is_the_float_one_where_nothing_saturates(monkeypatch):
    monkeypatch.setattr(fake_quantize, "_CHUNK", 128)
    torch.manual_seed(0)
    source, gate, result = _quantizer(0.03, 120), _quantizer(1 / 255, 0, "nothing"), _quantizer(0.01, 28)
    x = source(torch.randn(2, 6, 9, 9) * 2).detach().requires_grad_()
    gradient = torch.randn_like(x)
    y = _silu(x, gate, result)
    parts = result(x * gate(torch.sigmoid(x)))
    assert torch.equal(y, parts)
    y.backward(gradient)
    product = (x * gate(torch.sigmoid(x))).detach()
    by_scale, by_shift, inside = _expected(product, gradient, result)
    expected = torch.autograd.grad(F.silu(x), x, torch.from_numpy(inside).float())[0]
    assert 0 < float((torch.from_numpy(inside) == 0).float().mean()) < 0.5
    torch.testing.assert_close(x.grad, expected)
    assert float(result.log_scale.grad) == pytest.approx(by_scale, rel=1e-4)
    assert float(result.shift.grad) == pytest.approx(by_shift, rel=1e-4)


def test_what_may_not_learn_gets_no_gradient():
    x = torch.randn(50, requires_grad=True)
    for learns, has in {"range": (True, True), "scale": (True, False), "nothing": (False, False)}.items():
        quantizer = _quantizer(0.02, 0, learns)
        quantizer(x).sum().backward()
        assert (quantizer.log_scale.grad is not None, quantizer.shift.grad is not None) == has


def test_descent_finds_the_scale_of_least_error():
    """A range ten times too wide shrinks until the error of the codes is near the least that any scale reaches."""
    torch.manual_seed(0)
    x = torch.randn(20000)
    quantizer = _quantizer(0.25, 128)
    optimizer = torch.optim.Adam([quantizer.log_scale, quantizer.shift], lr=0.02)
    for _ in range(400):
        optimizer.zero_grad()
        ((quantizer(x) - x) ** 2).sum().backward()
        optimizer.step()
        update_ranges([quantizer])
    error = ((quantizer(x) - x) ** 2).mean().item()
    best = min(((_quantizer(s, 128)(x) - x) ** 2).mean().item() for s in np.geomspace(0.01, 0.25, 60))
    assert error < 1.2 * best


VALUES = st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(log_scale=VALUES, shift=VALUES)
def test_no_step_can_break_a_range(log_scale, shift):
    quantizer, learned = _quantizer(0.5, 10), WeightQuantizer(INT8_WEIGHT, 2, learned=True)
    learned.tie(torch.ones(2, 3, 1, 1), None, torch.tensor(0.1))
    with torch.no_grad():
        quantizer.log_scale.fill_(log_scale)
        quantizer.shift.fill_(shift)
        learned.log_scale.fill_(log_scale)  # type: ignore[union-attr]
    update_ranges([quantizer])
    learned.update(torch.ones(2, 3, 1, 1), None, torch.tensor(0.1))
    for scale in (float(quantizer.scale), *learned.scale.tolist()):
        assert SMALLEST_SCALE <= scale <= LARGEST_SCALE
    assert 0 <= int(quantizer.zero_point) <= 255
    assert math.isfinite(quantizer(torch.tensor([1e30])).item())
    if math.isnan(log_scale):
        assert float(quantizer.scale) == pytest.approx(0.5)


def test_learned_weight_scales_have_lsq_gradients_per_channel():
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    quantizer = WeightQuantizer(INT8_WEIGHT, 4, learned=True)
    quantizer.tie(weight, None, torch.tensor(0.1))
    with torch.no_grad():
        quantizer.log_scale -= 0.7  # type: ignore[operator]
    quantizer.update(weight, None, torch.tensor(0.1))
    gradient = torch.randn_like(weight)
    quantizer(weight).backward(gradient)
    for channel in range(4):
        w, g = weight.detach()[channel].double().numpy(), gradient[channel].double().numpy()
        scale = float(quantizer.scale[channel])
        codes = np.rint(w / scale)
        inside = np.abs(codes) <= 127
        assert inside.any() and not inside.all()
        by_scale = (g * np.where(inside, codes - w / scale, np.clip(codes, -127, 127))).sum() * scale
        assert float(quantizer.log_scale.grad[channel]) == pytest.approx(by_scale * lsq_factor(27, 127), rel=1e-3)  # type: ignore[union-attr,index]
        np.testing.assert_array_equal(weight.grad[channel].numpy(), (g * inside).astype(np.float32))  # type: ignore[index]


def test_ranges_stay_float32_under_autocast():
    quantizer = _quantizer(0.0123, 5)
    with torch.autocast("cpu", torch.bfloat16):
        x = F.conv2d(torch.randn(1, 4, 8, 8), torch.randn(4, 4, 1, 1))
        assert x.dtype == torch.bfloat16
        y = quantizer(x)
    assert y.dtype == torch.float32
    codes = y.detach() / quantizer.scale
    torch.testing.assert_close(codes, codes.round(), atol=1e-4, rtol=0)


def test_without_a_tensor_to_learn_from_nothing_is_kept():
    """With ranges frozen, only the input is kept for the backward pass: memory is that of the float model."""
    quantizer = _quantizer(0.02, 100, "nothing")
    result = quantizer(torch.randn(10, requires_grad=True))
    assert len(result.grad_fn.saved_tensors) == 1
