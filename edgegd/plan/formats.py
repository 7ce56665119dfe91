"""Number formats: how many bits, signed or not, symmetric or not, one range a tensor or one a channel."""

from __future__ import annotations

from dataclasses import dataclass

SMALLEST_SCALE, LARGEST_SCALE = 2.0**-40, 2.0**100
"""What a scale is kept between. Below the first, a division in float32 would overflow for ordinary activations. Powers
of two: float32 has them exactly, so a scale that is rounded to float32 stays within them."""
LARGEST_BIAS_CODE = 2**30
"""What weight scales keep the codes of a bias within. The int32 accumulator holds bias and products: half of it is left
for the products (33 thousand of 255 * 127)."""


@dataclass(frozen=True)
class Format:
    """An integer format of onnxruntime's 8-bit kernels.

    `symmetric` fixes the zero point at 0 and drops the lowest code of a signed format (-127..127 in 8 bits), so that
    a weight and its negative have codes of equal size. `per_channel` gives each output channel its own scale.
    """

    name: str
    bits: int
    signed: bool
    symmetric: bool
    per_channel: bool

    @property
    def qmin(self) -> int:
        """Smallest code."""
        if not self.signed:
            return 0
        return -(2 ** (self.bits - 1)) + (1 if self.symmetric else 0)

    @property
    def qmax(self) -> int:
        """Largest code."""
        return 2**self.bits - 1 if not self.signed else 2 ** (self.bits - 1) - 1


UINT8_ACTIVATION = Format("uint8-asymmetric-per-tensor", bits=8, signed=False, symmetric=False, per_channel=False)
INT8_ACTIVATION = Format("int8-asymmetric-per-tensor", bits=8, signed=True, symmetric=False, per_channel=False)
INT8_WEIGHT = Format("int8-symmetric-per-channel", bits=8, signed=True, symmetric=True, per_channel=True)
# 2 * 255 * 63 < 2^15: the int16 sums of VPMADDUBSW, which AVX2 kernels use, cannot saturate.
INT7_WEIGHT = Format("int7-symmetric-per-channel", bits=7, signed=True, symmetric=True, per_channel=True)
FORMATS = {fmt.name: fmt for fmt in (UINT8_ACTIVATION, INT8_ACTIVATION, INT8_WEIGHT, INT7_WEIGHT)}
