"""From an addressed float graph, a plan, weights and ranges to the portable Q/DQ graph, by passes and without torch."""

from edgegd.export.insert.barriers import FloatBarriers
from edgegd.export.insert.base import Insertion, InsertionPass
from edgegd.export.insert.constants import FoldedParameters
from edgegd.export.insert.exact_attention import ExactAttention
from edgegd.export.insert.integer_biases import IntegerBiases
from edgegd.export.insert.integer_weights import IntegerWeights
from edgegd.export.insert.pairs import QuantizedTensors
from edgegd.export.insert.parameters import TrainedParameters
from edgegd.export.insert.softmax import PortableSoftmax

PASSES: tuple[type[InsertionPass], ...] = (
    TrainedParameters,
    PortableSoftmax,
    FloatBarriers,
    QuantizedTensors,
    ExactAttention,
    IntegerWeights,
    IntegerBiases,
    FoldedParameters,
)
"""All passes; the order in which they run follows from what each needs."""

__all__ = [
    "PASSES",
    "ExactAttention",
    "FloatBarriers",
    "FoldedParameters",
    "Insertion",
    "InsertionPass",
    "IntegerBiases",
    "IntegerWeights",
    "PortableSoftmax",
    "QuantizedTensors",
    "TrainedParameters",
]
