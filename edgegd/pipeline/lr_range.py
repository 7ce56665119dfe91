"""`edgegd descent lr-range`: the learning rate range test on a run's calibrated model, stored beside the run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgegd.descent.lr_range import (
    SEARCHED,
    STEPS,
    Curve,
    groups_that_learn,
    losses_at_start,
    range_curve,
    rates_between,
    rates_to_test,
)
from edgegd.detectors.batches import EpochBatches
from edgegd.pipeline.artifacts import LR_RANGE, LR_RANGE_PICTURE
from edgegd.pipeline.descent_subject import DescentSubject, opened_subject
from edgegd.pipeline.run_folder import RunFolder
from edgegd.progress import Progress
from edgegd.recipe.training import TrainSection
from edgegd.report.learning_rate import Suggestion, keys_of, sentence, smoothed, suggest
from edgegd.report.lr_range_picture import lr_range_svg

SEEDS = 3


def lr_range(
    folder: RunFolder, progress: Progress, *, groups: tuple[str, ...] = (), seeds: int = SEEDS
) -> dict[str, Any]:
    """Tests every group that learns, or those named, and writes descent-lr-range.json and .svg; returns the JSON.

    The run's own artifacts are not touched. Raises RunFolderBusyError, the errors of opened_subject, and NaNLossError
    where the calibrated model has no finite loss; ValueError for a group that does not learn.
    """
    with folder.locked(), opened_subject(folder) as subject:
        chosen = groups or groups_that_learn(subject.student)
        curves, searched = _curves(subject, subject.settings, chosen, seeds, progress)
        recipe = recipe_rates(subject.settings)
        smooth = {group: smoothed([(c.rates, c.changes) for c in curves if c.group == group]) for group in chosen}
        suggestions = {g: suggest(smooth[g], [searched[g]]) for g in chosen}
        images, batch = subject.training_images(), subject.settings.batch
        epochs = math.ceil((max(len(curve.rates) for curve in curves) + 1) / math.ceil(images / batch))
        result = {
            "schema": 1,
            "title": "Learning rate range test",
            "sentence": sentence(suggestions, recipe, epochs),
            "optimizer": subject.settings.optimizer,
            "batch": batch,
            "epochs": epochs,
            "seeds": [subject.settings.seed + number for number in range(seeds)],
            "recipe": {group: recipe[group] for group in chosen},
            "searched": searched,
            "curves": [dataclasses.asdict(curve) for curve in curves],
            "smoothed": {group: dataclasses.asdict(curve) for group, curve in smooth.items()},
            "suggestions": {group: dataclasses.asdict(one) for group, one in suggestions.items()},
            "keys": keys_of(suggestions),
        }
        folder.write_json(LR_RANGE, result)
        folder.write(LR_RANGE_PICTURE, lr_range_svg(result))
    return result


def recipe_rates(settings: TrainSection) -> dict[str, float]:
    """The recipe's peak rate of each parameter group, in the units of its key."""
    bias = settings.lr0 if settings.bias_lr is None else settings.bias_lr
    return {"weights": settings.lr0, "biases": bias, "scales": settings.range_lr, "zero_points": settings.range_lr}


def suggested_rates(
    subject: DescentSubject, sections: Mapping[str, TrainSection], progress: Progress
) -> dict[str, Suggestion]:
    """Suggestions for the weights under other settings than the recipe's, by their names: one seed of each."""
    found = {}
    batches = subject.training_batches(subject.settings.seed)
    starts = losses_at_start(subject.student, batches, subject.settings, subject.distiller, STEPS + 1)
    for number, (name, settings) in enumerate(sections.items()):
        progress.update(number, len(sections), f"range test of {name}")
        tests = _Tests(subject, settings, ("weights",))
        (curve,) = tests.curves(settings.seed, batches, starts)
        found[name] = suggest(smoothed([(curve.rates, curve.changes)]), [tests.searched["weights"]])
    return found


def _curves(
    subject: DescentSubject, settings: TrainSection, groups: tuple[str, ...], seeds: int, progress: Progress
) -> tuple[list[Curve], dict[str, str]]:
    """The curves, and by group why the search for its rates ended (`Curve.end`)."""
    tests, total = _Tests(subject, settings, groups), seeds * len(groups)
    curves: list[Curve] = []
    for number in range(seeds):
        seed = settings.seed + number
        batches = subject.training_batches(seed)
        progress.update(len(curves), total, f"range test, seed {seed}: losses at the start")
        starts = losses_at_start(subject.student, batches, settings, subject.distiller, STEPS + 1)
        for curve in tests.curves(seed, batches, starts):
            curves.append(curve)
            progress.update(len(curves), total, f"range test, seed {seed}: {curve.group}")
    return curves, tests.searched


@dataclass
class _Tests:
    """The tests of some groups; where to look is searched with the first seed."""

    subject: DescentSubject
    settings: TrainSection
    groups: tuple[str, ...]
    rates: dict[str, tuple[float, ...]] = field(default_factory=dict)
    searched: dict[str, str] = field(default_factory=dict)

    def curves(self, seed: int, batches: EpochBatches, starts: Sequence[float]) -> Iterator[Curve]:
        """The curve of each group with one seed."""
        for group in self.groups:
            if group not in self.rates:
                search = self._curve(group, rates_between(*SEARCHED, 2), seed, batches, starts)
                self.rates[group], self.searched[group] = rates_to_test(search), search.end
            yield self._curve(group, self.rates[group], seed, batches, starts)

    def _curve(
        self, group: str, rates: Sequence[float], seed: int, batches: EpochBatches, starts: Sequence[float]
    ) -> Curve:
        student, distiller = self.subject.student, self.subject.distiller
        return range_curve(student, batches, self.settings, group, rates, starts, seed=seed, distiller=distiller)
