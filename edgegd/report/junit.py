"""Gates as JUnit XML, which CI servers show: one test case a gate.

A REGRESSED gate is a `failure`; so is an INCONCLUSIVE one, of its own type, because a CI must not go green on what the
data do not bear out. An INVALID gate, which could not be judged, is an `error`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from edgegd.atomic_files import write_atomically
from edgegd.foreign_text import one_line, printable
from edgegd.latency.statistics.verdict import StaticGate, Verdict
from edgegd.report.latency_table import Gate, describe, gates_table

_ELEMENTS = {Verdict.REGRESSED: "failure", Verdict.INCONCLUSIVE: "failure", Verdict.INVALID: "error"}


def junit_xml(gates: Sequence[Gate], suite: str = "edgegd gate") -> bytes:
    """The file's content, UTF-8: `testsuites`, in it one `testsuite` with a `testcase` a gate.

    `type` of a failure or error is the verdict, its message the reason and its text the gate's table; a gate that
    passed has the table as `system-out`. What edgegd.foreign_text leaves of a device's text XML 1.0 can hold (section
    2.2, Char).
    """
    cases = []
    for gate in gates:
        without_timing = isinstance(gate, StaticGate)
        case = ElementTree.Element(
            "testcase", classname=f"edgegd.{'static' if without_timing else 'latency'}", name=one_line(describe(gate))
        )
        text = printable(gates_table([gate]))
        if gate.verdict is Verdict.PASS:
            ElementTree.SubElement(case, "system-out").text = text
        else:
            ElementTree.SubElement(
                case, _ELEMENTS[gate.verdict], type=gate.verdict.value, message=printable(_reason(gate))
            ).text = text
        cases.append(case)
    counts = {
        "tests": len(cases),
        "failures": sum(case.find("failure") is not None for case in cases),
        "errors": sum(case.find("error") is not None for case in cases),
        "skipped": 0,
    }
    numbers = {key: str(count) for key, count in counts.items()}
    root = ElementTree.Element("testsuites", numbers)
    ElementTree.SubElement(root, "testsuite", {"name": suite} | numbers).extend(cases)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def write_junit(path: Path, gates: Sequence[Gate], suite: str = "edgegd gate") -> None:
    """Writes `junit_xml` to a file, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, junit_xml(gates, suite))


def _reason(gate: Gate) -> str:
    if isinstance(gate, StaticGate):
        return "; ".join(f"{one.name}: {one.reason}" for one in gate.findings if not one.passed)
    return gate.reason
