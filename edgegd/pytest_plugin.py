"""A pytest plugin: latency regression tests of a project of its own.

    def test_no_slower_than_shipped(latency_gate):
        latency_gate("runs/try1", baseline="shipped")

    @pytest.mark.latency(target="pi5", margin=0.05)
    def test_on_the_board(latency_gate):
        latency_gate("model.onnx", baseline="shipped", limit_ms=40)

A test fails unless the verdict is PASS; its message is the gate's table. Every test that uses the fixture has the
marker `latency`, so that `pytest -m "not latency"` leaves them out. What was measured stays in gates/ of the project.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from edgegd.pipeline.gate import GateOutcome

FIXTURE, MARKER = "latency_gate", "latency"


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(target, baseline, margin, limit_ms, ...): a latency regression test; "
        "the arguments are defaults of its latency_gate calls",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test that uses the fixture."""
    for item in items:
        if FIXTURE in getattr(item, "fixturenames", ()):
            item.add_marker(MARKER)


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    """Values of the recipe's section `gate` within its limits (NaN is none); raises ValueError, which lists all."""
    from edgegd.recipe.build import build
    from edgegd.recipe.schema import GateSection, Recipe

    section, mistakes = build(GateSection, values, Recipe, "gate.")
    if mistakes:
        raise ValueError("; ".join(f"{mistake.key}: {mistake.text}" for mistake in mistakes))
    return section


@pytest.fixture
def latency_gate(request: pytest.FixtureRequest) -> Callable[..., GateOutcome]:
    """latency_gate(candidate, baseline=NAME_OR_FILE, target="local", root="baselines", threads=1, static=True, **keys
    of the recipe's section `gate`): fails the test unless the candidate passes, and returns the outcome. With `static`
    False, latency alone is compared."""
    from edgegd.pipeline.gate import gate, new_folder
    from edgegd.pipeline.gate_request import GateRequest
    from edgegd.recipe.schema import GateSection, LatencySection
    from edgegd.report.latency_table import gates_table
    from edgegd.safe_outputs import refuse_link

    defaults: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers(MARKER))):
        defaults |= marker.kwargs
    project = request.config.rootpath

    def run(candidate: str | Path, **arguments: Any) -> GateOutcome:
        own = {"target": "local", "root": project / "baselines", "threads": 1, "static": True}
        asked: dict[str, Any] = own | defaults | arguments
        known = {field.name for field in fields(GateSection)}
        unknown = asked.keys() - known - own.keys()
        if unknown:
            raise TypeError(f"latency_gate does not know {sorted(unknown)}; it knows {sorted(known | own.keys())}")
        section = replace(GateSection(), **_checked({key: asked[key] for key in asked if key in known}))
        baseline = section.baseline
        if baseline.endswith(".onnx"):
            baseline = str(project / baseline)
        refuse_link(project / "gates")
        folder = new_folder(project / "gates" / request.node.name.replace("/", "-"))
        outcome = gate(
            GateRequest(
                candidate=project / candidate,
                baseline=baseline,
                root=Path(asked["root"]),
                section=section,
                latency=LatencySection(threads=asked["threads"]),
                targets=[asked["target"]],
                static=asked["static"],
            ),
            folder,
        )
        if outcome.exit_code:
            pytest.fail(f"{outcome.verdict.value}\n{gates_table(outcome.gates)}\n{folder}", pytrace=False)
        return outcome

    return run
