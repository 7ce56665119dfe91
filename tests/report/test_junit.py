"""JUnit XML, parsed back. Oracle: the shape that Jenkins and GitLab read, written down here."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from xml.etree import ElementTree

from edgegd.report.junit import junit_xml, write_junit
from edgegd.report.latency_table import Gate
from tests.cli.test_foreign_text import is_plain

ATTRIBUTES = {
    "testsuites": {"tests", "failures", "errors", "skipped"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped"},
    "testcase": {"classname", "name"},
    "failure": {"type", "message"},
    "error": {"type", "message"},
    "system-out": set(),
}
CHILDREN = {"testsuites": {"testsuite"}, "testsuite": {"testcase"}, "testcase": {"failure", "error", "system-out"}}


def parse(gates: list[Gate]) -> ElementTree.Element:
    return ElementTree.fromstring(junit_xml(gates))


def test_every_element_is_one_that_readers_know(gates: dict[str, Gate]) -> None:
    root = parse(list(gates.values()))
    assert root.tag == "testsuites"
    for element in root.iter():
        assert set(element.attrib) == ATTRIBUTES[element.tag]
        assert {child.tag for child in element} <= CHILDREN.get(element.tag, set())
        assert element.tag != "testcase" or len(element) == 1


def test_one_case_a_gate_and_the_counts_are_those_of_the_cases(gates: dict[str, Gate]) -> None:
    root = parse(list(gates.values()))
    (suite,) = root
    assert [case.get("name") for case in suite] == [
        "candidate against shipped on pi5",
        "candidate against shipped on server",
        "candidate against shipped on ssh://a|b",
        "candidate p99 under 30 ms on pi5",
        "candidate against shipped without timing",
        "candidate against shipped without timing",
    ]
    for element in (root, suite):
        assert [element.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["6", "3", "1", "0"]
    assert suite.get("name") == "edgegd gate"


def test_each_verdict_has_its_own_element_and_type(gates: dict[str, Gate]) -> None:
    found = {name: parse([gate])[0][0][0] for name, gate in gates.items()}
    assert {name: (element.tag, element.get("type")) for name, element in found.items()} == {
        "regressed": ("failure", "REGRESSED"),
        "passed": ("system-out", None),
        "refused": ("error", "INVALID"),
        "inconclusive": ("failure", "INCONCLUSIVE"),
        "static": ("failure", "REGRESSED"),
        "static_passed": ("system-out", None),
    }
    assert found["regressed"].get("message") == "More than 3 % slower."
    assert found["static"].get("message") == "convolutions: in float now: a|b"
    assert "+4.8 % [+3.9 %, +5.6 %]" in (found["regressed"].text or "")
    assert "2 of 2 facts passed" in (found["static_passed"].text or "")


def test_what_a_device_printed_leaves_the_file_well_formed(gates: dict[str, Gate]) -> None:
    (error,) = parse([gates["refused"]]).iter("error")
    assert error.get("message") == "21 of 60 quads\nhad to be discarded: \\x1b[31m<throttled>"


def test_a_name_of_any_characters_leaves_the_file_well_formed(gates: dict[str, Gate]) -> None:
    target = "".join(map(chr, range(0x120))) + "\u202e\ud800\ufffe\uffff\U0001fffe"
    (case,) = parse([dataclasses.replace(gates["passed"], target=target)]).iter("testcase")
    name = case.get("name") or ""
    assert name.startswith("candidate against shipped on \\x00\\x01") and is_plain(name)


def test_the_file_is_written_whole_into_a_new_folder(gates: dict[str, Gate], tmp_path: Path) -> None:
    path = tmp_path / "reports" / "gate.xml"
    write_junit(path, [gates["passed"]], "nightly")
    assert ElementTree.parse(path).getroot()[0].get("name") == "nightly"
    assert path.read_bytes().startswith(b"<?xml version='1.0' encoding='utf-8'?>")
    assert [entry.name for entry in path.parent.iterdir()] == ["gate.xml"]
