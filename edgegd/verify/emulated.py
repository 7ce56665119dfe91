"""The comparison: does another CPU compute the codes and the detections that this machine computes?"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgegd.addresses import address_of_codes
from edgegd.errors import EmulationError
from edgegd.export.graph_forms import (
    CODE_SHIFT,
    code_names,
    with_codes_as_outputs,
    with_unsigned_activations,
)
from edgegd.export.load_onnx import load_onnx
from edgegd.runtime.contract import OUTPUT_NAME
from edgegd.runtime.detector import detections_from_output
from edgegd.runtime.images import read_for
from edgegd.runtime.letterbox import network_input
from edgegd.runtime.session import load_model
from edgegd.targets.emulator import EmulatedCpu, Tell, prepare, run_models, stored_outputs
from edgegd.verify.exact_session import exact_form

_PLAIN, _EXPOSED = Path("plain.onnx"), Path("exposed.onnx")


@dataclass(frozen=True)
class CpuComparison:
    """One emulated CPU against this machine, over all images.

    `tensors` quantized activations were compared, `differing` of them differ in some code; `first_difference` is the
    first of those in the order of the graph. `equal_codes` is a share, `largest_distance` in codes. Of `detections` of
    both sides, `agreeing_share` have a partner as near as parity demands (edgegd.verify.parity.Tolerance).
    `equal_outputs` says whether every number of the output is the same; `undisturbed` whether the file computes the
    same with its codes as outputs as without, on both CPUs (where not, codes say less of the file).
    """

    cpu: str
    profile: str
    images: int
    tensors: int
    differing: int
    equal_codes: float
    largest_distance: int
    first_difference: str
    detections: int
    agreeing_share: float
    largest_shift_px: float
    largest_score_change: float
    equal_outputs: bool
    undisturbed: bool

    @property
    def identical(self) -> bool:
        """Whether every code and every number of the output is the same."""
        return self.differing == 0 and self.equal_outputs


def compare_cpus(model: Path, cpus: Sequence[EmulatedCpu], images: Sequence[Path], tell: Tell) -> list[CpuComparison]:
    """Runs an exported file on real images on this machine, in its exact form, and on each emulated CPU.

    A file with signed activations is compared with its uint8 form on this machine, codes shifted by 128; that of an
    edge file is made from its portable file, which must lie beside it.
    Raises EmulationError, and the errors of loading a model or image.
    """
    import onnx

    contract = load_model(model)[1]
    graph = load_onnx(model)
    pythons = [prepare(cpu, tell) for cpu in cpus]
    wanted = contract.preprocessing
    inputs, geometries = zip(*(network_input(read_for(path, wanted), wanted) for path in images), strict=True)
    with tempfile.TemporaryDirectory(prefix="edgegd-emulation-") as name:
        folder = Path(name)
        np.save(folder / "inputs.npy", np.concatenate(inputs))
        for side, form in (("here", exact_form(unsigned_form(model, graph))), ("there", graph)):
            (folder / side).mkdir()
            onnx.save(form, folder / side / _PLAIN)
            onnx.save(with_codes_as_outputs(form), folder / side / _EXPOSED)

        def run(side: str, python: Any, into: str) -> Path:
            models = [folder / side / _PLAIN, folder / side / _EXPOSED]
            run_models(python, models, folder / "inputs.npy", folder / into)
            return folder / into

        here = run("here", ([], {}), "reference")
        comparisons = []
        for cpu, python in zip(cpus, pythons, strict=True):
            tell(f"{model.name} on an emulated {cpu.name}, {len(images)} images")
            there = run("there", python, cpu.name)
            codes = _compare_codes(code_names(graph), here, there, len(images))
            outputs = _compare_outputs(here, there, contract, geometries)
            comparisons.append(CpuComparison(cpu.name, cpu.profile, len(images), **codes, **outputs))
    return comparisons


def unsigned_form(path: Path, graph: Any) -> Any:
    """The uint8 form of a file, which must be loaded as `graph`; that of an edge file is made from its portable file.

    x86 adds int8 codes with another rounding of ties than uint8 ones and than ARM. EmulationError where the portable
    file is not beside the edge file.
    """
    from edgegd.export.edge import build_edge
    from edgegd.runtime.contract import ModelContract

    contract = ModelContract.from_metadata({prop.key: prop.value for prop in graph.metadata_props})
    if not contract.portable:
        return with_unsigned_activations(graph)
    portable = path.with_name(contract.portable)
    if not portable.is_file():
        raise EmulationError(
            f"The portable file of {path.name} is not beside it.",
            expected=str(portable),
            found="no such file",
            mend="keep both files in one folder",
        )
    unsigned = with_unsigned_activations(load_onnx(portable))
    return build_edge(unsigned, contract.portable, channels=contract.preprocessing.channels)[0]


def _unsigned(codes: np.ndarray) -> np.ndarray:
    return codes.astype(np.int16) + (CODE_SHIFT if codes.dtype == np.int8 else 0)


def _compare_codes(names: Sequence[str], here: Path, there: Path, images: int) -> dict[str, Any]:
    total, equal, largest = 0, 0, 0
    differing = set()
    for index in range(images):
        one, other = stored_outputs(here, _EXPOSED, index), stored_outputs(there, _EXPOSED, index)
        for name in names:
            distance = np.abs(_unsigned(one[name]) - _unsigned(other[name]))
            total, equal = total + distance.size, equal + int((distance == 0).sum())
            largest = max(largest, int(distance.max(initial=0)))
            if distance.any():
                differing.add(name)
    first = next((name for name in names if name in differing), "")
    return {
        "tensors": len(names),
        "differing": len(differing),
        "equal_codes": equal / total if total else 1.0,
        "largest_distance": largest,
        "first_difference": address_of_codes(first) or first,
    }


def _compare_outputs(here: Path, there: Path, contract: Any, geometries: Sequence[Any]) -> dict[str, Any]:
    from edgegd.verify.parity import BoxComparison

    boxes, equal, undisturbed = BoxComparison(), True, True
    for index, geometry in enumerate(geometries):
        plain = [stored_outputs(side, _PLAIN, index)[OUTPUT_NAME] for side in (here, there)]
        exposed = [stored_outputs(side, _EXPOSED, index)[OUTPUT_NAME] for side in (here, there)]
        equal &= np.array_equal(plain[0], plain[1])
        undisturbed &= all(np.array_equal(one, other) for one, other in zip(plain, exposed, strict=True))
        boxes.add(*(detections_from_output(output, contract, geometry, conf=0.0) for output in plain))
    parity = boxes.result()
    return {
        "detections": parity.detections,
        "agreeing_share": parity.agreeing_share,
        "largest_shift_px": parity.largest_shift_px,
        "largest_score_change": parity.largest_score_change,
        "equal_outputs": equal,
        "undisturbed": undisturbed,
    }


def to_json(comparisons: Sequence[CpuComparison]) -> list[dict[str, Any]]:
    """The comparisons as JSON-able dicts."""
    return [asdict(comparison) | {"identical": comparison.identical} for comparison in comparisons]
