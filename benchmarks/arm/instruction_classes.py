"""Classes of AArch64 instructions, by their 32-bit opcodes (Arm Architecture Reference Manual, C4.1: A64 encodings)."""

from __future__ import annotations

from functools import cache

DOT = "dot product"  # SDOT, UDOT, USDOT and the matrix forms
INTEGER_MULTIPLY = "integer multiply"  # of vector registers: SMULL, SMLAL, MUL, MLA, SQRDMULH ...
FLOAT_MULTIPLY = "float multiply"  # FMLA, FMUL and the like, of vectors and of single numbers, in 16 to 64 bits
VECTOR = "other vector"  # everything else on vector and floating-point registers
LOAD = "load"
STORE = "store"
BRANCH = "branch"
SCALAR = "scalar integer"
SYSTEM = "system"
CLASSES = (DOT, INTEGER_MULTIPLY, FLOAT_MULTIPLY, VECTOR, LOAD, STORE, BRANCH, SCALAR, SYSTEM)
ARITHMETIC = (DOT, INTEGER_MULTIPLY, FLOAT_MULTIPLY)

# Operations that multiply, by group: U and the group's operation field; those of the groups in C4.1.94, Advanced SIMD.
_SAME = {(u, op): INTEGER_MULTIPLY for u in (0, 1) for op in (0b10010, 0b10011, 0b10110)} | dict.fromkeys(
    [(0, 0b11001), (1, 0b11001), (0, 0b11101), (0, 0b11011), (1, 0b11011)], FLOAT_MULTIPLY
)
_SAME_FLOAT16 = dict.fromkeys([(0, 0b001), (0, 0b011), (1, 0b011)], FLOAT_MULTIPLY)
_SAME_EXTRA = (
    dict.fromkeys([(1, 0b0000), (1, 0b0001)], INTEGER_MULTIPLY)
    | {(u, op): DOT for u in (0, 1) for op in (0b0010, 0b0011, 0b0100, 0b0101)}
    | dict.fromkeys([(1, op) for op in (0b1000, 0b1001, 0b1010, 0b1011, 0b1101, 0b1111)], FLOAT_MULTIPLY)
)
_DIFFERENT = {(u, op): INTEGER_MULTIPLY for u in (0, 1) for op in (0b1000, 0b1010, 0b1100)} | dict.fromkeys(
    [(0, op) for op in (0b1001, 0b1011, 0b1101, 0b1110)], INTEGER_MULTIPLY
)
_BY_ELEMENT = (
    dict.fromkeys([(0, op) for op in (2, 3, 6, 7, 8, 10, 11, 12, 13)], INTEGER_MULTIPLY)
    | dict.fromkeys([(1, op) for op in (0, 2, 4, 6, 10, 13, 15)], INTEGER_MULTIPLY)
    | dict.fromkeys([(0, op) for op in (0, 1, 4, 5, 9)], FLOAT_MULTIPLY)
    | dict.fromkeys([(1, op) for op in (1, 3, 5, 7, 8, 9, 12)], FLOAT_MULTIPLY)
    | dict.fromkeys([(0, 14), (1, 14), (0, 15)], DOT)
)
_GROUPS = (  # mask, value, lowest bit and width of the operation field, operations that multiply
    (0x9F200400, 0x0E200400, 11, 5, _SAME),
    (0x9F60C400, 0x0E400400, 11, 3, _SAME_FLOAT16),
    (0x9F208400, 0x0E008400, 11, 4, _SAME_EXTRA),
    (0x9F200C00, 0x0E200000, 12, 4, _DIFFERENT),
    (0x9F000400, 0x0F000000, 12, 4, _BY_ELEMENT),
)


@cache
def class_of(opcode: int) -> str:
    """The class, one of CLASSES, of a 32-bit opcode."""
    group = opcode >> 25 & 0b1111
    if group in (0b1000, 0b1001) or group & 0b0111 == 0b0101:
        return SCALAR
    if group in (0b1010, 0b1011):
        return SYSTEM if opcode >> 29 == 0b110 and not opcode >> 25 & 1 else BRANCH
    if group & 0b0101 == 0b0100:
        return _load_or_store(opcode)
    if group & 0b0111 == 0b0111:
        return _of_vector_registers(opcode)
    return SYSTEM


def _load_or_store(opcode: int) -> str:
    vector, field, kind = opcode >> 26 & 1, opcode >> 22 & 0b11, opcode >> 28 & 0b11
    if kind == 0b01 and not opcode >> 24 & 1:  # a literal
        return LOAD
    if kind in (0b00, 0b10) or vector:  # exclusive, structures, pairs; vector registers
        return LOAD if field & 1 else STORE
    if kind == 0b11 and opcode >> 30 == 0b11 and field == 0b10:  # PRFM
        return SYSTEM
    atomic = kind == 0b11 and not opcode >> 24 & 1 and opcode >> 21 & 1 and not opcode >> 10 & 0b11
    return LOAD if field or atomic else STORE


def _of_vector_registers(opcode: int) -> str:
    if opcode & 0x5F000000 == 0x1F000000:  # FMADD and its kin
        return FLOAT_MULTIPLY
    if opcode & 0x5F000000 == 0x1E000000:  # other floating point of single numbers: FMUL, FNMUL
        return FLOAT_MULTIPLY if opcode & 0x00207C00 == 0x00200800 else VECTOR
    if opcode & 0xD0000000 == 0x50000000:  # single numbers in vector registers: encoded as vectors, but for one bit
        opcode &= ~0x10000000
    u = opcode >> 29 & 1
    for mask, value, lowest, width, multiplying in _GROUPS:
        if opcode & mask == value:
            return multiplying.get((u, opcode >> lowest & (1 << width) - 1), VECTOR)
    return VECTOR
