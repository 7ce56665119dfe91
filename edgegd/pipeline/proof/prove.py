"""The proof of a run's files on a device: codes, mAP, latency, what loading costs, and the recipe's limits."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime

from edgegd.device.fingerprint import fingerprint
from edgegd.device.latency_worker import PROTOCOL
from edgegd.device.profile import needed_profile
from edgegd.device.threads import ThreadSetting
from edgegd.errors import AcceptanceError, MissingArtifactError, ParityError
from edgegd.latency.measuring.endurance import measure_burst
from edgegd.latency.measuring.measure import design_of, measure
from edgegd.pipeline.artifacts import ACCURACY, DATA, EDGE, PORTABLE, Artifact, of_target
from edgegd.pipeline.proof.images import MEGABYTE, DeviceImages
from edgegd.pipeline.proof.outputs import compute_outputs, map_here, map_of_outputs
from edgegd.pipeline.proof.settings import judged, settings_of, timed
from edgegd.pipeline.proof.unfinished import Unfinished
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.shipped import variant_to_ship
from edgegd.pipeline.stage import code_version, require_current
from edgegd.pipeline.stored import measured_truth
from edgegd.progress import Progress
from edgegd.runtime.contract import ModelContract
from edgegd.runtime.session import load_model
from edgegd.safe_outputs import require_appendable
from edgegd.targets.base import Target
from edgegd.targets.check import require_software
from edgegd.targets.local import LocalTarget
from edgegd.targets.tensor_protocol import BESIDE
from edgegd.targets.worker_protocol import WORKER_FILE, ask
from edgegd.verify.acceptance import judge
from edgegd.verify.device_codes import compare_codes
from edgegd.verify.proof import proof_here

SCHEMA = 1
FP32, EDGE_OF = "fp32", "{}.edge"
CODE_IMAGES = 4
"""Images on which codes are compared: every tensor of every one of them."""
_TIMED = ("p95_ms", "load_ms", "peak_mb")
_ANSWER_S = 300.0  # importing onnxruntime on an emulated CPU


def proof_file(target: str) -> Artifact:
    """The artifact of a target's proof."""
    return of_target("device", target, "prove")


@dataclass(frozen=True)
class _Files:
    """The files that are proved: FP32, and the portable and the edge file of one variant, by name in a fixed order."""

    variant: str
    paths: Mapping[str, Path]
    sha256: Mapping[str, str]
    contracts: Mapping[str, ModelContract]

    @property
    def edge(self) -> str:
        """The name of the file that ships."""
        return EDGE_OF.format(self.variant)

    @property
    def quantized(self) -> tuple[str, ...]:
        """The names of the files that have codes."""
        return (self.variant, self.edge)


def prove(
    folder: RunFolder, target: Target, progress: Progress, *, variant: str | None = None, budget_mb: float
) -> dict[str, Any]:
    """Proves a run's files on a target and stores the result as device-TARGET.json, which is returned.

    `variant` is `ptq` or `qat`; None takes the one that the report says to ship. `budget_mb` limits the images that are
    sent. What was done is kept wherever this ends, and the next call goes on from there. On an emulated target nothing
    is timed. Raises MissingArtifactError for a file that is not current, DeviceSoftwareError, and the errors of a
    connection and of worker_protocol.ask.
    """
    artifact = proof_file(target.name)
    require_appendable(folder.artifact(artifact))
    files = _files(folder, variant or variant_to_ship(folder))
    with closing(target.start_worker(WORKER_FILE)) as worker:
        machine = ask(worker, {"hello": PROTOCOL}, _ANSWER_S)["machine"]
    require_software(machine, target.name)
    found = fingerprint(machine)
    if found["onnxruntime"] != onnxruntime.__version__:
        progress.note(f"{target.name} has onnxruntime {found['onnxruntime']}, this machine {onnxruntime.__version__}")
    settings = settings_of(folder, target.name, found["usable_cores"])
    identity = {
        "schema": SCHEMA,
        "files": dict(files.sha256),
        "data": require_current(folder, DATA),
        "fingerprint": found,
        "budget_mb": budget_mb,
        "accuracy": asdict(folder.recipe.accuracy),
        "latency": [asdict(folder.recipe.latency), {name: one.to_json() for name, one in settings.items()}],
        "code": code_version(),
    }
    path = folder.artifact(artifact).with_suffix(".unfinished")
    with (
        Unfinished.taken_up(path, identity) as unfinished,
        tempfile.TemporaryDirectory(prefix="edgegd-prove-") as scratch,
    ):
        work = _Work(folder, files, target, found["usable_cores"], unfinished, Path(scratch), progress)
        proof = {
            "schema": SCHEMA,
            "target": target.name,
            "emulated": target.emulated,
            "variant": files.variant,
            "files": {
                name: {"file": file.name, "sha256": files.sha256[name], "bytes": file.stat().st_size}
                for name, file in files.paths.items()
            },
            "files_for": folder.recipe.target.profile,
            "fingerprint": found,
            "machine_profile": needed_profile(found["architecture"], found["instruction_sets"]),
            "workstation": asdict(proof_here(folder.recipe.target.profile)) | {"onnxruntime": onnxruntime.__version__},
            **work.on_images(budget_mb),
            **work.on_time(settings, judged(folder, target.name, settings)),
        }
        proof["limits"] = [one.to_json() for one in judge(folder.recipe.prove.limits, *_found(proof, files.edge))]
        folder.write_json(artifact, proof)
        unfinished.remove()
    return proof


def exit_code(proof: Mapping[str, Any]) -> int:
    """0; AcceptanceError's where a limit is not met; else ParityError's where codes or outputs differ."""
    if not all(limit["passed"] for limit in proof["limits"]):
        return AcceptanceError.exit_code
    same = all(one["differing"] == 0 and one["equal_outputs"] for one in proof["codes"].values())
    return 0 if same else ParityError.exit_code


@dataclass(frozen=True)
class _Work:
    """The parts of one proof."""

    folder: RunFolder
    files: _Files
    target: Target
    cores: int
    unfinished: Unfinished
    scratch: Path
    progress: Progress

    def on_images(self, budget_mb: float) -> dict[str, Any]:
        """`codes` by quantized file, and `accuracy`: how many images, mAP of each file there and here."""
        target, unfinished, files = self.target, self.unfinished, self.files
        recipe = self.folder.recipe.accuracy
        preprocessing = files.contracts[files.variant].preprocessing
        images = DeviceImages(measured_truth(self.folder), preprocessing, target, self.scratch, budget_mb)

        def codes(name: str) -> dict[str, Any]:
            few = [images.both(index) for index in range(min(CODE_IMAGES, len(images)))]
            plain = [unfinished.output_sha256(name, index) for index in range(len(few))]
            return compare_codes(files.paths[name], few, plain, target, self.scratch, self.progress).to_json()

        with target.lock():
            for name, file in files.paths.items():
                compute_outputs(
                    name,
                    file,
                    files.sha256[name],
                    files.contracts[name],
                    images,
                    target,
                    unfinished,
                    self.progress,
                    threads=1 if target.emulated else self.cores,
                    store=str(unfinished.path / "store") if isinstance(target, LocalTarget) else BESIDE,
                    conf=recipe.conf,
                )
            compared = {name: unfinished.part(f"codes-{name}", partial(codes, name)) for name in files.quantized}
        there = {
            name: unfinished.part(f"map-{name}", partial(map_of_outputs, name, contract, images, unfinished, recipe))
            for name, contract in files.contracts.items()
        }
        here = {name: self._here(name, images) for name in (FP32, files.variant)}
        accuracy = {
            "images": len(images),
            "of_images": images.all,
            "bytes_each": images.bytes_each,
            "budget_mb": budget_mb,
            "there": there,
            "here": here | {files.edge: here[files.variant]},
        }
        return {"codes": compared, "accuracy": accuracy}

    def _here(self, name: str, images: DeviceImages) -> Any:
        """mAP on this machine: what stage `accuracy` found, where it was on the same images."""
        if len(images) == images.all:
            try:
                require_current(self.folder, ACCURACY)
                return {key: self.folder.read_json(ACCURACY)[name][key] for key in ("map50_95", "map50")}
            except MissingArtifactError:
                pass
        file, recipe = self.files.paths[name], self.folder.recipe.accuracy
        return self.unfinished.part(f"map-here-{name}", lambda: map_here(file, images, recipe, self.progress))

    def on_time(self, settings: Mapping[str, ThreadSetting], decisive: str) -> dict[str, Any]:
        """`latency` by setting and `load` by file, or `not_measured`: why there is neither."""
        target, name = self.target, self.target.name
        if target.emulated:
            why = f"{name} is emulated: its times and its memory are those of the emulator."
            return {"latency": {}, "judged": decisive, "load": {}, "not_measured": why}
        text = f"latency on {name}"
        section = self.folder.recipe.latency
        each = 6 * section.launches * section.quads  # blocks of three files, twice a quad
        done = 0

        def measured(setting: ThreadSetting) -> dict[str, Any]:
            result = measure(
                self.files.paths,
                section,
                target,
                progress=lambda block, blocks, all_: self.progress.update(done + blocks, each * len(settings), text),
                threads=dict.fromkeys(self.files.paths, setting),
            )
            return timed(result, setting)

        latency = {}
        for key, setting in settings.items():
            latency[key] = self.unfinished.part(f"latency-{key.replace(' ', '-')}", partial(measured, setting))
            done += each
        judging = settings[decisive]
        design = replace(design_of(section), threads=judging.threads, spinning=judging.spinning)

        def load(file: Path) -> dict[str, Any]:
            self.progress.update(0, 1, f"loading {file.name} on {name}")
            burst = measure_burst(file, design, target, inferences=1)
            first_ms = [durations[0] for durations in burst.durations_ms]
            return {"load_ms": burst.load_ms, "first_ms": first_ms, "peak_bytes": burst.peak_bytes}

        loads = {
            key: self.unfinished.part(f"load-{key}", partial(load, file)) for key, file in self.files.paths.items()
        }
        return {"latency": latency, "judged": decisive, "load": loads, "not_measured": ""}


def _files(folder: RunFolder, variant: str) -> _Files:
    artifacts = {FP32: PORTABLE[FP32], variant: PORTABLE[variant], EDGE_OF.format(variant): EDGE[variant]}
    sha256 = {name: require_current(folder, artifact) for name, artifact in artifacts.items()}
    paths = {name: folder.artifact(artifact) for name, artifact in artifacts.items()}
    return _Files(variant, paths, sha256, {name: load_model(path)[1] for name, path in paths.items()})


def _found(proof: Mapping[str, Any], edge: str) -> tuple[dict[str, float], dict[str, str]]:
    """What limits are about, by their names: what was found of the edge file, and why something was not measured."""
    found: dict[str, float] = {
        "bytes": proof["files"][edge]["bytes"],
        "map50_95": proof["accuracy"]["there"][edge]["map50_95"],
    }
    if proof["not_measured"]:
        return found, dict.fromkeys(_TIMED, proof["not_measured"])
    found["p95_ms"] = proof["latency"][proof["judged"]]["models"][edge]["p95_ms"]
    found["load_ms"] = max(proof["load"][edge]["load_ms"])
    found["peak_mb"] = max(proof["load"][edge]["peak_bytes"]) / MEGABYTE
    return found, {}
