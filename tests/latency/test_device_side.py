"""The device side starts where the training side's packages are not installed."""

from __future__ import annotations

import subprocess
import sys

BLOCK_AND_IMPORT = """
import sys
for name in ("torch", "torchvision", "ultralytics", "onnx", "cv2"):
    sys.modules[name] = None  # importing it raises ImportError
import edgegd.latency.measuring.measure, edgegd.targets.local, edgegd.doctor
print(edgegd.doctor.diagnose(deep=False).fingerprint["onnxruntime"])
"""


def test_measuring_and_diagnosing_need_no_training_package() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCK_AND_IMPORT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() != "None"
