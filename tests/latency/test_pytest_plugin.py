"""The pytest plugin in projects of its own. Oracle: pytest's own account of them."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("onnx")
pytest_plugins = ["pytester"]

GATED = """
    import pytest

    @pytest.mark.latency(quads=2, block_s=0.02, warmup_s=5.0)
    @pytest.mark.parametrize("old, new", [("slow.onnx", "quick.onnx"), ("quick.onnx", "slow.onnx")])
    def test_gated(latency_gate, old, new):
        outcome = latency_gate(new, baseline=old, static=False)
        assert outcome.verdict.value == "PASS" and outcome.static is None

    def test_unknown_key(latency_gate):
        latency_gate("quick.onnx", baseline="slow.onnx", margn=0.1)

    def test_without_timing():
        pass
"""


@pytest.fixture
def project(pytester: pytest.Pytester, make_model: Any, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    for name, products in (("quick", 300), ("slow", 900)):
        (pytester.path / f"{name}.onnx").write_bytes(make_model(name, products=products).read_bytes())
    monkeypatch.setenv("EDGEGD_DEVICE_LOCK", str(pytester.path / "lock"))
    monkeypatch.setenv("XDG_DATA_HOME", str(pytester.path / "data"))
    pytester.makepyfile(GATED)
    return pytester


@pytest.mark.slow
def test_the_gate_passes_and_fails_tests(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess("-m", "latency", "--strict-markers")
    result.assert_outcomes(passed=1, failed=2, deselected=1)
    result.stdout.fnmatch_lines(["*REGRESSED*local*candidate*"])
    result.stdout.fnmatch_lines(["*latency_gate does not know*margn*"])
    assert len(list((project.path / "gates").glob("*/*/local.jsonl"))) == 2


def test_latency_tests_can_be_left_out(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess("-m", "not latency", "--strict-markers")
    result.assert_outcomes(passed=1, deselected=3)
