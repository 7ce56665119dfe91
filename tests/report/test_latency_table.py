"""What a person reads of gates. Oracle: the gates' numbers, written by hand."""

from __future__ import annotations

import re

import pytest

from edgegd.report.latency_table import Gate, change, gates_markdown, gates_table


def row(text: str, verdict: str) -> list[str]:
    """The cells of the first Markdown row of a verdict."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {verdict}"))
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_a_relative_gate_shows_everything_that_it_rests_on(gates: dict[str, Gate]) -> None:
    text = gates_table([gates["regressed"], gates["passed"]], "github")
    assert row(text, "verdict") == [
        "verdict",
        "target",
        "model",
        "change of latency",
        "margin",
        "detectable",
        "launches",
        "p regressed",
        "p pass",
        "quads discarded",
    ]
    assert row(text, "REGRESSED") == [
        "REGRESSED",
        "pi5",
        "candidate",
        "+4.8 % [+3.9 %, +5.6 %]",
        "+3.0 %",
        "+4.5 %",
        "15",
        "0.00012",
        "0.93",
        "2 of 60",
    ]
    assert row(text, "PASS")[3:8] == ["-2.0 % [-2.9 %, +0.5 %]", "+3.0 %", "+4.5 %", "8", "0.2"]


def test_reasons_stand_below_for_what_did_not_pass(gates: dict[str, Gate]) -> None:
    text = gates_table([gates["regressed"], gates["passed"], gates["inconclusive"]])
    assert text.splitlines()[-2:] == [
        "- REGRESSED: candidate against shipped on pi5: More than 3 % slower.",
        "- INCONCLUSIVE: candidate p99 under 30 ms on pi5: Too few samples.",
    ]
    assert "Less than" not in text


def test_a_refusal_has_no_numbers_but_its_reason(gates: dict[str, Gate]) -> None:
    text = gates_table([gates["refused"]], "github")
    cells = row(text, "INVALID")
    assert cells[3:] == ["-", "+3.0 %", "not calibrated", "0", "-", "-", "21 of 60"]
    assert "21 of 60 quads had to be discarded" in text and "\x1b" not in text


def test_markdown_cells_survive_bars_tags_and_line_ends(gates: dict[str, Gate]) -> None:
    text = gates_markdown([gates["refused"], gates["static"]])
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in rows[:3]}) == 1
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in rows[3:]}) == 1
    assert row(text, "INVALID")[1] == r"ssh://a\|b" and "&lt;throttled>" in text and "<throttled>" not in text


def test_an_absolute_gate_shows_the_quantile_with_its_bounds(gates: dict[str, Gate]) -> None:
    assert row(gates_table([gates["inconclusive"]], "github"), "INCONCLUSIVE") == [
        "INCONCLUSIVE",
        "pi5",
        "candidate",
        "p99 at 99 %",
        "28.10 [27.50, 31.20]",
        "30",
        "1200",
    ]


def test_of_static_facts_only_those_that_failed_are_shown(gates: dict[str, Gate]) -> None:
    text = gates_table([gates["static"]])
    assert "1 of 3" not in text and "2 of 3 facts passed" in text
    assert "98 integer, 4 float" in text and "in float now: a|b" in text and "nodes: Add" not in text
    passed = gates_table([gates["static_passed"]])
    assert passed == "PASS: candidate against shipped without timing: 2 of 2 facts passed"


@pytest.mark.parametrize(
    ("names", "overall"),
    [
        (("passed", "static_passed"), "PASS"),
        (("passed", "inconclusive"), "INCONCLUSIVE"),
        (("refused", "inconclusive", "passed"), "INVALID"),
        (("refused", "regressed"), "REGRESSED"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_the_heading_is_the_verdict_of_all(gates: dict[str, Gate], names: tuple[str, ...], overall: str) -> None:
    assert gates_markdown([gates[name] for name in names]).startswith(f"## Latency gate: {overall}\n")


def test_markdown_explains_the_columns_only_where_they_are(gates: dict[str, Gate]) -> None:
    assert "Error rate of each side over all looks: 0.01." in gates_markdown([gates["passed"]])
    assert "Error rate" not in gates_markdown([gates["static"]])
    with pytest.raises(ValueError, match="no gate"):
        gates_markdown([])


def test_a_ratio_is_a_signed_percentage() -> None:
    assert [change(ratio) for ratio in (1.048, 0.5, 1.0, None)] == ["+4.8 %", "-50.0 %", "+0.0 %", "-"]
