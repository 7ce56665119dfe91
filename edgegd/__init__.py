"""edgegd: quantization-aware gradient descent for Ultralytics detectors that must run on a small CPU."""

__version__ = "0.1.0"
