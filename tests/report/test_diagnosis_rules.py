"""The rules of the diagnosis on lines of real runs, and at their thresholds on lines made by hand.

`descents/RULE.json.gz` has the lines of a run of benchmarks/diagnosis.py in which that was done what RULE must find:
without seconds, memory, and the parts of details that no rule reads, and with four digits.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from descent_rows import healthy, section

from edgegd.report.diagnosis import RULES, diagnose
from edgegd.report.diagnosis.facts import MOST_ERRORS, Facts, difference
from edgegd.report.diagnosis.rule import KINDS

FILES = sorted(Path(__file__).with_name("descents").glob("*.json.gz"))
PAGE = Path(__file__).parents[2] / "docs/diagnosis.md"
STEPS = 120
MAPS = (0.400, 0.402, 0.404)


def stored(path: Path) -> tuple[str, Facts]:
    """What was done, and the facts."""
    data = json.loads(gzip.decompress(path.read_bytes()))
    rule = data.pop("rule")
    return rule, Facts(**data, ended=True)


def facts(
    rows: list[dict[str, Any]] | None = None, maps: tuple[float, ...] = MAPS, losses: Any = None, **settings: Any
) -> Facts:
    """A finished descent of 120 steps of 16 of 640 images, three epochs or as many as there are mAPs."""
    losses = losses or [2.1 - 0.02 * n for n in range(len(maps))]
    epochs = [
        {"epoch": n, "loss": loss, "map50_95": value, "oscillation": {}}
        for n, (loss, value) in enumerate(zip(losses, maps, strict=True), 1)
    ]
    return Facts(rows or healthy(STEPS), section(epochs=3, **settings), 640, epochs, 0.398, ended=True)


def found(facts: Facts) -> list[str]:
    return [finding["rule"] for finding in diagnose(facts)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.removesuffix(".json.gz"))
def test_what_was_done_to_a_real_run_is_found(path: Path) -> None:
    rule, descent = stored(path)
    findings = {finding["rule"]: finding for finding in diagnose(descent)}
    assert rule in findings
    assert json.loads(json.dumps(findings[rule])) == findings[rule]  # plain data, as report.json takes it
    sentence, change = findings[rule]["sentence"], findings[rule]["change"]
    assert any(char.isdigit() for char in sentence) and sentence.endswith(".")
    assert change == "Nothing." if rule == "converged" else any(key in change for key in ("train.", "quant.", "model."))


def test_every_rule_has_a_real_run_and_a_paragraph() -> None:
    names = [rule.name for rule in RULES]
    assert sorted(path.name.removesuffix(".json.gz") for path in FILES) == sorted(names)
    page = PAGE.read_text()
    for rule in RULES:
        early = ", early" if rule.early else ""
        assert f"**{rule.name}** ({rule.kind}{early}" in page
        assert rule.kind in KINDS and set(rule.unless) <= set(names[: names.index(rule.name)])


def test_a_healthy_descent_made_by_hand_has_converged() -> None:
    assert found(facts()) == ["converged"]


def test_problems_come_first_and_exclude_what_is_good() -> None:
    rows = healthy(STEPS)
    for row in rows:
        row["clipped"] = True
        if "detail" in row:
            row["detail"]["codes_changed"] = {"a": 0.3}
    assert found(facts(rows)) == ["rate-too-high", "clipped"]


@pytest.mark.parametrize(("share", "rules"), [(0.149, ["converged"]), (0.151, ["rate-too-high"])])
def test_the_share_of_codes_that_is_too_high(share: float, rules: list[str]) -> None:
    rows = healthy(STEPS)
    rows[7]["detail"]["codes_changed"] = {"a": share, "b": share, "c": 1.0}  # of layers, the median
    assert found(facts(rows)) == rules


def test_a_suggested_rate_is_in_proportion_to_the_codes() -> None:
    rows = healthy(STEPS)
    rows[7]["detail"]["codes_changed"] = {"a": 0.4}
    (finding,) = diagnose(facts(rows, lr0=1e-3))
    assert finding["change"] == "Lower train.lr0, for example from 0.001 to 5e-05."  # 0.4 / 0.02 = 20
    (finding,) = diagnose(replace(facts(rows, lr0=1e-3), adaptation=True))
    assert "train.adapt.lr0" in finding["change"]


def test_overshooting_steps_are_a_rate_too_high_and_single_ones_are_not() -> None:
    rows = healthy(STEPS)
    for row in rows:
        if "detail" in row:
            row["detail"]["step_length"]["all"]["alpha"] = 0.5
    assert found(facts(rows)) == ["rate-too-high"]
    few = healthy(STEPS, every=40)
    for row in few:
        if "detail" in row:
            row["detail"]["step_length"]["all"]["alpha"] = 0.5
    assert found(facts(few)) == ["converged"]


@pytest.mark.parametrize(("moved", "rules"), [(0.002, ["rate-too-low"]), (0.012, ["converged"])])
def test_a_rate_is_too_low_only_where_map_has_not_moved(moved: float, rules: list[str]) -> None:
    rows = healthy(STEPS)
    for row in rows:
        if "detail" in row:
            row["detail"]["codes_changed"] = {"a": 1e-4}
            row["detail"]["step_length"]["all"]["alpha"] = -0.95
    assert found(facts(rows, maps=(0.398, 0.398, 0.398 + moved))) == rules


@pytest.mark.parametrize(("clipped", "rules"), [(70, ["converged"]), (75, ["clipped", "converged"])])
def test_clipping_must_be_surely_on_most_steps(clipped: int, rules: list[str]) -> None:
    rows = healthy(STEPS)
    for row in rows[:clipped]:  # of 120; half is 60, and its error at 1 % 0.1
        row["clipped"] = True
    assert found(facts(rows)) == rules


def test_a_loss_that_stands_still_is_a_plateau_where_the_rate_stays_high() -> None:
    rows, flat, rising = healthy(STEPS), (0.4, 0.41, 0.4, 0.41, 0.4, 0.41), (0.4, 0.4, 0.4, 0.41, 0.42, 0.43)
    assert "plateau" not in found(facts(rows, flat))
    for row in rows:
        row["lr"]["weights"] = 1e-4
    assert found(facts(rows, flat, lrf=1.0)) == ["plateau"]
    assert "plateau" not in found(facts(rows, rising, lrf=1.0))
    falling = [row | {"loss": row["loss"] - 0.004 * row["step"]} for row in rows]
    assert "plateau" not in found(facts(falling, flat, lrf=1.0))


@pytest.mark.parametrize(
    ("maps", "losses", "fires"),
    [
        ((0.42, 0.41, 0.40, 0.39, 0.38), (2.0, 1.9, 1.8, 1.7, 1.6), True),
        ((0.42, 0.41, 0.40, 0.39, 0.38), (2.0, 2.0, 2.0, 2.0, 2.0), False),
        ((0.42, 0.421, 0.42, 0.421, 0.42), (2.0, 1.9, 1.8, 1.7, 1.6), True),
        ((0.42, 0.421, 0.42, 0.421, 0.42), (2.0, 1.9, 1.85, 1.8, 1.75), False),
        ((0.38, 0.39, 0.40, 0.41, 0.42), (2.0, 1.9, 1.8, 1.7, 1.6), False),
    ],
    ids=["loss falls, mAP too", "loss stands", "mAP stands", "loss falls by little", "mAP rises"],
)
def test_overfitting_is_a_loss_that_falls_while_map_does_not_rise(maps: Any, losses: Any, fires: bool) -> None:
    assert ("overfitting" in found(facts(maps=maps, losses=losses))) == fires


@pytest.mark.parametrize(("images", "epochs", "fires"), [(100, 31, True), (101, 31, False), (100, 30, False)])
def test_a_small_set(images: int, epochs: int, fires: bool) -> None:
    descent = Facts(healthy(20), section(epochs=epochs), images)
    assert ("set-too-small" in found(descent)) == fires


def of_ranges(change: Callable[[dict[str, Any]], None]) -> list[str]:
    rows = healthy(STEPS)
    for row in rows:
        if "detail" in row:
            change(row["detail"]["ranges"])
    return found(facts(rows))


def test_ranges_collapse_by_width_or_by_codes() -> None:
    def narrow(ranges: dict[str, Any]) -> None:
        next(iter(ranges.values()))["above"] = 0.4

    def wide(ranges: dict[str, Any]) -> None:
        next(iter(ranges.values()))["used"] = 0.01

    assert of_ranges(narrow) == of_ranges(wide) == ["ranges-collapsed"]  # one of ten
    assert of_ranges(lambda ranges: None) == ["converged"]


@pytest.mark.parametrize(("factor", "rules"), [(1.05, ["ranges-moving", "converged"]), (1.001, ["converged"])])
def test_ranges_that_still_move(factor: float, rules: list[str]) -> None:
    rows = healthy(STEPS)
    for row in rows:
        if "detail" in row:
            for seen in row["detail"]["ranges"].values():
                seen["scale"] *= factor ** (row["step"] / 8)
    assert found(facts(rows)) == rules
    for row in rows[40:]:  # they stopped learning: what they did before is no matter
        row["gradient"] = {key: value for key, value in row["gradient"].items() if key != "scales"}
        if "detail" in row:
            row["detail"]["ranges"] = rows[39]["detail"]["ranges"]
    assert found(facts(rows)) == rules


@pytest.mark.parametrize(("gradient", "rules"), [(4.9, ["converged"]), (5.5, ["gradient-dominated"])])
def test_a_layer_with_three_quarters_of_the_gradient(gradient: float, rules: list[str]) -> None:
    rows = healthy(STEPS)
    for row in rows:
        if "detail" in row:
            row["detail"]["layers"]["model.3.conv"]["gradient"] = gradient  # beside nine of 1: 24 / 33 and 30 / 39
    assert found(facts(rows)) == rules


@pytest.mark.parametrize("what", ["dead", "saturated"])
def test_channels_must_be_so_in_every_look(what: str) -> None:
    rows = healthy(STEPS)
    details = [row["detail"] for row in rows if "detail" in row]
    for detail in details[1:]:
        next(iter(detail["ranges"].values()))[what] = 0.5
    assert found(facts(rows)) == ["converged"]
    next(iter(details[0]["ranges"].values()))[what] = 0.5
    assert found(facts(rows)) == [f"{what}-channels", "converged"]


def test_lines_of_an_earlier_version_have_no_channels() -> None:
    rows = healthy(STEPS)
    for row in rows:
        if "detail" in row:
            for seen in row["detail"]["ranges"].values():
                del seen["dead"], seen["saturated"]
    assert found(facts(rows)) == ["converged"]


def test_values_that_were_not_finite_are_left_out() -> None:
    rows = healthy(STEPS)
    for row in rows:
        if "detail" in row:
            row["detail"]["layers"]["model.3.conv"]["gradient"] = None
            row["detail"]["step_length"]["all"]["alpha"] = None
            next(iter(row["detail"]["ranges"].values()))["scale"] = None
    assert found(facts(rows)) == ["converged"]


def test_the_difference_of_means_is_welchs() -> None:
    scipy = pytest.importorskip("scipy.stats")
    before, after = [1.0, 2.0, 3.5, 2.2], [2.0, 4.0, 4.5]
    assert difference(before, after).errors == pytest.approx(scipy.ttest_ind(after, before, equal_var=False).statistic)
    assert difference([1.0, 1.0], [1.0, 1.0]).errors == 0.0
    assert difference([1.0, 1.0], [2.0, 2.0]).errors == MOST_ERRORS
    assert difference([2.0, 2.0], [1.0, 1.0]).errors == -MOST_ERRORS


@pytest.mark.parametrize(
    ("maps", "rules"), [((0.392, 0.39, 0.392), ["rate-too-high"]), ((0.39, 0.39, 0.397), ["converged"])]
)
def test_a_descent_that_only_loses_is_a_rate_too_high(maps: Any, rules: list[str]) -> None:
    assert found(facts(maps=maps)) == rules  # from 0.398


def test_what_collapsed_ranges_do_to_map_is_no_rate_too_high() -> None:
    rows = healthy(STEPS)
    for row in rows:
        if "detail" in row:
            next(iter(row["detail"]["ranges"].values()))["above"] = 0.4
    assert found(facts(rows, maps=(0.392, 0.39, 0.392))) == ["ranges-collapsed"]
