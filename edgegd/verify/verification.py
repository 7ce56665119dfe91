"""All checks of one quantized file: that it suits its profile, the census and the parity ladder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgegd.device.profile import runs_signed, this_machine
from edgegd.errors import ParityError
from edgegd.export.profile import require_suits
from edgegd.plan.quant_plan import QuantPlan
from edgegd.quant.attach import QuantizedModel
from edgegd.verify.census import Census, require_planned, take_census
from edgegd.verify.code_parity import EXACT, CodeComparison, CodeParity
from edgegd.verify.inner_tensors import run_exposed
from edgegd.verify.ladder import Ladder, climb
from edgegd.verify.ladder_tolerance import require_ladder
from edgegd.verify.opened import OnnxFile, Pictures


@dataclass(frozen=True)
class Verification:
    """What the checks of one file measured.

    `shift` compares an int8 file with its uint8 form where that was verified in its place, None elsewhere.
    """

    census: Census
    ladder: Ladder
    shift: CodeParity | None


def verify_quantized(quantized: QuantizedModel, file: OnnxFile, pictures: Pictures) -> Verification:
    """Checks the file that was exported from `quantized` (on the CPU), for the profile of its plan.

    Codes are those of exact sessions (edgegd.verify.exact_session), so any CPU can check any profile's files; the
    census is that of a plain session. onnxruntime fuses int8 activations on ARM only. On other machines it is therefore
    the file's uint8 form that is counted and compared, after every code of the file itself, run without optimizations,
    was found to be the uint8 form's less 128.
    Raises ProfileError, CensusError, SilentModelError and ParityError.
    """
    plan = quantized.plan
    require_suits(file.graph, plan.profile, file.name)
    if not file.has_signed_activations or runs_signed(this_machine().profile):
        return _verify(quantized, file, pictures, None)
    with file.in_uint8() as unsigned:
        shift = compare_unoptimized(file, unsigned, pictures, plan)
        first = shift.first_beyond(EXACT)
        if first is not None:
            raise ParityError(
                f"{file.name}: int8 codes are not uint8 codes less 128, first in {first.address}.",
                expected="equal codes in every tensor",
                found=str(first),
                mend="report it with verify.json",
            )
        return _verify(quantized, unsigned, pictures, shift)


def _verify(quantized: QuantizedModel, file: OnnxFile, pictures: Pictures, shift: CodeParity | None) -> Verification:
    plan = quantized.plan
    census = take_census(file, plan)
    require_planned(census, plan, file.name)
    ladder = climb(quantized, file, pictures)
    require_ladder(ladder, plan, file.name)
    return Verification(census, ladder, shift)


def compare_unoptimized(file: OnnxFile, other: OnnxFile, pictures: Pictures, plan: QuantPlan) -> CodeParity:
    """All codes of two files of one plan, as uint8, each run by itself in onnxruntime without optimizations.

    Raises ParityError where the outputs differ in spite of equal codes.
    """
    contract = file.portable_contract
    sessions = [one.with_codes("disabled") for one in (file, other)]
    comparison = CodeComparison(plan)
    for picture in pictures.of(contract.preprocessing):
        (output, codes), (other_output, other_codes) = (
            run_exposed(session, picture.network_input) for session in sessions
        )
        for address in codes:
            comparison.add(address, codes[address], other_codes[address])
        if not comparison.result().differing and not np.array_equal(output, other_output):
            raise ParityError(
                f"{file.name}: its output differs from that of its uint8 form, from equal codes.",
                expected="equal outputs",
                found=f"a difference on {picture.path.name}",
                mend="report it with verify.json",
            )
    return comparison.result()
