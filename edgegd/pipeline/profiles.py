"""The stages `export --profile P` and `verify --profile P`, named as on the command line."""

from __future__ import annotations

from typing import Any

from edgegd.errors import MissingArtifactError
from edgegd.latency.fingerprint import fingerprint
from edgegd.pipeline.export import QUANTIZED, edge_file, export_profile, profile_file
from edgegd.pipeline.models import adapted_reads
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.stage import Progress, Stage, require_current
from edgegd.pipeline.verify import verify_profile
from edgegd.quant.rules import TABLES

_MODEL_READS = {"float.pt": "float", "plan.json": "ptq", "ptq.safetensors": "ptq", "qat.safetensors": "qat"}


def profile_stage(stage: str, profile: str) -> str:
    """The name of a stage for a profile that is not the recipe's."""
    return f"{stage} --profile {profile}"


def _export(profile: str) -> Stage:
    def run(folder: RunFolder, progress: Progress) -> None:
        export_profile(folder, progress, profile)

    portable = [profile_file(variant, profile) for variant in QUANTIZED]
    return Stage(
        profile_stage("export", profile),
        f"PTQ and QAT for {profile}",
        _MODEL_READS,
        (*portable, *map(edge_file, portable)),
        ("model.imgsz", "model.end2end", "export", "quant.weight_scales", "target.profile"),
        run,
        reads_also=adapted_reads,
    )


def _verify(profile: str) -> Stage:
    maker, names = profile_stage("export", profile), {v: profile_file(v, profile) for v in QUANTIZED}

    def exported(folder: RunFolder) -> bool:
        return any(folder.artifact(name).exists() for name in names.values())

    def run(folder: RunFolder, progress: Progress) -> None:
        if exported(folder):
            for name in names.values():
                require_current(folder, name, maker)
        files = names if exported(folder) else {variant: f"{variant}.onnx" for variant in QUANTIZED}
        verify_profile(folder, progress, profile, {variant: folder.artifact(name) for variant, name in files.items()})

    def outside(folder: RunFolder) -> Any:
        present = [name for name in names.values() if folder.artifact(name).exists()]
        return {"cpu": fingerprint()["cpu"]} | {name: sha256_of(folder.artifact(name)) for name in present}

    reads = {"data.json": "data"} | _MODEL_READS | {f"{variant}.onnx": "export" for variant in QUANTIZED}
    return Stage(
        profile_stage("verify", profile),
        f"whether files suit {profile}",
        reads,
        (f"verify-{profile}.json",),
        ("model.imgsz", "model.end2end", "quant.weight_scales", "target.profile"),
        run,
        outside,
        adapted_reads,
    )


PROFILE_STAGES = {stage.name: stage for profile in TABLES for stage in (_export(profile), _verify(profile))}


def verified_profiles(folder: RunFolder) -> dict[str, str]:
    """The other profiles whose files were verified as they are now, each with the hash of its verify-PROFILE.json."""
    current = {}
    for profile in TABLES:
        try:
            current[profile] = require_current(folder, f"verify-{profile}.json", profile_stage("verify", profile))
        except MissingArtifactError:
            continue
    return current
