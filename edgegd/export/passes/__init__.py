"""Exact rewrites of a Q/DQ graph for onnxruntime's CPU kernels, one a module, in the order in which they run."""

from edgegd.export.passes.base import ExactPass, PassReport
from edgegd.export.passes.channels_last import ChannelsLast
from edgegd.export.passes.constants import FoldConstants
from edgegd.export.passes.fold_columns import FoldColumns
from edgegd.export.passes.integer_kernels import IntegerKernels
from edgegd.export.passes.late_decoding import LateDecoding
from edgegd.export.passes.resize import NearestResize
from edgegd.export.passes.split_concat import SplitConcat
from edgegd.export.passes.uint8_input import Uint8Input

PASSES: tuple[type[ExactPass], ...] = (
    FoldConstants,
    IntegerKernels,
    ChannelsLast,
    Uint8Input,
    NearestResize,
    SplitConcat,
    LateDecoding,
    FoldColumns,
)

__all__ = [
    "PASSES",
    "ChannelsLast",
    "ExactPass",
    "FoldColumns",
    "FoldConstants",
    "IntegerKernels",
    "LateDecoding",
    "NearestResize",
    "PassReport",
    "SplitConcat",
    "Uint8Input",
]
