"""The file calibration-curve.json of a run folder: do ranges, and what they cost at the head, still move with images?

Images run through the float model once. Their histograms merge to those of disjoint samples of 8, 16, 32, ... images,
from each of which ranges are chosen as stage `ptq` chooses them; the last images of the draw, which are in no sample,
judge the ranges. Refinement, which takes up to 64 images whatever the size of the set, is left out: what is seen is the
effect of the ranges.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgegd.data.calibration import ImageBatches, calibration_images
from edgegd.detectors.curvature import Curvature
from edgegd.detectors.head_error import HeadError
from edgegd.errors import CalibrationError
from edgegd.pipeline.artifacts import CALIBRATION, CALIBRATION_CURVE, DATA, PLAN, as_made
from edgegd.pipeline.as_recorded import require_images_as_recorded
from edgegd.pipeline.models import run_preprocessing, uncalibrated_model
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import require_current
from edgegd.pipeline.stages.ptq import CALIBRATION_BATCH, SENSED, weighs_errors
from edgegd.pipeline.stored import adapted_reads, checkpoint_to_quantize, stored_dataset
from edgegd.pipeline.stored_curve import SCHEMA, made_from
from edgegd.progress import Progress
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import collect, set_ranges
from edgegd.quant.consistent_ranges import settle_ranges
from edgegd.quant.extremes import ImageExtremes
from edgegd.quant.lone_images import LoneImage, lone_images
from edgegd.quant.nested_samples import WORTH_A_POINT, Counted, nested_samples
from edgegd.quant.ranges import Range, choose_ranges
from edgegd.quant.sensitivity import collect_sensitivities, emphasised
from edgegd.quant.stability import enough, spread_of
from edgegd.recipe.schema import Recipe
from edgegd.report.calibration_curve import curve_sentence

SMALLEST = 8
"""Images of the smallest sample, and of the steps in which they are counted."""
MOST_IMAGES = 512
_MOST_SAMPLES = 4  # of one number of images
_HEAD_IMAGES = 32  # on which heads are compared, at most a quarter of all
_MOST_OUTLIERS, _MOST_GROUPS = 10, 5  # that are listed; an outlier's groups, the strongest


def calibration_curve(folder: RunFolder, progress: Progress, images: int = MOST_IMAGES) -> dict[str, Any]:
    """Draws the curve of up to `images` images, and stores it.

    At once in memory are one batch, the histograms of one sample of each size (0.13 MB for each tensor), and the images
    and predictions on which heads are compared. Raises MissingArtifactError where the plan is missing or an image is
    not as it was, CalibrationError for a single image, activations that are not finite and images of one colour.
    """
    for artifact in (DATA, PLAN, CALIBRATION, checkpoint_to_quantize(folder), *adapted_reads(folder)):
        require_current(folder, artifact)
    dataset, recipe = stored_dataset(folder), folder.recipe
    drawn = calibration_images(dataset, images + _HEAD_IMAGES, recipe.train.seed)
    if len(drawn) < 2:
        raise CalibrationError(
            "One image has no other to be compared with.",
            expected="at least two training images",
            found=str(len(drawn)),
            mend="add images to the data set",
        )
    require_images_as_recorded(folder, drawn)
    with as_made(folder, CALIBRATION):
        calibrated_on = len(folder.read_json(CALIBRATION)["images"])
    shown = max(1, min(_HEAD_IMAGES, len(drawn) // 4))
    counting = _Counting(folder, drawn[:-shown][:images], drawn[-shown:], progress)
    result = {
        "schema": SCHEMA,
        "title": "Calibration set",
        "sentence": "",
        "made_from": made_from(folder),
        "calibrated_on": calibrated_on,
        **counting.curve(),
    }
    result["sentence"] = curve_sentence(result)
    folder.write_json(CALIBRATION_CURVE, result)
    return result


@dataclass
class _Judged:
    """The samples of one number of images: their ranges, and the mean difference at the head of each."""

    ranges: list[dict[str, Range]] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)

    def point(self, images: int) -> dict[str, Any]:
        """As the file holds it."""
        spread = spread_of(self.ranges) if len(self.ranges) > 1 else None
        return {
            "images": images,
            "samples": len(self.errors),
            "spread": spread
            and {
                "median": spread.median,
                "most": spread.most,
                "worst": [{"address": group, "spread": one} for group, one in spread.worst],
            },
            "head_error": {"mean": _geometric_mean(self.errors), "samples": self.errors},
        }


class _Counting:
    """One pass over the images `pool`, and what follows from it."""

    def __init__(self, folder: RunFolder, pool: Sequence[Path], shown: Sequence[Path], progress: Progress) -> None:
        self._recipe: Recipe = folder.recipe
        self._quantized: QuantizedModel = uncalibrated_model(folder)
        self._preprocessing = run_preprocessing(folder, self._quantized.model)
        self._pool, self._progress, self._extremes = pool, progress, ImageExtremes()
        self._curvature = Curvature(self._quantized.model, self._recipe.train.seed)
        singles = ImageBatches(self._preprocessing, 1).of(shown)
        self._head = HeadError(self._quantized.model, map(torch.from_numpy, singles))
        self._shown = len(shown)

    def curve(self) -> dict[str, Any]:
        """Points, judgement and outliers."""
        judged: dict[int, _Judged] = defaultdict(_Judged)
        for sample in nested_samples(self._parts(), SENSED):
            if self._is_judged(sample):
                end, text = sample.start + sample.images, f"trying the ranges of {sample.images} images"
                self._progress.update(end, len(self._pool), text)
                ranges, error = self._judge(sample)
                judged[sample.images].ranges.append(ranges)
                judged[sample.images].errors.append(error)
        judgement = enough({number: one.errors for number, one in judged.items()})
        whole = judged.get(len(self._pool))  # the last sample is all images, of which there is one at least
        lone = self._lone(sample, whole.ranges[0] if whole else self._ranges(sample))
        return {
            "observer": self._recipe.quant.observer,
            "images": len(self._pool),
            "head_images": self._shown,
            "head_unit": self._head.unit,
            "points": [one.point(number) for number, one in sorted(judged.items())],
            "recommended": judgement.images,
            "noise": judgement.noise,
            "limit": judgement.limit,
            "outliers_found": len(lone),
            "outliers": [self._outlier(one) for one in lone[:_MOST_OUTLIERS]],
        }

    def _parts(self) -> Iterator[Counted]:
        """The images SMALLEST at a time, each read and run once; some of them with a backward pass as well."""
        images, pool = ImageBatches(self._preprocessing, CALIBRATION_BATCH), self._pool
        for start in range(0, len(pool), SMALLEST):
            batches = list(map(torch.from_numpy, images.of(pool[start : start + SMALLEST])))
            counted = collect(self._quantized, batches, extremes=self._extremes)
            sensitivities, sensed = {}, 0
            if self._is_sensed(start):
                singles = [image for batch in batches for image in batch.split(1)]
                sensitivities = collect_sensitivities(self._quantized, singles, self._curvature)
                sensed = len(singles)
            done = start + sum(map(len, batches))
            self._progress.update(done, len(pool), "counting values")
            yield Counted(start, done - start, counted, sensitivities, sensed)
        images.require_contrast()

    def _sizes(self) -> list[int]:
        """The numbers of images of the samples: doublings, and all where they are more."""
        sizes = [SMALLEST]
        while sizes[-1] * 2 <= len(self._pool):
            sizes.append(sizes[-1] * 2)
        if len(self._pool) < SMALLEST or len(self._pool) >= WORTH_A_POINT * sizes[-1]:
            sizes.append(len(self._pool))
        return sizes

    def _is_judged(self, sample: Counted) -> bool:
        return sample.images in self._sizes() and sample.start < _MOST_SAMPLES * sample.images

    def _is_sensed(self, start: int) -> bool:
        """Whether the image of a number is among the first SENSED of a sample that is judged."""
        return weighs_errors(self._recipe.quant) and any(
            start < _MOST_SAMPLES * size and start % size < SENSED for size in self._sizes()
        )

    def _ranges(self, sample: Counted) -> dict[str, Range]:
        section = self._recipe.quant
        weighted = emphasised(sample.histograms, sample.sensitivities) if sample.sensed else None
        return choose_ranges(
            self._quantized.plan, sample.histograms, section.observer, section.percentile, emphasised=weighted
        )

    def _judge(self, sample: Counted) -> tuple[dict[str, Range], float]:
        """The ranges of a sample, and the mean difference that they make at the head."""
        ranges = self._ranges(sample)
        set_ranges(self._quantized, ranges)
        settle_ranges(self._quantized)
        return ranges, _geometric_mean(self._head.of(self._quantized))

    def _lone(self, whole: Counted, ranges: dict[str, Range]) -> list[LoneImage]:
        """The images that extend ranges alone, of all of them."""
        section = self._recipe.quant
        chosen_from = emphasised(whole.histograms, whole.sensitivities) if whole.sensed else whole.histograms
        return lone_images(
            self._quantized.plan,
            chosen_from,
            ranges,
            self._extremes,
            section.observer,
            section.percentile,
        )

    def _outlier(self, lone: LoneImage) -> dict[str, Any]:
        groups = sorted(lone.groups.items(), key=lambda item: item[1][1] / item[1][0])
        return {
            "image": str(self._pool[lone.image]),
            "number": lone.image + 1,
            "groups_found": len(groups),
            "groups": [
                {"address": group, "with": present, "without": without}
                for group, (present, without) in groups[:_MOST_GROUPS]
            ],
        }


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(float(np.log(np.maximum(values, 1e-12)).mean()))
