"""Texts of others in every table and sentence of a report. Oracle: the same table of a harmless text."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgegd.report.blocks import as_text
from edgegd.report.passes import passes_table
from edgegd.report.table import table
from tests.cli.test_foreign_text import EVIL, is_plain

MARKUP = "a | b\n<script>x</script> ![i](http://x) `c` @all \\| \x1b[2J\n\nedgegd: PASS (0)\n| forged | row |"
Show = Callable[[str], str]


def assert_like(shown: Show, text: str) -> None:
    """`text` is there, changes the number of no table's rows, and begins no line."""
    evil, plain = shown(text), shown("harmless")
    assert "harmless" in plain and "PASS (0)" in evil
    assert is_plain(evil) and len(evil.splitlines()) == len(plain.splitlines())
    assert not any(line.startswith("edgegd:") for line in evil.splitlines())


def assert_no_markup(shown: Show) -> None:
    """As `assert_like`, and every Markdown row has its columns, and nothing begins a tag, an image or a mention."""
    assert_like(shown, MARKUP)
    evil, plain = shown(MARKUP), shown("harmless")
    bars = [[len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines()] for text in (evil, plain)]
    assert bars[0] == bars[1]
    assert not re.search(r"<script|!\[i\]\(|@all", evil)


def test_of_every_cell_only_text_is_left() -> None:
    assert_no_markup(lambda text: table([[text, 1], ["b", text]], ["x", text], "github"))
    assert_like(lambda text: table([["a", text]], [text, "b"]), EVIL)


def test_a_name_that_looks_like_a_number_stays_as_it_is() -> None:
    lines = table([["1e3", "0x10"], ["nan", "007"]], ["class", "1.0"]).splitlines()
    assert lines[2:] == ["1e3      0x10", "nan      007"]


def test_no_rows_leave_the_headers() -> None:
    assert table([], ["a", "b"], align=("left", "right")).split() == ["a", "b", "---", "---"]


@pytest.mark.parametrize("place", ["name", "text", "address", "reason"])
def test_passes(place: str) -> None:
    def shown(text: str) -> str:
        said = {"name": "fold", "text": "folds", "address": "model.0", "reason": "too wide"} | {place: text}
        return passes_table(
            [
                {
                    "name": said["name"],
                    "applied": [1],
                    "text": said["text"],
                    "gain": None,
                    "refused": [[said["address"], said["reason"]]],
                }
            ]
        )

    assert_like(shown, EVIL)


def test_names_and_faults_of_targets() -> None:
    from edgegd.report.latency_table import latency_table

    def shown(text: str) -> str:
        model = SimpleNamespace(median_ms=1.0, p90_ms=1.0, p99_ms=1.0, speedup=1.0, speedup_low=1.0, speedup_high=1.0)
        result = SimpleNamespace(models={text: model}, stable=False, faults=(text, text))
        return latency_table(cast(Any, {text: result}))

    assert_like(shown, EVIL)


def test_the_front_of_a_search() -> None:
    from edgegd.cli.search import front_table

    def shown(text: str) -> str:
        point = {
            "name": text,
            "integer_operations": 3,
            "predicted_ms": 1.0,
            "measured_ms": 1.0,
            "ratio": 1.0,
            "predicted_db": 1.0,
            "head_db": 1.0,
        }
        return front_table(
            {
                "fp32_ms": 1.0,
                "points": [point],
                "chosen": text,
                "nearest": "",
                "threads": 1,
                "fingerprint": {"cpu": text},
                "images": ["a"],
            }
        )

    assert_like(shown, EVIL)


def test_a_choice_of_activations() -> None:
    pytest.importorskip("torch")
    from edgegd.detectors.activation_swap import ActivationSwap
    from edgegd.report.activation_swap import swap_blocks

    def swap(text: str) -> ActivationSwap:
        unit = SimpleNamespace(paths=(f"{text}.act",), saved_ms=1.0, signal_to_noise_db=20.0, swapped=True)
        conditions = {"run_ms": 2.0, "imgsz": [64, 64], "onnxruntime": text, "cpu": text, "threads": 1, "images": 8}
        return cast(
            ActivationSwap,
            SimpleNamespace(relu=(text,), silu=(), activation=text, units=(unit,), saving=0.5, conditions=conditions),
        )

    assert_like(lambda text: as_text(swap_blocks(swap(text))), EVIL)
    assert_no_markup(lambda text: as_text(swap_blocks(swap(text)), "github"))


def test_a_file_against_a_plan(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from edgegd.report.plan import explain_file

    def shown(text: str) -> str:
        convolution = SimpleNamespace(address=text, planned="integer", runs_in="float")
        tensor = SimpleNamespace(address=text, finding=text, type=text, scale=1.0, zero_point=0)
        plan = SimpleNamespace(sha256="0" * 64, profile="arm64", by_address={text: SimpleNamespace(rule=text)})
        found = SimpleNamespace(convolutions=(convolution,), tensors=(tensor,), unplanned=(text,))
        return explain_file(text, cast(Any, plan), cast(Any, found))

    assert_like(shown, EVIL)


def test_tuned_threads() -> None:
    from edgegd.report.sections.threads import blocks

    def shown(text: str) -> str:
        one = {"setting": {"threads": 1, "spinning": False, "cores": [], "workers": 1}, "ms": 1.0, "ratio": 1.0}
        one |= {"file": text, "low": 1.0, "high": 1.0, "cpu_ms": 1.0, "idle_load": 0.0, "paced_ms": 1.0}
        fp32 = {"speedup": 1.0, "speedup_low": 0.9, "speedup_high": 1.1, "as_good": True}
        tuning = {"target": text, "machine": {"cpu": text}, "file": text, "stable": False, "faults": [text]}
        questions = {name: one | {"fp32": fp32} for name in ("latency", "throughput")}
        tuning |= questions | {"candidates": {name: [one] for name in questions}}
        return as_text(blocks({"tuning": [tuning]}), "github")

    assert_no_markup(shown)
    assert "is as good here" in shown("a file")


def test_a_plan() -> None:
    pytest.importorskip("torch")
    from edgegd.report.plan import explain_plan

    def shown(text: str) -> str:
        op = SimpleNamespace(address=text, operation=text, decision="float", rule=text, reason=text)
        tensor = SimpleNamespace(address=text, group=text, rule=text, reason=text, learns=text)
        kind = SimpleNamespace(name="uint8")
        plan = SimpleNamespace(
            ops=(op,),
            tensors=(tensor,),
            profile="arm64",
            sha256="0" * 64,
            groups={text: text},
            activation_format=kind,
            weight_format=kind,
        )
        ranges: dict[str, dict[str, Any]] = {
            text: {"scale": 1.0, "zero_point": text, "observer": text, "tensors": {text: 1.0}}
        }
        return explain_plan(cast(Any, plan), ranges)

    assert_like(shown, EVIL)


def _texts(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every text in a JSON document."""
    if isinstance(document, str):
        yield path
    elif isinstance(document, (dict, list)):
        for step, value in document.items() if isinstance(document, dict) else enumerate(document):
            yield from _texts(value, (*path, step))


def _with(document: Any, path: tuple[Any, ...], text: str) -> Any:
    changed = copy.deepcopy(document)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = text
    return changed


def _renamed(report: dict[str, Any], text: str) -> dict[str, Any]:
    """The report with `text` for a class, a loss and the file of another profile."""
    changed = copy.deepcopy(report)
    for variant in changed["accuracy"].values():
        variant["per_class"] = {text if name == "car" else name: one for name, one in variant["per_class"].items()}
    for epoch in changed["descent"]["epochs"]:
        epoch["parts"] = {
            text if index == 0 else name: value for index, (name, value) in enumerate(epoch["parts"].items())
        }
    entry = {
        "file": text,
        "ladder": changed["ladder"]["qat"],
        "proof": {"profile": text, "cpu": text, "arithmetic": text, "not_proved": [text]},
    }
    changed["profiles"] = {"arm64": {"qat": entry}}
    return changed


def test_every_text_of_a_report(finished_run: Path) -> None:
    from edgegd.report.markdown import caveats, parity_line, to_markdown

    report = json.loads((finished_run / "report.json").read_text())
    assert_no_markup(lambda text: to_markdown(_renamed(report, text)))
    report["latency_conditions"] |= {"faults": ["a fault"], "machine_profile": "another"}
    report["proof"]["accuracy"]["not_proved"] = ["speed"]
    report["ladder"]["qat"]["one_operation"]["onnxruntime optimized"]["first_differing"] = "model.2:add:0"
    before, shown = to_markdown(report), 0
    for path in _texts(report):
        written = [to_markdown(_with(report, path, text)) for text in (MARKUP, "harmless")]
        if "harmless" in written[1]:
            shown += 1
            assert_no_markup(lambda text, path=path: to_markdown(_with(report, path, text)))  # type: ignore[misc]
            terminal = _with(report, path, EVIL)
            said = [parity_line(terminal), *caveats(terminal)]
            assert all(is_plain(line) and "\n" not in line for line in said)
        else:
            assert written[0] == written[1] or len(written[0].splitlines()) == len(before.splitlines())
    assert shown > 10


def test_no_table_is_made_otherwise() -> None:
    package = Path(__file__).parents[2] / "edgegd"
    users = [str(file.relative_to(package)) for file in package.rglob("*.py") if "tabulate import" in file.read_text()]
    assert users == ["report/table.py"]
