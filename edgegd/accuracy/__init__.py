"""mAP of what a model detects, measured on the runtime's own outputs."""

from edgegd.accuracy.evaluate import AccuracyResult, evaluate, evaluate_onnx
from edgegd.accuracy.ground_truth import GroundTruth

__all__ = ["AccuracyResult", "GroundTruth", "evaluate", "evaluate_onnx"]
