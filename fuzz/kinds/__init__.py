"""Every kind of case: one module for each subject."""

from __future__ import annotations

from fuzz.kinds import (
    checkpoints,
    command_line,
    datasets,
    devices,
    images,
    measurements,
    models,
    recipes,
    run_folders,
    targets,
)
from fuzz.trial import Kind

INPUTS: tuple[Kind, ...] = (
    *recipes.KINDS,
    *datasets.KINDS,
    *images.KINDS,
    *checkpoints.KINDS,
    *models.KINDS,
    *run_folders.KINDS,
    *measurements.KINDS,
    *targets.KINDS,
    *command_line.KINDS,
)
DEVICES: tuple[Kind, ...] = devices.KINDS
BY_SSH = devices.BY_SSH
OTHER_RUNS = run_folders.OTHER_RUNS
"""Only in the whole form: their base takes a minute."""


def in_turn(kinds: tuple[Kind, ...]) -> list[tuple[Kind, int]]:
    """All cases, (kind, number), so that any part from the start holds every kind in proportion."""
    every = [(kind, number) for kind in kinds for number in range(kind.cases)]
    return sorted(every, key=lambda one: (one[1] > 0, (one[1] + 0.5) / one[0].cases))
