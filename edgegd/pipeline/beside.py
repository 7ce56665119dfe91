"""What `edgegd latency --beside` measures: other runtimes, and where a run keeps their models."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edgegd.errors import MissingExtraError
from edgegd.pipeline.artifacts import Artifact


@dataclass(frozen=True)
class Beside:
    """Another runtime's model: its worker (edgegd.device.runtime_workers), Ultralytics' name of its format and of its
    precision, and the modules that its export needs, each with what pip installs it by."""

    runtime: str
    format: str
    needs: Mapping[str, str]
    quantize: int | None = None

    def versions(self) -> dict[str, str]:
        """The packages that make the model, and their versions on this machine."""
        versions = {}
        for package in ("ultralytics", *sorted(self.packages)):
            try:
                versions[package] = version(package)
            except PackageNotFoundError:
                versions[package] = "absent"
        return versions

    @property
    def packages(self) -> set[str]:
        """The names of the packages that its export needs beside Ultralytics."""
        return {canonicalize_name(Requirement(one).name) for one in self.needs.values()}

    @property
    def calibrates(self) -> bool:
        """Whether its INT8 is made with images; MNN's are weights alone."""
        return self.quantize is not None and self.format != "mnn"


_OPENVINO = {"openvino": "openvino"}
_NCNN = {"ncnn": "ncnn", "pnnx": "pnnx==20260526"}  # the one that Ultralytics' export asks for
_MNN = {"MNN": "MNN>=2.9.6"}
_LITERT = {"ai_edge_litert": "ai-edge-litert>=2.3", "litert_torch": "litert-torch>=0.10"}
BESIDE = {
    "openvino": Beside("openvino", "openvino", _OPENVINO),
    "openvino-int8": Beside("openvino", "openvino", {**_OPENVINO, "nncf": "nncf"}, 8),
    "ncnn": Beside("ncnn", "ncnn", _NCNN),
    "mnn": Beside("mnn", "mnn", _MNN),
    "mnn-int8": Beside("mnn", "mnn", _MNN, 8),
    "litert": Beside("litert", "litert", _LITERT),
    "litert-int8": Beside("litert", "litert", {**_LITERT, "ai_edge_quantizer": "ai-edge-quantizer>=0.10"}, 8),
}
"""What `--beside` takes. ncnn's tools for INT8 are not in its Python package."""


def stage_name(name: str) -> str:
    """The stage that makes and measures one of BESIDE, as on the command line."""
    return f"latency --beside {name}"


def model_artifact(name: str) -> Artifact:
    """The other runtime's model, a .zip (edgegd.detectors.other_export)."""
    return Artifact(f"beside-{name}.zip", stage_name(name))


def accuracy_artifact(name: str) -> Artifact:
    """The model's mAP and its differences to the run's own files."""
    return Artifact(f"beside-{name}.json", stage_name(name))


def require_packages(names: Iterable[str]) -> None:
    """Raises MissingExtraError, with one command for all, where this machine cannot make the models asked for."""
    needed = {module: package for name in names for module, package in BESIDE[name].needs.items()}
    missing = {module: package for module, package in needed.items() if find_spec(module) is None}
    if missing:
        raise MissingExtraError(
            f"This machine lacks what makes the models of {', '.join(names)}.",
            expected=", ".join(needed),
            found=f"no {', no '.join(missing)}",
            mend=f"{sys.executable} -m pip install {shlex.join(missing.values())}",
        )
