"""The user's file of named targets."""

from __future__ import annotations

from pathlib import Path
from random import Random

from fuzz.base import BOARD
from fuzz.spoil import spoil
from fuzz.trial import Kind, Trial


def _targets(random: Random, place: Path, number: int) -> Trial:
    path = place / "home/.config/edgegd/targets.yaml"
    what, _, _ = spoil(random, path, "yaml")
    own = ("home/.config/edgegd",)
    options = (
        Trial(("target", "ls"), ""),
        Trial(("target", "ls", "--json"), ""),
        Trial(("target", "check", BOARD), ""),
        Trial(("target", "add", "new", "ssh://pi@127.0.0.1"), "", own),
        Trial(("target", "rm", BOARD), "", own),
        Trial(("latency", "burst", "run/qat.onnx", "--target", BOARD, "--launches", "1"), ""),
        Trial(("run", "tiny.yaml", "--run-dir", "new", "--until", "data"), "", ("new",), ("new",)),
    )
    trial = random.choice(options)
    return Trial(trial.arguments, what, trial.owns, trial.owns_if_failed, patience_s=5)


KINDS = (Kind("targets", 60, _targets),)
