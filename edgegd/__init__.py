"""edgegd: quantization-aware gradient descent for Ultralytics detectors that must run on a small CPU."""

import os

from edgegd.library_defaults import set_library_defaults

__version__ = "0.1.0"

set_library_defaults(os.environ)  # before any module of edgegd imports onnxruntime or Ultralytics
