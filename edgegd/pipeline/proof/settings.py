"""With how many threads a proof times the files, and what it keeps of each measurement."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from edgegd.latency.measuring.result import LatencyResult
from edgegd.pipeline.run_folder import RunFolder
from edgegd.recipe.schema import LatencySection

TUNED, ONE, ALL, RECIPE = "tuned", "one thread", "all cores", "the recipe's"


def tuned(folder: RunFolder, target: str) -> LatencySection | None:
    """The recipe's section `latency` at the threads that were found best on this target; None where none were."""
    return None


def settings_of(folder: RunFolder, target: str, cores: int) -> dict[str, LatencySection]:
    """Name -> how the files are timed: at one thread, at all `cores`, and tuned, where that was done, else as the
    recipe says. Of two that are the same the first is kept."""
    recipe = folder.recipe.latency
    best = tuned(folder, target)
    all_settings = {
        ONE: replace(recipe, threads=1),
        ALL: replace(recipe, threads=cores),
        **({RECIPE: recipe} if best is None else {TUNED: best}),
    }
    found: dict[str, LatencySection] = {}
    for name, setting in all_settings.items():
        if setting not in found.values():
            found[name] = setting
    return found


def judged(folder: RunFolder, target: str, settings: dict[str, LatencySection]) -> str:
    """The name of the setting that the recipe's limits are about: the tuned one, else the recipe's."""
    wanted = tuned(folder, target) or folder.recipe.latency
    return next(name for name, setting in settings.items() if setting == wanted)


def timed(result: LatencyResult, setting: LatencySection) -> dict[str, Any]:
    """What is kept: of each file all of ModelLatency, `pays`, and `p95_ms` of its slowest launch."""
    return {
        "threads": setting.threads,
        "spinning": setting.spinning,
        "launches": setting.launches,
        "stable": result.stable,
        "faults": list(result.faults),
        "models": {
            name: {**asdict(latency), "pays": latency.pays, "p95_ms": slowest_p95_ms(result, name)}
            for name, latency in result.models.items()
        },
    }


def slowest_p95_ms(result: LatencyResult, model: str) -> float:
    """The 95th percentile of a model's inferences in ms, of the launch in which it is largest."""
    launches: dict[int, list[int]] = {}
    for block in result.blocks:
        if block.model == model:
            launches.setdefault(block.launch, []).extend(block.durations_ns)
    return max(float(np.percentile(durations_ns, 95)) for durations_ns in launches.values()) / 1e6
