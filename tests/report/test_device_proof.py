"""A proof in words: what is said of INT8 that does not pay, of other codes, of what was not measured; and its JUnit."""

from __future__ import annotations

import copy
from typing import Any
from xml.etree import ElementTree

import pytest

from edgegd.latency.measuring.result import AS_GOOD
from edgegd.report.blocks import as_text
from edgegd.report.device import device_blocks, sentences
from edgegd.report.junit import proof_xml
from edgegd.report.sections import devices
from tests.cli.test_foreign_text import is_plain

CODES = {"images": 4, "tensors": 300, "differing": 0, "first": None, "equal_outputs": True, "undisturbed": True}
MAP = {"map50_95": 0.42, "map50": 0.6}


def latency(low: float, high: float) -> dict[str, Any]:
    return {
        "median_ms": 10.0,
        "p95_ms": 12.0,
        "speedup": (low + high) / 2,
        "speedup_low": low,
        "speedup_high": high,
        "pays": low > 1,
    }


@pytest.fixture
def proof() -> dict[str, Any]:
    """Of a device on which INT8 pays at one thread and is not shown to at four."""
    names = ("fp32", "qat", "qat.edge")
    load = {"load_ms": [100.0, 120.0], "first_ms": [20.0, 22.0], "peak_bytes": [80_000_000, 81_000_000]}
    return {
        "target": "pi5",
        "emulated": False,
        "variant": "qat",
        "files": {name: {"file": f"{name}.onnx", "sha256": "0" * 64, "bytes": 2_000_000} for name in names},
        "files_for": "arm64",
        "fingerprint": {
            "cpu": "Cortex-A76",
            "usable_cores": 4,
            "onnxruntime": "1.32.0",
            "numpy": "2.4.6",
            "python": "3.11.2",
        },
        "machine_profile": "arm64",
        "workstation": {"onnxruntime": "1.32.0"},
        "codes": {name: dict(CODES) for name in names[1:]},
        "accuracy": {
            "images": 150,
            "of_images": 150,
            "bytes_each": 307_200,
            "budget_mb": 500.0,
            "there": dict.fromkeys(names, MAP),
            "here": dict.fromkeys(names, MAP),
        },
        "latency": {
            setting: {
                "threads": {"threads": threads, "spinning": False, "cores": [], "workers": 1},
                "launches": 3,
                "stable": True,
                "faults": [],
                "models": {"fp32": latency(1, 1), "qat": latency(0.8, 1.1), "qat.edge": latency(low, 2.0)},
            }
            for setting, threads, low in (("one thread", 1, 1.4), ("all cores", 4, 0.97))
        },
        "judged": "one thread",
        "load": dict.fromkeys(names, load),
        "not_measured": "",
        "limits": [],
    }


def test_where_no_interval_lies_above_1_fp32_is_as_good(proof: dict[str, Any]) -> None:
    (said,) = [one for one in sentences(proof) if AS_GOOD in one]
    assert said.startswith(f"{AS_GOOD}, at all cores: qat.edge.onnx is 1.48 times as fast [0.97, 2.00]")
    proof["latency"]["all cores"]["models"]["qat"] = latency(1.01, 1.2)
    assert AS_GOOD not in as_text(device_blocks(proof)), "the portable file pays there"


def test_the_first_differing_tensor_is_named(proof: dict[str, Any]) -> None:
    first = {"address": "model.3:conv2d:0", "image": 2, "codes": 900, "differing": 7, "largest_distance": 1}
    proof["codes"]["qat"] |= {"differing": 5, "first": first, "equal_outputs": False}
    said = next(one for one in sentences(proof) if one.startswith("qat: "))
    assert "in 5 of 300 tensors" in said and "another output" in said
    assert "The first is model.3:conv2d:0: on image 2 7 of 900 codes differ, by 1 at the most." in said
    assert "295 of 300" in as_text(device_blocks(proof))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"not_measured": "pi5 is emulated.", "latency": {}, "load": {}}, "were not measured. pi5 is emulated."),
        ({"workstation": {"onnxruntime": "1.30.0"}}, "onnxruntime 1.32.0, this machine 1.30.0"),
        ({"machine_profile": "x86-avx2"}, "The files are for arm64, and this CPU needs x86-avx2"),
    ],
    ids=["emulated", "another onnxruntime", "another profile"],
)
def test_what_limits_the_proof_is_said(proof: dict[str, Any], change: dict[str, Any], words: str) -> None:
    assert words not in as_text(device_blocks(proof))
    assert words in as_text(device_blocks(proof | change))


def test_each_limit_and_each_file_is_a_test_case(proof: dict[str, Any]) -> None:
    rows = [("p95_ms", 40, 12.0, True), ("bytes", 10, 2e6, False), ("load_ms", 5, None, False)]
    proof["limits"] = [
        {"name": name, "limit": limit, "found": found, "passed": passed, "reason": "because"}
        for name, limit, found, passed in rows
    ]
    proof["codes"]["qat"]["equal_outputs"] = False
    root = ElementTree.fromstring(proof_xml(proof))
    assert root.attrib == {"tests": "5", "failures": "2", "errors": "1", "skipped": "0"}
    kinds = {case.get("name"): case[0].tag for case in root.iter("testcase")}
    assert kinds == {
        "p95_ms 40 on pi5": "system-out",
        "bytes 10 on pi5": "failure",
        "load_ms 5 on pi5": "error",
        "codes of qat on pi5": "failure",
        "codes of qat.edge on pi5": "system-out",
    }
    for verdict in ("met", "NOT MET", "NOT MEASURED"):
        assert f"| {verdict} " in as_text(device_blocks(proof), "github")


def test_a_report_without_devices_has_no_section(proof: dict[str, Any]) -> None:
    assert devices.blocks({"devices": {}}) == []
    both = {"pi5": proof, "pi4": copy.deepcopy(proof)}
    text = as_text(devices.blocks({"devices": both}), "github")
    assert [line for line in text.splitlines() if line.startswith("#")] == ["### pi5", "### pi4"]


def test_what_a_device_says_of_itself_is_only_text(proof: dict[str, Any]) -> None:
    proof["fingerprint"]["cpu"] = "<b>Cortex\x1b[2J|"
    proof["target"] = "a\nb"
    text = as_text(device_blocks(proof), "github")
    assert "<b>" not in text and is_plain(text)
    assert is_plain(proof_xml(proof).decode())
