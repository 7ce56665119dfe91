"""All checks of one quantized file: that it suits its profile, the census and the parity ladder."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from edgegd.device.profile import this_machine
from edgegd.errors import ParityError
from edgegd.export.census import Census, require_planned, take_census
from edgegd.export.code_parity import EXACT, CodeComparison, CodeParity
from edgegd.export.expose import load_exposed, run_exposed
from edgegd.export.graph_forms import has_signed_activations, with_unsigned_activations
from edgegd.export.ladder import Ladder, climb
from edgegd.export.ladder_tolerance import require_ladder
from edgegd.export.load_onnx import load_onnx
from edgegd.export.profile import require_suits
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.plan import QuantPlan
from edgegd.runtime.images import read_for
from edgegd.runtime.letterbox import preprocess
from edgegd.runtime.session import load_portable


@dataclass(frozen=True)
class Verification:
    """What the checks of one file measured.

    `shift` compares an int8 file with its uint8 form where that was verified in its place, None elsewhere.
    """

    census: Census
    ladder: Ladder
    shift: CodeParity | None


def verify_quantized(quantized: QuantizedModel, path: Path, image_paths: Sequence[Path]) -> Verification:
    """Checks the file that was exported from `quantized` (on the CPU), for the profile of its plan.

    Codes are those of exact sessions (edgegd.export.exact_session), so any CPU can check any profile's files; the
    census is that of a plain session. onnxruntime fuses int8 activations on ARM only. On other machines it is therefore
    the file's uint8 form that is counted and compared, after every code of the file itself, run without optimizations,
    was found to be the uint8 form's less 128.
    Raises ProfileError, CensusError, SilentModelError and ParityError.
    """
    plan, graph = quantized.plan, load_onnx(path)
    require_suits(graph, plan.profile, path.name)
    if not has_signed_activations(graph) or this_machine().profile == "arm64":
        return _verify(quantized, path, image_paths, None)
    with tempfile.TemporaryDirectory() as folder:
        unsigned = Path(folder) / path.name
        onnx.save(with_unsigned_activations(graph), unsigned)
        shift = compare_unoptimized(path, unsigned, image_paths, plan)
        first = shift.first_beyond(EXACT)
        if first is not None:
            raise ParityError(
                f"{path.name}: int8 codes are not uint8 codes less 128, first in {first.address}.",
                expected="equal codes in every tensor",
                found=str(first),
                mend="report it with verify.json",
            )
        return _verify(quantized, unsigned, image_paths, shift)


def _verify(
    quantized: QuantizedModel, path: Path, image_paths: Sequence[Path], shift: CodeParity | None
) -> Verification:
    plan = quantized.plan
    census = take_census(path, plan)
    require_planned(census, plan, path.name)
    ladder = climb(quantized, path, image_paths)
    require_ladder(ladder, plan, path.name)
    return Verification(census, ladder, shift)


def compare_unoptimized(path: Path, other: Path, image_paths: Sequence[Path], plan: QuantPlan) -> CodeParity:
    """All codes of two files of one plan, as uint8, each run by itself in onnxruntime without optimizations.

    Raises ParityError where the outputs differ in spite of equal codes.
    """
    _, contract = load_portable(path)
    sessions = [load_exposed(one, optimization="disabled") for one in (path, other)]
    comparison = CodeComparison(plan)
    for image_path in image_paths:
        image, _ = preprocess(read_for(image_path, contract.preprocessing), contract.preprocessing)
        (output, codes), (other_output, other_codes) = (run_exposed(session, image) for session in sessions)
        for address in codes:
            comparison.add(address, codes[address], other_codes[address])
        if not comparison.result().differing and not np.array_equal(output, other_output):
            raise ParityError(
                f"{path.name}: its output differs from that of its uint8 form, from equal codes.",
                expected="equal outputs",
                found=f"a difference on {image_path.name}",
                mend="report it with verify.json",
            )
    return comparison.result()
