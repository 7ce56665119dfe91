"""Latency of a run's edge file and FP32 beside other runtimes, on devices: `edgegd latency RUN_DIR --beside NAME`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

from edgegd.device.latency_worker import PROTOCOL
from edgegd.device.runtime_workers import ONNXRUNTIME, worker_files
from edgegd.errors import EdgegdError
from edgegd.latency.measuring.measure import measure
from edgegd.latency.measuring.parallel import on_each
from edgegd.latency.measuring.record import Block
from edgegd.pipeline.artifacts import ACCURACY, DESCENT, EDGE, PORTABLE, Artifact, of_target
from edgegd.pipeline.beside import BESIDE, accuracy_artifact, model_artifact, require_packages, stage_name
from edgegd.pipeline.run import run_stages
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.shipped import variant_to_ship
from edgegd.pipeline.stage import require_current
from edgegd.pipeline.stages.latency import profile_of_machine
from edgegd.progress import Progress
from edgegd.report.beside import beside_rivals
from edgegd.safe_outputs import require_appendable
from edgegd.targets.base import Target, require_real
from edgegd.targets.registry import find_target
from edgegd.targets.worker_protocol import ask

_KIND, _ANSWER_S = "latency-beside", 300.0


def beside_on(
    folder: RunFolder, names: Sequence[str], targets: Sequence[str], progress: Progress, *, force: bool = False
) -> tuple[dict[str, dict[str, Any]], dict[str, EdgegdError]]:
    """Makes the models of `names` (keys of BESIDE), and times them beside the edge file that the report ships and FP32.

    On every target, by default the recipe's, at one thread and at all of its cores. The results by target, which are
    stored as latency-beside-TARGET.json too, and the errors of the others. Before anything is made, raises
    MissingExtraError where this machine lacks a package, and DeviceSoftwareError where a target lacks a runtime; also
    the errors of unknown and emulated targets, and of the stages.
    """
    names, targets = list(dict.fromkeys(names)), list(dict.fromkeys(targets)) or [folder.recipe.target.host]
    require_packages(names)
    for artifact in (ACCURACY, DESCENT, EDGE["qat"]):
        require_current(folder, artifact)
    variant = variant_to_ship(folder)
    for name in targets:
        require_appendable(folder.artifact(_file(name)))
    with ExitStack() as stack:
        found = [stack.enter_context(closing(find_target(name))) for name in targets]
        for target in found:
            require_real(target)
        versions = {target.name: _versions(target, names) for target in found}
        run_stages(folder, [stage_name(name) for name in names], progress, force=force)
        outcome = on_each(
            found, lambda target: _measured(folder, names, variant, target, versions[target.name], progress)
        )
    results = {name: result for name, result in outcome.items() if isinstance(result, dict)}
    for name, result in results.items():
        folder.write_json(_file(name), result)
    return results, {name: error for name, error in outcome.items() if isinstance(error, EdgegdError)}


def stored_beside(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """Target -> what was measured there of the run's files as they are now; what cannot be read is not among it."""
    found = {}
    for path in sorted(folder.path.glob(f"{_KIND}-*.json")):
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            stored = folder.read_json(path.name)
            if all(_is_as_measured(folder, name, digest) for name, digest in stored["files"].items()):
                found[stored["target"]] = stored
    return found


def _file(target: str) -> Artifact:
    return of_target(_KIND, target, "latency")


def _is_as_measured(folder: RunFolder, name: str, digest: str) -> bool:
    path = folder.artifact(name)
    return path.parent == folder.path and path.exists() and sha256_of(path) == digest


def _versions(target: Target, names: Sequence[str]) -> dict[str, str]:
    """Each runtime's version on the target."""
    versions = {}
    with worker_files(BESIDE[name].runtime for name in names) as programs:
        for name in names:
            with closing(target.start_worker(programs[BESIDE[name].runtime])) as worker:
                versions[name] = ask(worker, {"runtime": True}, _ANSWER_S)["version"]
    return versions


def _all_cores(target: Target) -> int:
    with worker_files(()) as programs, closing(target.start_worker(programs[ONNXRUNTIME])) as worker:
        return int(ask(worker, {"hello": PROTOCOL}, _ANSWER_S)["machine"]["usable_cores"])


def _shown(progress: Progress, text: str) -> Callable[[Block, int, int], None]:
    return lambda block, done, total: progress.update(done, total, text)


def _measured(
    folder: RunFolder,
    names: Sequence[str],
    variant: str,
    target: Target,
    versions: Mapping[str, str],
    progress: Progress,
) -> dict[str, Any]:
    edge = EDGE[variant].removesuffix(".onnx")
    files = {edge: EDGE[variant], "fp32": PORTABLE["fp32"], **{name: model_artifact(name) for name in names}}
    paths = {name: folder.require(artifact) for name, artifact in files.items()}
    runtimes = {name: BESIDE[name].runtime for name in names}
    results = {}
    for threads in sorted({1, _all_cores(target)}):
        results[str(threads)] = measure(
            paths,
            replace(folder.recipe.latency, threads=threads),
            target,
            progress=_shown(progress, f"measuring latency on {target.name}, threads: {threads}"),
            runtimes=runtimes,
        )
    accuracy = {name: folder.read_json(accuracy_artifact(name)) for name in names}
    own = accuracy[names[0]]["accuracy"]
    measured = {threads: result.to_json() for threads, result in results.items()}
    last = next(iter(results.values()))
    return {
        "schema": 1,
        "target": target.name,
        "edge": edge,
        "files": {str(artifact): sha256_of(paths[name]) for name, artifact in files.items()},
        "versions": dict(versions),
        "threads": measured,
        "map50_95": {edge: own[variant]["map50_95"], "fp32": own["fp32"]["map50_95"]}
        | {name: made["accuracy"][name]["map50_95"] for name, made in accuracy.items()},
        "rivals": beside_rivals(measured, accuracy, variant),
        "fingerprint": last.fingerprint,
        "files_for": folder.recipe.target.profile,
        "machine_profile": profile_of_machine(last),
    }
