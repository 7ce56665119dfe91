"""Run folders: every artifact spoiled, also so that the manifest agrees with it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random

from fuzz.base import BOARD, QAT_CHECKPOINT, SHIPPED
from fuzz.byte_mutations import replace_file
from fuzz.kinds.models import spoil_model
from fuzz.spoil import spoil
from fuzz.trial import Kind, Trial

_FORMS = {".json": "json", ".yaml": "yaml"}
_STAGES = ("float", "ptq", "qat", "export", "verify", "accuracy", "report")
_CHEAP = ("float", "export", "verify", "accuracy", "report", "report", "report")


def _artifacts(place: Path) -> list[Path]:
    run = place / "run"
    return [path for path in sorted(run.iterdir()) if path.is_file()] + sorted((run / "manifests").iterdir())


def _agree(random: Random, run: Path, path: Path) -> bool:
    """Writes the spoiled file's hash into the manifest of the stage that made it, or also of those that have read it.

    In the first case they run again, and read it.
    """
    agreed, also_readers = False, random.random() < 0.3
    for manifest in (run / "manifests").iterdir():
        try:
            stored = json.loads(manifest.read_text())
            outputs, inputs = stored["outputs"], stored["inputs"]["artifacts"]
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        for known in (outputs, inputs) if also_readers else (outputs,):
            if path.name in known:
                known[path.name], agreed = digest, True
        manifest.write_text(json.dumps(stored))
    return agreed


def _readers(name: str) -> list[str]:
    """The stages that read an artifact, and have a command of their own."""
    from edgegd.pipeline.registry import STAGES

    stages = [entry.load() for entry in STAGES.values()]
    return [stage.name for stage in stages if name in stage.reads and stage.name in (*_CHEAP, "ptq")]


def _command(random: Random, artifact: str = "") -> Trial:
    """One of the commands that read a run folder; training is asked for seldom, because it takes its time."""
    stage = random.choice(_CHEAP if random.random() < 0.9 else _STAGES)
    if random.random() < 0.7:
        stage = random.choice(_readers(artifact) or [stage])
    run = ("run",)
    options = [Trial((stage, "run", *random.choice(((), ("--json",), ("--force",)))), "", run, run)] * 5 + [
        Trial(("explain", "run"), ""),
        Trial(("explain", "run", "--json"), ""),
        Trial(
            ("run", "tiny.yaml", "--run-dir", "run", "--until", random.choice(("data", "float", "ptq"))), "", run, run
        ),
        Trial(("run", "tiny.yaml", "--run-dir", "run"), "", run, run),
        Trial(("latency", "run", "run"), "", run, run),
        Trial(("latency", "run", "run", "--target", BOARD, "--json"), "", run, run),
        Trial(("baseline", "set", "run", "--name", "mine"), "", ("baselines/mine",)),
        Trial(
            ("gate", "run", "--baseline", SHIPPED, "--target", BOARD, "--no-static"),
            "",
            ("run/gates", "baselines"),
            ("run/gates", "baselines"),
        ),
        Trial(("export", "run", "--profile", "arm64"), "", run, run),
        Trial(("verify", "run", "--profile", "arm64"), "", run, run),
        Trial(
            ("latency", "calibrate", "run", "--target", BOARD, "--launches", "10"), "", ("home/.local/share/edgegd",)
        ),
    ]
    return random.choice(options)


def _artifact(random: Random, place: Path, number: int) -> Trial:
    files = _artifacts(place)
    path = files[number % len(files)]
    if path.suffix == ".onnx":
        what, _ = spoil_model(random, path)
    else:
        what, _, _ = spoil(random, path, _FORMS.get(path.suffix, ""))
    if path.is_file() and path.parent.name == "run" and random.random() < 0.6 and _agree(random, place / "run", path):
        what += ", and the manifests agree"
    return _with(_command(random, path.name), what)


def _structure(random: Random, place: Path, number: int) -> Trial:
    """Folders, links and locks of a run folder."""
    names = (
        "run/.lock",
        "run/view",
        "run/manifests",
        "run/view/train.txt",
        "run/view/data.yaml",
        "run/gates",
        "run",
        "run/recipe.yaml",
        "run/report.md",
        "run/latency.json",
        "run/training-1",
        "run/.qat.onnx.1.tmp",
    )
    path = place / names[number % len(names)]
    what = f"{path.name}: {replace_file(random, path)} in its place"
    return _with(_command(random, path.name), what)


def _other_run(random: Random, place: Path, number: int) -> Trial:
    """Artifacts of swaps and searches, and the checkpoint of an interrupted training."""
    names = ("activation.json", "adaptation.json", "precision.json", "adapted.pt", "recipe.yaml", "run.json")
    run = place / ("interrupted" if number % 3 == 0 else "searched")
    path = run / (QAT_CHECKPOINT if number % 3 == 0 else names[(number - number // 3 - 1) % len(names)])
    what, _, _ = spoil(random, path, _FORMS.get(path.suffix, ""))
    if path.is_file() and random.random() < 0.7 and _agree(random, run, path):
        what += ", and the manifests agree"
    commands = (
        (("qat", run.name),)
        if number % 3 == 0
        else (("ptq", run.name), ("ptq", run.name), ("explain", run.name), ("adapt", run.name), ("search", run.name))
    )
    return Trial(random.choice(commands), what, (run.name,), (run.name,))


def _with(trial: Trial, what: str) -> Trial:
    return Trial(trial.arguments, what, trial.owns, trial.owns_if_failed)


KINDS = (Kind("artifacts of a run", 190, _artifact), Kind("structure of a run", 40, _structure))
OTHER_RUNS = Kind("other runs", 60, _other_run)
