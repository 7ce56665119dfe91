"""What a range test's curves speak for. Oracles: gradient descent on parabolas, whose best and divergent rates are
known, and curves of noise alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from edgegd.report.learning_rate import BOTH, Suggestion, keys_of, rows, sentence, smoothed, suggest
from edgegd.report.lr_range_picture import lr_range_svg

RATES = tuple(10 ** (number / 6) for number in range(-30, 13))


def descent_on_a_parabola(curvature: float, rates: Sequence[float], noise: float, seed: int) -> tuple[list[float], str]:
    """The change of curvature / 2 * x^2 behind each step from 1 at rising rates; gradients and losses have noise."""
    random, x, changes = np.random.default_rng(seed), 1.0, []
    for rate in rates:
        x -= rate * curvature * (x + 0.3 * float(random.standard_normal()))
        changes.append(curvature / 2 * (x * x - 1) + noise * float(random.standard_normal()))
        if changes[-1] > curvature:
            return changes, "diverged"
    return changes, ""


def suggestion(curvature: float, noise: float = 0.0, rates: Sequence[float] = RATES) -> Suggestion:
    curves = [descent_on_a_parabola(curvature, rates, noise * curvature, seed) for seed in range(3)]
    return suggest(smoothed([(rates[: len(c)], c) for c, _ in curves]), [end for _, end in curves])


@pytest.mark.parametrize("curvature", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_the_best_rate_of_a_parabola_is_met_and_its_divergence_is_found(curvature: float, noise: float) -> None:
    found = suggestion(curvature, noise)
    assert found.rule == BOTH and found.rate is not None and found.divergence is not None
    # Without noise 1 / curvature is the best rate, and from 2 / curvature on it diverges; noise wants a lower one.
    assert 0.5 < found.rate * curvature < 1.2
    assert 1.9 < found.divergence * curvature < 2.5
    assert found.steepest is not None and found.valley is not None
    assert found.steepest < found.valley < found.divergence


def test_rates_that_are_all_too_high_are_told() -> None:
    found = suggestion(1.0, rates=[rate for rate in RATES if rate > 5])
    assert found.rule == "divergence" and found.rate == pytest.approx(found.divergence / 2)
    assert found.divergence == pytest.approx(min(rate for rate in RATES if rate > 5))


def test_noise_speaks_for_no_rate() -> None:
    chosen = []
    for seed in range(200):
        random = np.random.default_rng(seed)
        curves = [(RATES[:21], list(random.standard_normal(21))) for _ in range(3)]
        chosen.append(suggest(smoothed(curves), ["", "", ""]).rule)
    assert chosen.count("none") >= 180


def test_a_curve_that_only_falls_has_no_divergence() -> None:
    found = suggestion(1.0, rates=[rate for rate in RATES if rate < 0.1])
    assert found.divergence is None and found.rule == "valley" and found.rate == pytest.approx(found.valley)


def test_a_smoothed_curve_is_a_weighted_mean_with_its_error() -> None:
    rates = (1.0, 10.0, 100.0)  # a decade apart is 6.7 widths: places do not touch each other
    curve = smoothed([(rates, (1.0, 2.0, 3.0)), (rates[:2], (3.0, 2.0)), (rates[:2], (5.0, math.nan))])
    assert curve.rates == rates and curve.changes == pytest.approx((3.0, 2.0, 3.0))
    assert curve.errors[:2] == pytest.approx((2 / math.sqrt(3), 0.0), abs=1e-4)
    assert curve.counts == pytest.approx((3, 2, 1))
    # Student's t of 95 % with two degrees of freedom is 2.92.
    assert curve.beyond_noise(1)[0] == pytest.approx(2.92 * curve.errors[0], rel=1e-3)
    with pytest.raises(ValueError, match="without a value"):
        smoothed([((), ())])


def test_ranges_share_a_key_and_the_lower_rate_counts() -> None:
    one = suggestion(1.0)
    assert one.rate is not None
    higher, none = Suggestion(9.0, "", "", None, None, None, 0, 0), Suggestion(None, "none", "", None, None, None, 0, 0)
    assert keys_of({"weights": one, "scales": higher, "zero_points": one}) == {
        "train.lr0": one.rate,
        "train.range_lr": one.rate,
    }
    assert keys_of({"weights": none, "biases": higher, "scales": none, "zero_points": higher}) == {
        "train.bias_lr": 9.0,
        "train.range_lr": 9.0,
    }


def test_the_sentence_and_the_table_name_the_recipes_rate() -> None:
    one = suggestion(1.0)
    none = Suggestion(None, "none", "nothing changed", None, None, None, 0.0, 1.0)
    said = sentence({"weights": one, "zero_points": none}, {"weights": (one.rate or 0) / 2, "zero_points": 0.1})
    assert "2 times the recipe's" in said and "For zero points no rate is suggested: nothing changed." in said
    assert "memory" not in said and "3 times" in sentence({"weights": one}, {"weights": 0.1}, 3)
    assert "the recipe has 0" in sentence({"weights": one}, {"weights": 0.0})
    (line,) = rows({"weights": vars(one)}, {"weights": 5e-5})
    assert line[:4] == ["weights", "5e-05", f"{one.rate:.2g}", BOTH]


def test_the_picture_is_text_and_the_same_each_time() -> None:
    curves = [descent_on_a_parabola(1.0, RATES, 0.1, seed) for seed in range(3)]
    smooth = smoothed([(RATES[: len(c)], c) for c, _ in curves])
    found = {
        "curves": [{"group": "zero_points", "rates": RATES[: len(c)], "changes": c} for c, _ in curves],
        "smoothed": {"zero_points": vars(smooth)},
        "suggestions": {"zero_points": vars(suggest(smooth, [end for _, end in curves]))},
        "recipe": {"zero_points": 0.001},
    }
    picture = lr_range_svg(found)
    assert picture == lr_range_svg(found)
    assert b"learning rate of the zero points" in picture and b"the recipe's 0.001" in picture
    assert b"<dc:date" not in picture
    assert b"mathdefault" not in picture and b">0.001</text>" in picture, "rates are plain numbers, not formulas"
