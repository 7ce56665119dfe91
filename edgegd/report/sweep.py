"""A sweep for people: which trials were best, beside the recipe as it is; and recipes over seeds, beside the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgegd.report.blocks import Block, Bullets, Paragraph, Table

_SHOWN = 20
_CHOSEN = (
    "The best of many trials is chosen on the images on which it is shown here, so its numbers are better than it is: "
    "compare it with the recipe over seeds, on images that no trial saw (docs/scale.md)."
)


def search_sentence(result: Mapping[str, Any]) -> str:
    """How many trials there are, which are best, and what the recipe's own values give."""
    trials, objectives = result["trials"], result["objectives"]
    states = [one["state"] for one in trials]
    counted = ", ".join(
        f"{states.count(state)} {words}"
        for state, words in (
            ("complete", "finished"),
            ("pruned", "ended early"),
            ("fail", "failed"),
            ("running", "running"),
        )
        if state in states
    )
    told = [f"{len(trials)} trial{'s' if len(trials) != 1 else ''} of {result['asked']}: {counted or 'none began'}."]
    if result["best"]:
        best = [trials[number] for number in result["best"]]
        if len(objectives) == 1:
            one, trial = objectives[0], best[0]
            value = _number(one, trial["objectives"][0])
            told.append(f"The best {one['name']} is {value}, of trial {trial['number']}.")
        else:
            numbers = ", ".join(str(one["number"]) for one in best)
            told.append(f"No trial is better in every objective than trial{'s' if len(best) > 1 else ''} {numbers}.")
    own = None if result["own"] is None else trials[result["own"]]
    if own and own["objectives"]:
        told.append(f"The recipe as it is (trial {own['number']}): {_numbers(objectives, own['objectives'])}.")
    return " ".join(told)


def search_blocks(result: Mapping[str, Any]) -> list[Block]:
    """The sentence, a table of trials with the best first, and the errors of those that failed."""
    objectives, keys = result["objectives"], list(result["ranges"])
    trials = sorted(result["trials"], key=lambda one: _rank(result, one))
    headers = ["trial", *keys, *(one["name"] for one in objectives), "", "seconds"]
    rows = [
        [
            str(one["number"]),
            *(_value(one["values"].get(key)) for key in keys),
            *_cells(objectives, one),
            _remark(result, one),
            "-" if one["seconds"] is None else f"{one['seconds']:.0f}",
        ]
        for one in trials[:_SHOWN]
    ]
    blocks: list[Block] = [Paragraph(result["sentence"]), Table(headers, rows)]
    if len(trials) > _SHOWN:
        blocks.append(Paragraph(f"{len(trials) - _SHOWN} further trials are in sweep.json."))
    failed = [one for one in result["trials"] if one["error"]]
    if failed:
        blocks.append(Bullets([f"trial {one['number']}: {one['error'].splitlines()[0]}" for one in failed]))
    blocks.append(Paragraph(_CHOSEN))
    return blocks


def grid_sentence(result: Mapping[str, Any]) -> str:
    """What each recipe's mean is, and which differences to the first recipe are beyond what seeds differ by."""
    name = result["objectives"][0]["name"]
    told = []
    for row in result["rows"][1:]:
        change = row["differences"][name]
        if change is None or change["low"] is None:
            continue
        shown = _mean(result["objectives"][0], change, sign=True)
        beyond = change["low"] > 0 or change["high"] < 0
        verdict = "beyond what seeds differ by" if beyond else "which seeds alone could give"
        told.append(f"{row['recipe']} minus {result['rows'][0]['recipe']}: {shown}, {verdict}.")
    done = sum(one["state"] == "complete" for one in result["runs"])
    return " ".join([f"{done} of {len(result['runs'])} runs finished; means over seeds of {name}.", *told])


def grid_blocks(result: Mapping[str, Any]) -> list[Block]:
    """The sentence, a table of means and paired differences, and the errors of runs that failed."""
    objectives, first = result["objectives"], result["rows"][0]["recipe"]
    headers = ["recipe", "seeds", *(part for one in objectives for part in (one["name"], f"minus {first}"))]
    rows = [
        [
            row["recipe"],
            str(row["seeds"]),
            *(
                part
                for one in objectives
                for part in (
                    _mean(one, row["means"][one["name"]]),
                    _mean(one, row["differences"][one["name"]], sign=True),
                )
            ),
        ]
        for row in result["rows"]
    ]
    failed = [f"{one['name']}: {one['error'].splitlines()[0]}" for one in result["runs"] if one["error"]]
    return [
        Paragraph(result["sentence"]),
        Table(headers, rows),
        *([Bullets(failed)] if failed else []),
        Paragraph(
            "In brackets: 95 % intervals by Student's t over seeds; differences are those of runs with the same seed. "
            "They say what another seed would give on these images, not what other images would."
        ),
    ]


def shown_objective(objective: Mapping[str, Any], value: float) -> float:
    """mAPs in points of 0..100, all else as it is."""
    return 100 * value if "map50" in objective["name"] else value


def _rank(result: Mapping[str, Any], trial: Mapping[str, Any]) -> tuple[Any, ...]:
    """Finished ones first: the best ones, then by the first objective; the others by their number."""
    if not trial["objectives"]:
        return (1, 0, trial["number"])
    value = trial["objectives"][0]
    is_best = trial["number"] in result["best"]
    return (0, (not is_best, -value if result["objectives"][0]["maximize"] else value), trial["number"])


def _remark(result: Mapping[str, Any], trial: Mapping[str, Any]) -> str:
    parts = []
    if trial["state"] != "complete":
        parts.append({"pruned": "ended early", "fail": "failed", "running": "running"}[trial["state"]])
    if trial["number"] in result["best"]:
        parts.append("best" if len(result["objectives"]) == 1 else "front")
    if trial["number"] == result["own"]:
        parts.append("the recipe as it is")
    if trial["same_as"] is not None:
        parts.append(f"as trial {trial['same_as']}")
    return ", ".join(parts)


def _cells(objectives: Sequence[Mapping[str, Any]], trial: Mapping[str, Any]) -> list[str]:
    values = trial["objectives"]
    return (
        ["-"] * len(objectives)
        if not values
        else [_number(one, value) for one, value in zip(objectives, values, strict=True)]
    )


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _number(objective: Mapping[str, Any], value: float) -> str:
    if objective["unit"] == "bytes":
        return f"{value:.0f}"
    return f"{shown_objective(objective, value):.2f}"


def _numbers(objectives: Sequence[Mapping[str, Any]], values: Sequence[float]) -> str:
    return ", ".join(f"{one['name']} {_number(one, value)}" for one, value in zip(objectives, values, strict=True))


def _mean(objective: Mapping[str, Any], mean: Mapping[str, Any] | None, *, sign: bool = False) -> str:
    if mean is None:
        return "-"
    form = ("+" if sign else "") + (".0f" if objective["unit"] == "bytes" else ".2f")
    value, low, high = (
        None if mean[key] is None else format(shown_objective(objective, mean[key]), form)
        for key in ("value", "low", "high")
    )
    return f"{value}" if low is None else f"{value} [{low}, {high}]"
