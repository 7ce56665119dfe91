"""Counting ARM's instructions: classes of opcodes, what the plugin stores, and the gate. Oracle: capstone's texts."""

from __future__ import annotations

import copy
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tabulate")
pytest.importorskip("onnx_ir")

from arm.cost_file import BASELINE, changes, read_entries, store
from arm.counting import as_dict, read_marks, total
from arm.instruction_classes import (
    BRANCH,
    DOT,
    FLOAT_MULTIPLY,
    INTEGER_MULTIPLY,
    LOAD,
    SCALAR,
    STORE,
    SYSTEM,
    VECTOR,
    class_of,
)
from arm.onnx_counts import _of_kernels

from edgegd.export.passes import PASSES
from edgegd.targets.emulator import CPUS

# opcode, what capstone 5 reads in it, class; from onnxruntime's ARM64 wheel, but for the last, which ncnn has
OPCODES = [
    (0x4E3FCDFC, "fmla v28.4s, v15.4s, v31.4s", FLOAT_MULTIPLY),
    (0x4F01E618, "movi v24.16b, #0x30", VECTOR),
    (0x1F14689A, "fmadd s26, s4, s20, s26", FLOAT_MULTIPLY),
    (0x4EEC87FF, "add v31.2d, v31.2d, v12.2d", VECTOR),
    (0x1E7B29EF, "fadd d15, d15, d27", VECTOR),
    (0x4E889761, "sdot v1.4s, v27.16b, v8.16b", DOT),
    (0x4E1407DE, "dup v30.4s, v30.s[2]", VECTOR),
    (0x4E531B5A, "uzp1 v26.8h, v26.8h, v19.8h", VECTOR),
    (0x4EB59D95, "mul v21.4s, v12.4s, v21.4s", INTEGER_MULTIPLY),
    (0x6E7CDC3C, "fmul v28.2d, v1.2d, v28.2d", FLOAT_MULTIPLY),
    (0x4E218087, "smlal2 v7.8h, v4.16b, v1.16b", INTEGER_MULTIPLY),
    (0x4E9AA789, "smmla v9.4s, v28.16b, v26.16b", DOT),
    (0x6F8FE241, "udot v1.4s, v18.16b, v15.4b[0]", DOT),
    (0x4E606994, "sadalp v20.4s, v12.8h", VECTOR),
    (0x6F85001B, "mla v27.4s, v0.4s, v5.s[0]", INTEGER_MULTIPLY),
    (0x0EB567DE, "smax v30.2s, v30.2s, v21.2s", VECTOR),
    (0x6E46ED36, "bfmmla v22.4s, v9.8h, v6.8h", FLOAT_MULTIPLY),
    (0x4F83F024, "usdot v4.4s, v1.16b, v3.4b[0]", DOT),
    (0x0E27C01F, "smull v31.8h, v0.8b, v7.8b", INTEGER_MULTIPLY),
    (0x2E212800, "sqxtun v0.8b, v0.8h", VECTOR),
    (0x0E216BDE, "fcvtn v30.4h, v30.4s", VECTOR),
    (0x1E3D8B27, "fnmul s7, s25, s29", FLOAT_MULTIPLY),
    (0x4E1B239C, "tbl v28.16b, {v28.16b, v29.16b}, v27.16b", VECTOR),
    (0x2F532034, "umlal v20.4s, v1.4h, v3.h[1]", INTEGER_MULTIPLY),
    (0x6E3BC3DE, "umull2 v30.8h, v30.16b, v27.16b", INTEGER_MULTIPLY),
    (0x4EFEE03D, "pmull2 v29.1q, v1.2d, v30.2d", INTEGER_MULTIPLY),
    (0x94000AAB, "bl #0x2aac", BRANCH),
    (0x9100801C, "add x28, x0, #0x20", SCALAR),
    (0xA9106FE6, "stp x6, x27, [sp, #0x100]", STORE),
    (0x3CA16876, "str q22, [x3, x1]", STORE),
    (0xBD4032CF, "ldr s15, [x22, #0x30]", LOAD),
    (0x9B047D8C, "mul x12, x12, x4", SCALAR),
    (0x0D4091E6, "ld1 {v6.s}[1], [x15]", LOAD),
    (0x3707DC81, "tbnz w1, #0, #0xfffffffffffffb90", BRANCH),
    (0xB4FFD920, "cbz x0, #0xfffffffffffffb24", BRANCH),
    (0x54FFFB63, "b.lo #0xffffffffffffff6c", BRANCH),
    (0x39C00660, "ldrsb w0, [x19, #1]", LOAD),
    (0x9A859000, "csel x0, x0, x5, ls", SCALAR),
    (0x9AC20864, "udiv x4, x3, x2", SCALAR),
    (0x1B0026C9, "madd w9, w22, w0, w9", SCALAR),
    (0x88DFFF60, "ldar w0, [x27]", LOAD),
    (0x4D00855B, "st1 {v27.d}[1], [x10]", STORE),
    (0x9B2C7D1B, "smull x27, w8, w12", SCALAR),
    (0xF8A579C0, "prfm pldl1keep, [x14, x5, lsl #3]", SYSTEM),
    (0xB8E00020, "ldaddal w0, w0, [x1]", LOAD),
    (0x69449A63, "ldpsw x3, x6, [x19, #0x24]", LOAD),
    (0x880FFC31, "stlxr w15, w17, [x1]", STORE),
    (0x4E410C20, "fmla v0.8h, v1.8h, v1.8h", FLOAT_MULTIPLY),
    (0x4F001020, "fmla v0.8h, v1.8h, v0.h[0]", FLOAT_MULTIPLY),
]


@pytest.mark.parametrize(("opcode", "text", "expected"), OPCODES, ids=[text for _, text, _ in OPCODES])
def test_the_class_of_an_opcode(opcode: int, text: str, expected: str) -> None:
    assert class_of(opcode) == expected, text


def _block(number: int, *opcodes: int) -> bytes:
    return b"T" + struct.pack(f"<2I{len(opcodes)}I", number, len(opcodes), *opcodes)


def _mark(clock: int, k: int, *entries: tuple[int, int]) -> bytes:
    return b"M" + struct.pack("<3I", clock, k, len(entries)) + b"".join(struct.pack("<IQ", *one) for one in entries)


def test_what_the_plugin_stores_is_counted_by_class() -> None:
    sdot, ldr, branch = 0x4E889761, 0xBD4032CF, 0x94000AAB
    stored = [
        *(_block(0, sdot, sdot, ldr), _mark(0, 0, (0, 5))),
        *(_block(1, ldr, branch), _mark(0, 1, (0, 10), (1, 2**33)), _mark(1, 0, (1, 1)), _mark(0, 999)),
    ]
    marks = list(read_marks(b"".join(stored)))
    assert [mark.k for mark in marks] == [0, 1, None, 999]
    first, second, clock, last = (as_dict(mark.counts) for mark in marks)
    assert (first[DOT], first[LOAD], total(first)) == (10, 5, 15)
    assert (second[DOT], second[LOAD], second[BRANCH]) == (20, 10 + 2**33, 2**33)
    assert total(clock) == 2 and total(last) == 0


def test_kernels_are_found_among_the_readings_of_the_clock() -> None:
    durations = np.array([3, 4000, 50, 700, 2, 90])
    kernels = [np.array([10 * duration]) for duration in durations]
    between = [np.array([9000 + 400 * (i % 3)]) for i in range(len(kernels))]
    readings = [part for pair in zip(kernels, between, strict=True) for part in pair]
    for before in (3, 4):
        clocks = [np.array([50])] * before + readings + [np.array([100])]
        assert [int(one[0]) for one in _of_kernels(clocks, durations)] == [int(one[0]) for one in kernels]
    with pytest.raises(ValueError, match="do not fit"):
        _of_kernels(between + between, durations[::-1])


ENTRY = {
    **{"model": "yolo26n", "form": "raw", "imgsz": 320, "cpu": "cortex-a76", "file": "relu edge"},
    **{"runtime": "onnxruntime 1.32.0", "qemu": "10.0", "commit": "", "operators": {}},
    "instructions": {DOT: 40_000_000, INTEGER_MULTIPLY: 10, FLOAT_MULTIPLY: 2_000, VECTOR: 9, LOAD: 10**7, STORE: 1}
    | {BRANCH: 2, SCALAR: 10**7, SYSTEM: 0},
}


def _changed(**counts: int) -> dict[str, Any]:
    other = copy.deepcopy(ENTRY)
    other["instructions"] |= counts  # type: ignore[operator]
    return other


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (ENTRY, None),
        (_changed(**{SCALAR: 10**7 + 590_000}), None),
        (_changed(**{SCALAR: 10**7 + 610_000}), "total 60002022 -> 60612022 (+1.0%)"),
        (_changed(**{LOAD: 10**7 - 700_000}), "total 60002022 -> 59302022 (-1.2%)"),
        (_changed(**{INTEGER_MULTIPLY: 11}), "integer multiply 10 -> 11"),
        (_changed(**{DOT: 39_999_999}), "dot product 40000000 -> 39999999"),
        (ENTRY | {"file": "relu other"}, "not in the baseline"),
        (ENTRY | {"runtime": "onnxruntime 1.33.0"}, "the baseline is of onnxruntime 1.32.0"),
    ],
    ids=["equal", "within 1 %", "more", "fewer", "one product more", "one fewer", "new", "another version"],
)
def test_the_gate(found: dict[str, Any], line: str | None) -> None:
    lines = changes([ENTRY], [found])
    assert len(lines) == (line is not None) and (line is None or line in lines[0])


def test_stored_counts_take_the_place_of_those_of_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "cost.json"
    store([ENTRY, ENTRY | {"cpu": "cortex-a72"}], path)
    store([_changed(**{SCALAR: 7})], path)
    assert read_entries(path) == [_changed(**{SCALAR: 7}), ENTRY | {"cpu": "cortex-a72"}]
    assert json.loads(path.read_text())["schema"] == 1


def _committed() -> dict[tuple[Any, ...], int]:
    return {
        (entry["model"], entry["form"], entry["imgsz"], entry["cpu"], entry["file"]): total(entry["instructions"])
        for entry in read_entries(BASELINE)
    }


def test_an_edge_file_takes_no_more_instructions_than_its_portable_file() -> None:
    counts = _committed()
    pairs = [
        (counts[key], counts[(*key[:-1], key[-1].replace("edge", "portable"))]) for key in counts if "edge" in key[-1]
    ]
    assert len(pairs) >= 4 and all(edge <= portable for edge, portable in pairs)
    assert counts["yolo26n", "raw", 320, "cortex-a72", "relu edge"] <= 236_000_000


@pytest.mark.parametrize("cpu", ["cortex-a76", "cortex-a72"])
def test_a_pass_is_left_out_of_a_profile_where_it_costs_instructions(cpu: str) -> None:
    """What passes declare (`slower_on`) against the committed counts: 0.1 % is what else may differ between files."""
    counts, checked = _committed(), 0
    for (model, form, imgsz, of_cpu, file), number in counts.items():
        activation, word, name = [*file.split(" ", 2), "", ""][:3]
        if of_cpu != cpu or word not in ("with", "without"):
            continue
        edge = counts[model, form, imgsz, cpu, f"{activation} edge"]
        assert number > edge * (1 if word == "with" else 0.999), file
        checked += 1
        declared = next(kind for kind in PASSES if kind.name == name).slower_on
        assert (CPUS[cpu].profile in declared) == (word == "with"), file
    assert checked >= 2 * len(PASSES)
