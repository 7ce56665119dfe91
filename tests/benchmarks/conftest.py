"""The benchmarks' modules are not installed: they find each other as scripts of one folder."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
