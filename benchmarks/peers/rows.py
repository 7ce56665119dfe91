"""The rows of the comparison with peers: who makes each, by which commands, and which files come of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from edgegd.pipeline.beside import BESIDE
from edgegd.recipe.schema import PROFILES, QuantSection

SCRIPTS = Path(__file__).resolve().parent
X86 = tuple(profile for profile in PROFILES if profile.startswith("x86"))
_REFINE = {field.name: field.metadata["choices"] for field in fields(QuantSection)}.get("refine", ())
REFINEMENTS = tuple(choice for choice in _REFINE if choice != "auto") or ("none",)  # auto is one of the others
REFERENCE = "ultralytics-fp32"
Steps = list[tuple[str, list[str]]]
"""The name and the command of each step."""


@dataclass(frozen=True)
class Row:
    """One row. `script` makes its files in the peers' environment, or the recipe's stages do where it is empty.

    `has_chance` rows are measured for every seed. `settings` are overrides of the recipe. `saturates`: on x86 CPUs
    without VNNI the files, which have 8-bit weights, give other numbers, so they are measured in those kernels too.
    """

    name: str
    script: str = ""
    files: tuple[str, ...] = ("best.onnx",)
    has_chance: bool = False
    settings: tuple[str, ...] = ()
    saturates: bool = False

    def steps(
        self,
        recipe: str,
        overrides: Sequence[str],
        weights: Path,
        data: Path,
        seed: int,
        folder: Path,
        peer_python: str,
    ) -> Steps:
        """The commands that make the row's files in `folder`, in order."""
        if not self.script:
            return self._stages(recipe, [*overrides, *self.settings, f"train.seed={seed}"], folder)
        python, kind = (sys.executable, []) if self.script == "float_control.py" else (peer_python, [self.name])
        return [
            (
                "make",
                [
                    python,
                    str(SCRIPTS / self.script),
                    *kind,
                    "--recipe",
                    recipe,
                    "--weights",
                    str(weights),
                    "--data",
                    str(data),
                    "--seed",
                    str(seed),
                    "--out",
                    str(folder),
                    *_set(overrides),
                ],
            )
        ]

    def _stages(self, recipe: str, overrides: list[str], folder: Path) -> Steps:
        command = [sys.executable, "-m", "edgegd.cli.main", "run", recipe, "--run-dir", str(folder), *_set(overrides)]
        stages = ("float", "ptq", "qat", "export") if "qat.onnx" in self.files else ("float", "ptq")
        steps = [(stage, [*command, "--until", stage]) for stage in stages]
        return (
            steps
            if "export" in stages
            else [*steps, ("export", [sys.executable, str(SCRIPTS / "export_ptq.py"), str(folder)])]
        )


def _set(overrides: Sequence[str]) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


def _rows() -> list[Row]:
    statically = [
        Row(f"onnxruntime-{method}", "make_onnx.py", saturates=True) for method in ("minmax", "percentile", "entropy")
    ]
    # NNCF has no seed, but its files of the same images differ from run to run, by some tenths of a point of mAP.
    nncf = [
        Row(name, "make_openvino.py", ("best.xml",), has_chance=True, saturates=True)
        for name in ("nncf", "nncf-accurate", "nncf-default")
    ]
    # OpenVINO's own rows are above: float32, and NNCF's INT8. Here it computes as it does by default.
    others = [
        Row(name, "make_other.py", (f"best.{beside.runtime}.zip",))
        for name, beside in BESIDE.items()
        if name != "openvino-int8"
    ]
    trained = {"files": ("best.onnx", "last.onnx"), "has_chance": True}
    ptq = [
        Row(
            f"edgegd-ptq-{refine}-{profile}",
            files=("ptq.onnx",),
            saturates=profile == "x86-vnni",
            settings=(f"target.profile={profile}", *([f"quant.refine={refine}"] if _REFINE else [])),
        )
        for profile in X86
        for refine in REFINEMENTS
    ]
    qat = [
        Row(
            f"edgegd-qat-{profile}",
            files=("ptq.onnx", "qat.onnx"),
            has_chance=True,
            saturates=profile == "x86-vnni",
            settings=(f"target.profile={profile}",),
        )
        for profile in X86
    ]
    return [
        Row(REFERENCE, "make_onnx.py"),
        Row("openvino-fp32", "make_openvino.py", ("best.xml",)),
        *nncf,
        *others,
        Row("ultralytics-ptq", "make_onnx.py", saturates=True),
        *statically,
        *ptq,
        *qat,
        Row("ultralytics-qat", "make_onnx.py", **trained, saturates=True),
        Row("ultralytics-qat-tuned", "make_onnx.py", **trained, saturates=True),
        Row("ultralytics-float", "make_onnx.py", **trained),
        Row("edgegd-float", "float_control.py", **trained),
    ]


ROWS = {row.name: row for row in _rows()}
CONTROLS = ("nncf-default", "ultralytics-qat-tuned", "ultralytics-float", "edgegd-float")
"""Rows that explain others; they are measured when they are asked for."""
