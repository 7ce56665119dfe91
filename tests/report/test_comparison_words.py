"""What a comparison supports. Oracles: Student's t by hand, seeds that differ by less and by more than their noise."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("matplotlib")

from edgegd.report.comparison import HEADERS, changes_of, different, name_of, rows, sentence
from edgegd.report.comparison_picture import comparison_svg


def contender(name: str, losses: list[float], batch: Any = 16, diverged: bool = False) -> dict[str, Any]:
    traces = [
        {
            "seed": seed,
            "images": [0, 240],
            "seconds": [0.0, 2.0 + seed],
            "losses": [3.0, 3.0 + loss],
            "steps": [{"images": 240, "alpha": -0.5 + seed, "kind": ""}, {"images": 240, "alpha": None, "kind": ""}],
            "step_count": 15,
            "diverged": diverged,
            "map50_95": None if diverged else 0.4 + 0.01 * seed,
            "noise": None if diverged else {"noise": 8.0, "slope": 1.0, "scale": 8.0 + seed},
        }
        for seed, loss in enumerate(losses)
    ]
    return {"optimizer": name, "batch": batch, "rate": 1e-4, "traces": traces}


def test_only_what_differs_beyond_its_noise_is_said_to() -> None:
    best = contender("AdamW", [-0.10, -0.12, -0.11])
    near, far = contender("Adam", [-0.09, -0.125, -0.11]), contender("SGD", [-0.01, -0.03, -0.02])
    said = sentence([near, far, best, contender("MuSGD", [0.0, 0.0, 0.0], diverged=True)], 3, 96)
    assert said.startswith("AdamW, batch 16 ended lowest: held-out loss -0.1100 +- 0.0100 from its start (3 seeds, 96")
    assert "Higher, beyond the noise of the seeds: SGD, batch 16 (-0.0200 +- 0.0100)." in said
    assert "Not told apart from it by these seeds: Adam, batch 16 (-0.1083" in said
    assert said.endswith("Diverged: MuSGD, batch 16.")


def test_one_seed_claims_nothing() -> None:
    said = sentence([contender("AdamW", [-0.1]), contender("SGD", [0.5], batch="full")], 1, 8)
    assert "Higher" not in said and "Not told apart" not in said and "One seed says nothing" in said
    assert sentence([contender("SGD", [1.0], diverged=True)], 1, 8) == "Every training diverged: SGD, batch 16."


def test_the_difference_is_students_t_with_a_limit_for_every_comparison() -> None:
    # Three differences 1, 2, 3: t = 2 / (1 / sqrt 3) = 3.46; with two degrees of freedom 90 % is 2.92 and 95 % is 4.30.
    first, second = [1.0, 2.0, 3.0], [0.0, 0.0, 0.0]
    assert different(first, second, 1) is False
    assert different([2.0, 2.5, 3.0], second, 1) is True  # t = 8.66
    assert different([2.0, 2.5, 3.0], second, 10) is False  # the limit is then 14.1
    assert different([1.0], [0.0], 1) is None
    assert different([1.0, 1.0], [1.0, 1.0], 1) is False


def test_rows_are_medians_and_means_of_the_seeds() -> None:
    (line,) = rows([contender("AdamW", [-0.1, -0.3])])
    assert len(line) == len(HEADERS)
    assert line == ["AdamW", "16", "0.0001", "15", "2.5", "-0.2000 +- 0.1414", "40.5 +- 0.7", "+0.00", "8"]
    (line,) = rows([contender("SGD", [0.0], batch="full", diverged=True)])
    assert line[5:] == ["diverged", "-", "-0.50", "-"]
    assert changes_of(contender("SGD", [0.0], diverged=True)) is None
    assert name_of(contender("SGD", [0.0], batch="full")) == "SGD, full batch"


def test_noise_without_a_slope_is_named() -> None:
    one = contender("SGD", [0.1, 0.1, 0.1])
    for trace in one["traces"][:2]:
        trace["noise"]["scale"] = None
    assert rows([one])[0][-1] == "all noise"


def test_the_picture_names_every_contender_and_is_the_same_each_time() -> None:
    found = {"contenders": [contender("AdamW", [-0.1, -0.2]), contender("SGD", [0.0], batch="full", diverged=True)]}
    found["contenders"][1]["traces"][0]["losses"] = [3.0]
    found["contenders"][1]["traces"][0]["images"] = [0]
    found["contenders"][1]["traces"][0]["seconds"] = [0.0]
    picture = comparison_svg(found)
    assert b"AdamW, batch 16" in picture and b"SGD, full batch" in picture and picture == comparison_svg(found)
