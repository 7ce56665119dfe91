"""`edgegd descent compare`: optimizers side by side on a run's calibrated model, stored beside the run."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from edgegd.descent.comparison import (
    FULL,
    WITHOUT_SECOND_MOMENT,
    Contender,
    Trace,
    micro_batch,
    trained,
)
from edgegd.descent.gradient_noise import GradientNoise, gradient_noise
from edgegd.descent.held_out import mean_loss
from edgegd.descent.random_state import seed_everything
from edgegd.descent.taken_back import taken_back
from edgegd.descent.telemetry import finite
from edgegd.descent.training import Training
from edgegd.errors import NaNLossError
from edgegd.pipeline.artifacts import COMPARE, COMPARE_PICTURE
from edgegd.pipeline.descent_subject import DescentSubject, opened_subject
from edgegd.pipeline.lr_range import suggested_rates
from edgegd.pipeline.run_folder import RunFolder
from edgegd.progress import Progress
from edgegd.report.comparison import sentence
from edgegd.report.comparison_picture import comparison_svg

_JUDGED_IMAGES = 96
"""Held-out images whose loss is followed, rounded up to whole batches."""
_NOISE_BATCHES = 4


@dataclass(frozen=True)
class ComparisonSettings:
    """`optimizers` (names of edgegd.descent.comparison.OPTIMIZERS, each with its rate or None: a range test finds it),
    `batches` (images or FULL; None: the recipe's), `epochs` and `seeds` of each training."""

    optimizers: tuple[tuple[str, float | None], ...]
    batches: tuple[int | str, ...] | None
    epochs: int
    seeds: int


def compare(folder: RunFolder, settings: ComparisonSettings, progress: Progress) -> dict[str, Any]:
    """Trains every optimizer with every batch and seed, and writes descent-compare.json and .svg; returns the JSON.

    The run's own artifacts are not touched. Raises RunFolderBusyError, the errors of opened_subject, and NaNLossError
    where the calibrated model has no finite loss.
    """
    with folder.locked(), opened_subject(folder) as subject:
        result = _Comparison(subject, settings, progress).made()
        folder.write_json(COMPARE, result)
        folder.write(COMPARE_PICTURE, comparison_svg(result))
    return result


class _Comparison:
    def __init__(self, subject: DescentSubject, settings: ComparisonSettings, progress: Progress) -> None:
        self.subject, self.settings, self.progress = subject, settings, progress
        self.train = subject.settings
        self.held_out = subject.held_out_batches()
        self.judged = min(len(self.held_out), math.ceil(_JUDGED_IMAGES / self.train.batch))
        self.judged_images = min(self.judged * self.train.batch, len(self.held_out.loaded))
        self.seeds = [self.train.seed + number for number in range(settings.seeds)]

    def made(self) -> dict[str, Any]:
        """All of descent-compare.json."""
        start = self._judge()
        if not math.isfinite(start):
            raise NaNLossError(
                f"The loss of the held-out images is {start} before the first step: there is nothing to compare.",
                expected="a finite loss of the calibrated model",
                mend="calibrate anew (`edgegd ptq --force RUN_DIR`)",
            )
        with taken_back(self.subject.student):
            start_map = self.subject.map50_95()
        images = self.subject.training_images()
        noise = self._noise_at_start()
        contenders = [
            {"optimizer": name, "batch": batch, "rate": rate, "rate_from": source}
            | {"traces": self._traces(Contender(name, batch, rate), images)}
            for name, batch, rate, source in self._rates(noise, images)
        ]
        result = {
            "schema": 1,
            "title": "Optimizers side by side",
            "sentence": sentence(contenders, len(self.seeds), self.judged_images),
            "images": images,
            "epochs": self.settings.epochs,
            "seeds": self.seeds,
            "held_out_images": self.judged_images,
            "start": {"loss": start, "map50_95": start_map, "noise": dataclasses.asdict(noise) if noise else None},
            "contenders": contenders,
        }
        return finite(result)  # type: ignore[no-any-return]

    def _judge(self) -> float:
        subject = self.subject
        return mean_loss(subject.student, self.held_out, self.train, subject.distiller, self.judged)

    def _noise_at_start(self) -> GradientNoise | None:
        with taken_back(self.subject.student):
            self.subject.student.learn_ranges(False)
            return self._noise(self.train.seed)

    def _noise(self, seed: int) -> GradientNoise | None:
        """Of weights and biases, of the student as it is; from batches of the recipe's size."""
        training = Training(self.subject.student, self.train, self.subject.distiller)
        return gradient_noise(training, islice(self.subject.training_batches(seed).epoch(1), _NOISE_BATCHES))

    def _rates(self, noise: GradientNoise | None, images: int) -> list[tuple[str, int | str, float, str]]:
        """Optimizer, batch, peak rate and where the rate comes from, of every contender."""
        asked = [name for name, rate in self.settings.optimizers if rate is None]
        sections = {name: Contender(name, self.train.batch, 1.0).settings(self.train) for name in asked}
        suggested = suggested_rates(self.subject, sections, self.progress) if asked else {}
        rows = []
        for name, given in self.settings.optimizers:
            for batch in self.settings.batches or (self.train.batch,):
                if given is not None:
                    rows.append((name, batch, given, "given"))
                    continue
                one = suggested[name]
                base, source = (one.rate, one.rule) if one.rate else (self.train.lr0, "recipe")
                size = images if batch == FULL else int(batch)
                factor = rate_factor(size, self.train.batch, noise, name in WITHOUT_SECOND_MOMENT)
                rows.append((name, batch, base * factor, f"range test ({source})" if one.rate else "the recipe's"))
        return rows

    def _traces(self, contender: Contender, images: int) -> list[dict[str, Any]]:
        rows = []
        for seed in self.seeds:
            label = f"{contender.optimizer}, batch {contender.batch}, seed {seed}"
            with taken_back(self.subject.student):
                seed_everything(seed)
                rows.append(dataclasses.asdict(self._trace(contender, seed, images, label)))
            end = "diverged" if rows[-1]["diverged"] else f"loss {rows[-1]['losses'][-1] - rows[-1]['losses'][0]:+.4f}"
            self.progress.note(f"{label}, rate {contender.rate:.2g}: held-out {end}")
        return rows

    def _trace(self, contender: Contender, seed: int, images: int, label: str) -> Trace:
        subject, trace = self.subject, Trace(seed)
        batches = subject.training_batches(seed, micro_batch(contender.batch, self.train.batch))
        section = replace(contender.settings(self.train), epochs=self.settings.epochs)
        training = Training(subject.student, section, subject.distiller)
        trained(
            training,
            batches,
            contender,
            self.settings.epochs,
            images,
            self._judge,
            trace,
            lambda done, total: self.progress.update(done, total, label),
        )
        if not trace.diverged:
            noise = self._noise(seed)
            trace.noise = dataclasses.asdict(noise) if noise else None
            trace.map50_95 = subject.map50_95()
        return trace


def rate_factor(batch: int, measured_at: int, noise: GradientNoise | None, is_linear: bool) -> float:
    """What a rate found at one batch size is multiplied by for another one.

    With noise scale B, the best rate of a step without second moments goes as 1 / (1 + B / batch) (McCandlish et al.
    2018, equation 2.7); with them, whose step does not grow with the gradient, as its root (Malladi et al. 2022).
    """
    if noise is None or noise.scale is None:
        factor = batch / measured_at  # all noise: B is infinite
    else:
        scale = max(noise.scale, 0.0)
        factor = (1 + scale / measured_at) / (1 + scale / batch)
    return factor if is_linear else math.sqrt(factor)
