"""The device side imports nothing beyond what a plain `pip install edgegd` brings."""

from __future__ import annotations

import json
import subprocess
import sys

IMPORT_ALL = """
import importlib, json, pkgutil, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "ultralytics", "onnx", "pycocotools", "cv2"}:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
imported = []
for package in ("edgegd.plan", "edgegd.device", "edgegd.runtime", "edgegd.latency", "edgegd.targets"):
    module = importlib.import_module(package)
    imported.append(package)
    for found in pkgutil.walk_packages(module.__path__, package + "."):
        importlib.import_module(found.name)
        imported.append(found.name)
print(json.dumps({"imported": imported, "edgegd": sorted(name for name in sys.modules if name.startswith("edgegd."))}))
"""
TRAINING_SIDE = (
    "accuracy",
    "cli",
    "data",
    "descent",
    "detectors",
    "export",
    "pipeline",
    "precision",
    "quant",
    "report",
    "verify",
)


def test_runtime_latency_and_targets_import_without_the_training_packages() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {"edgegd.runtime.detector", "edgegd.device.latency_worker", "edgegd.targets.local"} <= set(
        result["imported"]
    )
    assert not [name for name in result["edgegd"] if name.split(".")[1] in TRAINING_SIDE]
