"""Gates, and proofs of a device, as JUnit XML, which CI servers show: one test case a gate, a limit or a file's codes.

A REGRESSED gate is a `failure`; so is an INCONCLUSIVE one, of its own type, because a CI must not go green on what the
data do not bear out. An INVALID gate, which could not be judged, is an `error`. A limit that was not measured is
an `error` too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from edgegd.accuracy.gate import AccuracyGate
from edgegd.atomic_files import write_atomically
from edgegd.foreign_text import one_line, printable
from edgegd.latency.statistics.verdict import StaticGate
from edgegd.report.device import codes_sentence
from edgegd.report.latency_table import Gate, describe, gates_table
from edgegd.verdict import Verdict

_ELEMENTS = {Verdict.REGRESSED: "failure", Verdict.INCONCLUSIVE: "failure", Verdict.INVALID: "error"}


def junit_xml(gates: Sequence[Gate], suite: str = "edgegd gate") -> bytes:
    """The file's content, UTF-8: `testsuites`, in it one `testsuite` with a `testcase` a gate.

    `type` of a failure or error is the verdict, its message the reason and its text the gate's table; a gate that
    passed has the table as `system-out`. What edgegd.foreign_text leaves of a device's text XML 1.0 can hold (section
    2.2, Char).
    """
    cases = []
    for gate in gates:
        kind = {StaticGate: "static", AccuracyGate: "accuracy"}.get(type(gate), "latency")
        case = ElementTree.Element("testcase", classname=f"edgegd.{kind}", name=one_line(describe(gate)))
        text = printable(gates_table([gate]))
        if gate.verdict is Verdict.PASS:
            ElementTree.SubElement(case, "system-out").text = text
        else:
            ElementTree.SubElement(
                case, _ELEMENTS[gate.verdict], type=gate.verdict.value, message=printable(_reason(gate))
            ).text = text
        cases.append(case)
    return _document(cases, suite)


def write_junit(path: Path, gates: Sequence[Gate], suite: str = "edgegd gate") -> None:
    """Writes `junit_xml` to a file, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, junit_xml(gates, suite))


def proof_xml(proof: Mapping[str, Any]) -> bytes:
    """The same of device-TARGET.json (edgegd.pipeline.proof): a case for each limit and for the codes of each file."""
    cases = []
    for limit in proof["limits"]:
        kind = "" if limit["passed"] else "error" if limit["found"] is None else "failure"
        cases.append(_case(proof, f"{limit['name']} {limit['limit']:g}", kind, limit["reason"]))
    for name, codes in proof["codes"].items():
        same = codes["differing"] == 0 and codes["equal_outputs"]
        cases.append(_case(proof, f"codes of {name}", "" if same else "failure", codes_sentence(name, codes)))
    return _document(cases, "edgegd prove")


def write_proof(path: Path, proof: Mapping[str, Any]) -> None:
    """Writes `proof_xml` to a file, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, proof_xml(proof))


def _case(proof: Mapping[str, Any], name: str, kind: str, reason: str) -> ElementTree.Element:
    """A test case; `kind` is failure, error, or empty where it passed."""
    full = one_line(f"{name} on {proof['target']}")
    case = ElementTree.Element("testcase", classname="edgegd.device", name=full)
    if kind:
        verdict = "NOT MEASURED" if kind == "error" else "FAILED"
        ElementTree.SubElement(case, kind, type=verdict, message=printable(reason)).text = printable(reason)
    else:
        ElementTree.SubElement(case, "system-out").text = printable(reason)
    return case


def _document(cases: Sequence[ElementTree.Element], suite: str) -> bytes:
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


def _reason(gate: Gate) -> str:
    if isinstance(gate, StaticGate):
        return "; ".join(f"{one.name}: {one.reason}" for one in gate.findings if not one.passed)
    return gate.reason
