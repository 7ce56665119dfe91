"""Addresses of operations and tensors: how they are written, and the one place where they are read.

model.2.m.0:add:0            an operation: the path of its module, its name, the index of the call in the module
model.2.m.0:add:0/softmax    a tensor inside it
model.2:split:0#1            its second result; the first has no number
input                        the image
ADDRESS/codes                the quantized tensor of an address, as an exported file names it
"""

from __future__ import annotations

from dataclasses import dataclass

INPUT = "input"
"""The address of the image."""
_CODES = "/codes"


@dataclass(frozen=True)
class Address:
    """A read address; `str()` writes it. The image has the module `input` and no operation."""

    module: str
    operation: str = ""
    index: int = 0
    inner: str = ""
    result: int = 0

    def __str__(self) -> str:
        owner = f"{self.module}:{self.operation}:{self.index}" if self.operation else self.module
        inner = f"/{self.inner}" if self.inner else ""
        return f"{owner}{inner}#{self.result}" if self.result else f"{owner}{inner}"

    @staticmethod
    def read(text: str) -> Address:
        """The parts of an address; ValueError for a text that is none."""
        text, _, result = text.partition("#")
        owner, _, inner = text.partition("/")
        module, *call = owner.rsplit(":", 2)
        if not call:
            return Address(module, inner=inner, result=int(result or 0))
        if len(call) != 2:
            raise ValueError(f"{text} is no address: module:operation:index is")
        return Address(module, call[0], int(call[1]), inner, int(result or 0))


def owner_of(address: str) -> str:
    """The operation (or image) that a tensor is of, or is inside; also of a text that is no address."""
    return without_result(address).partition("/")[0]


def without_result(address: str) -> str:
    """The address without the number of a result: all results of one operation are planned as one tensor."""
    return address.partition("#")[0]


def inner_of(address: str) -> str:
    """The name of a tensor inside its operation; empty for an operation's own result."""
    return without_result(address).partition("/")[2]


def module_of(address: str) -> str:
    """The path of the module whose operation it is."""
    return owner_of(address).partition(":")[0]


def codes_name(address: str) -> str:
    """The name of an address's quantized tensor in an exported file."""
    return address + _CODES


def address_of_codes(name: str) -> str | None:
    """The address whose quantized tensor has this name in a file; None for any other tensor."""
    return name.removesuffix(_CODES) if name.endswith(_CODES) else None
