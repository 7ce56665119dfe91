"""With how many threads a proof times the files, and what it keeps of each measurement."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from edgegd.device.threads import ThreadSetting
from edgegd.latency.measuring.result import LatencyResult
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.tuning import tuned_setting

TUNED, ONE, ALL, RECIPE = "tuned", "one thread", "all cores", "the recipe's"


def settings_of(folder: RunFolder, target: str, cores: int) -> dict[str, ThreadSetting]:
    """Name -> how the files are timed: at one thread, at all `cores`, and tuned, where that was done, else as the
    recipe says. Of two that are the same the first is kept."""
    spinning, best = folder.recipe.latency.spinning, tuned_setting(folder, target)
    all_settings = {
        ONE: ThreadSetting(threads=1, spinning=spinning),
        ALL: ThreadSetting(threads=cores, spinning=spinning),
        **({RECIPE: _of_recipe(folder)} if best is None else {TUNED: best}),
    }
    found: dict[str, ThreadSetting] = {}
    for name, setting in all_settings.items():
        if setting not in found.values():
            found[name] = setting
    return found


def judged(folder: RunFolder, target: str, settings: dict[str, ThreadSetting]) -> str:
    """The name of the setting that the recipe's limits are about: the tuned one, else the recipe's."""
    wanted = tuned_setting(folder, target) or _of_recipe(folder)
    return next(name for name, setting in settings.items() if setting == wanted)


def _of_recipe(folder: RunFolder) -> ThreadSetting:
    section = folder.recipe.latency
    return ThreadSetting(threads=section.threads, spinning=section.spinning)


def timed(result: LatencyResult, setting: ThreadSetting) -> dict[str, Any]:
    """What is kept: of each file all of ModelLatency, `pays`, and `p95_ms` of its slowest launch."""
    return {
        "threads": setting.to_json(),
        "launches": result.settings.launches,
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
