"""The table counts every fault in one column, and every case once."""

from __future__ import annotations

import pytest

from fuzz.table import column_of, table


@pytest.mark.parametrize(
    ("fault", "column"),
    [
        ("unexpected exit: 1", "unexpected exits"),
        ("traceback", "unexpected exits"),
        ("crash: signal 11", "unexpected exits"),
        ("hang: not ended after 30 s", "hangs"),
        ("left running: worker.py", "hangs"),
        ("memory: 2.1 GB", "over 2 GB"),
        ("file lost: set/images/1.jpg", "files lost or changed"),
        ("success though wrong", "success though wrong"),
        ("2 error messages", "words"),
        ("--json printed no JSON: NaN", "words"),
        ("the fuzzer failed: x", "words"),
    ],
)
def test_the_column_of_a_fault(fault: str, column: str) -> None:
    assert column_of(fault) == column


def test_a_line_for_each_kind_and_one_for_all() -> None:
    def case(name: str, *faults: str) -> dict[str, object]:
        return {"case": name, "faults": faults, "seconds": 1.5, "peak_bytes": 5 * 10**8}

    cases = [case("models-0"), case("models-1", "traceback", "unexpected exit: 1"), case("a-kind-0", "hang: x")]
    _, _, models, other, everything = (line.split() for line in table(cases).splitlines())
    assert models == ["models", "2", "1", "0", "0", "0", "0", "0", "1.5", "0.50"]
    assert other == ["a-kind", "1", "0", "1", "0", "0", "0", "0", "1.5", "0.50"]
    assert everything == ["all", "3", "1", "1", "0", "0", "0", "0", "1.5", "0.50"]
