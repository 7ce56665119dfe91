"""The stages `export --profile P` and `verify --profile P`, named as on the command line."""

from __future__ import annotations

from typing import Any

from edgegd.device.fingerprint import fingerprint
from edgegd.errors import MissingArtifactError
from edgegd.pipeline.artifacts import DATA, MODEL_READS, PLAN, PORTABLE, PTQ_STATE, QAT_STATE, Artifact
from edgegd.pipeline.onnx_files import export_profile
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.stage import Stage, require_current
from edgegd.pipeline.stored import adapted_reads, graph_to_quantize
from edgegd.plan.profiles import TABLES
from edgegd.progress import Progress
from edgegd.variants import QUANTIZED, edge_file, profile_file


def profile_stage(stage: str, profile: str) -> str:
    """The name of a stage for a profile that is not the recipe's."""
    return f"{stage} --profile {profile}"


def exported_files(profile: str) -> dict[str, Artifact]:
    """Variant -> the portable file of another profile."""
    return {v: Artifact(profile_file(v, profile), profile_stage("export", profile)) for v in QUANTIZED}


def _export(profile: str) -> Stage:
    def run(folder: RunFolder, progress: Progress) -> None:
        export_profile(folder, progress, profile)

    portable = exported_files(profile).values()
    return Stage(
        profile_stage("export", profile),
        f"PTQ and QAT for {profile}",
        (PLAN, PTQ_STATE, QAT_STATE),
        (*portable, *(Artifact(edge_file(name), name.stage) for name in portable)),
        ("model.imgsz", "model.end2end", "export", "quant.weight_scales", "target.profile"),
        run,
        reads_also=lambda folder: (graph_to_quantize(folder),),
    )


def _verification(profile: str) -> Artifact:
    return Artifact(f"verify-{profile}.json", profile_stage("verify", profile))


def _verify(profile: str) -> Stage:
    names = exported_files(profile)

    def exported(folder: RunFolder) -> bool:
        return any(folder.artifact(name).exists() for name in names.values())

    def run(folder: RunFolder, progress: Progress) -> None:
        from edgegd.pipeline.stages.verify import verify_profile  # needs torch, which exporting does not

        if exported(folder):
            for name in names.values():
                require_current(folder, name)
        files = names if exported(folder) else {variant: PORTABLE[variant] for variant in QUANTIZED}
        verify_profile(folder, progress, profile, {variant: folder.artifact(name) for variant, name in files.items()})

    def outside(folder: RunFolder) -> Any:
        present = [name for name in names.values() if folder.artifact(name).exists()]
        return {"cpu": fingerprint()["cpu"]} | {str(name): sha256_of(folder.artifact(name)) for name in present}

    return Stage(
        profile_stage("verify", profile),
        f"whether files suit {profile}",
        (DATA, *MODEL_READS, *(PORTABLE[variant] for variant in QUANTIZED)),
        (_verification(profile),),
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
            current[profile] = require_current(folder, _verification(profile))
        except MissingArtifactError:
            continue
    return current
