"""edgegd: quantization-aware gradient descent for Ultralytics detectors that must run on a small CPU."""

import os

from edgegd.dependency_defaults import hide_network_card, set_dependency_defaults

__version__ = "0.1.0"

# Before any module of edgegd imports onnxruntime or Ultralytics.
set_dependency_defaults(os.environ)
hide_network_card()
