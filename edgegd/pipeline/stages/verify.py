"""The stage `verify`: census, parity and canary of a run's files, and of those exported for another profile."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from edgegd.device.fingerprint import fingerprint
from edgegd.export.profile import for_profile
from edgegd.pipeline.artifacts import DATA, MODEL_READS, MODELS, PORTABLE, VERIFICATION
from edgegd.pipeline.models import float_model, quantized_model
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import Stage
from edgegd.pipeline.stored import adapted_reads, stored_dataset
from edgegd.progress import Progress
from edgegd.variants import QUANTIZED, edge_file
from edgegd.verify.edge_identity import require_identical
from edgegd.verify.ladder_tolerance import LadderTolerance
from edgegd.verify.opened import OnnxFile, Pictures
from edgegd.verify.parity import measure_parity, require_parity
from edgegd.verify.proof import proof_here
from edgegd.verify.verification import Verification, verify_quantized

_IMAGES = 8  # enough for a hundred boxes and ten million codes; a wrong export shows on the first


def run_verify(folder: RunFolder, progress: Progress) -> None:
    """Census and parity ladder of both quantized files, parity of fp32.onnx with torch, and the canary."""
    pictures = Pictures(stored_dataset(folder).measured_images[:_IMAGES])
    profile = folder.recipe.target.profile
    progress.update(0, 3, "verifying fp32.onnx")
    file = OnnxFile(folder.require(PORTABLE["fp32"]))
    parity = measure_parity(float_model(folder), file, pictures)
    require_parity(parity, file.name)
    files = {variant: folder.require(PORTABLE[variant]) for variant in QUANTIZED}
    result = _verify_profile(folder, progress, profile, files, pictures)
    result["parity"] = {"fp32": dataclasses.asdict(parity)} | result["parity"]
    folder.write_json(VERIFICATION, result)


def verify_profile(folder: RunFolder, progress: Progress, profile: str, paths: dict[str, Path]) -> None:
    """Checks the files `paths` (by variant) for a profile that need not be the recipe's; writes verify-PROFILE.json.

    Raises ProfileError where a file's formats do not suit the profile, and what verify_quantized raises.
    """
    pictures = Pictures(stored_dataset(folder).measured_images[:_IMAGES])
    folder.write_json(f"verify-{profile}.json", _verify_profile(folder, progress, profile, paths, pictures))


def _verify_profile(
    folder: RunFolder, progress: Progress, profile: str, paths: dict[str, Path], pictures: Pictures
) -> dict[str, Any]:
    proof = proof_here(profile)
    result: dict[str, Any] = {
        "profile": profile,
        "proof": dataclasses.asdict(proof),
        "tolerance": dataclasses.asdict(LadderTolerance()),
        "files": {variant: path.name for variant, path in paths.items()},
        "census": {},
        "parity": {},
        "ladder": {},
        "edge": {},
    }
    for done, (variant, path) in enumerate(paths.items(), 1):
        progress.update(done, len(paths) + 1, f"verifying {path.name}")
        file = OnnxFile(path)
        verification = verify_quantized(for_profile(quantized_model(folder, variant), profile), file, pictures)
        for key, value in _as_data(verification).items():
            result[key][variant] = value
        edge = path.with_name(edge_file(path.name))
        if edge.exists():
            result["edge"][variant] = dataclasses.asdict(require_identical(file, OnnxFile(edge), pictures))
    return result


def _as_data(verification: Verification) -> dict[str, Any]:
    shift = verification.shift
    return {
        "census": dataclasses.asdict(verification.census),
        "parity": dataclasses.asdict(verification.ladder.whole.boxes),
        "ladder": verification.ladder.to_json() | {"int8_against_uint8": shift and shift.to_json()},
    }


STAGE = Stage(
    "verify",
    "census, parity and canary",
    (DATA, *MODEL_READS, *MODELS),
    (VERIFICATION,),
    ("model.imgsz", "model.end2end", "quant.weight_scales", "target.profile"),
    run_verify,
    lambda folder: fingerprint()["cpu"],
    adapted_reads,
)
