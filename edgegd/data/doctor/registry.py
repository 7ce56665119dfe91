"""The checks of the data doctor by name, and what they find in a data set: one function a check, in its module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from edgegd.data.doctor import class_checks as classes
from edgegd.data.doctor import file_checks as files
from edgegd.data.doctor import label_checks as labels
from edgegd.data.doctor import size_checks as sizes
from edgegd.data.doctor import skew_checks as skew
from edgegd.data.doctor import twin_checks as twins
from edgegd.data.doctor.class_checks import boxes_of_classes, images_of_classes
from edgegd.data.doctor.finding import SEVERITIES, Finding, Severity, counted
from edgegd.data.doctor.survey import Progress, Survey, survey_of
from edgegd.data.yaml_set import DataYaml
from edgegd.foreign_text import one_line
from edgegd.network_size import NetworkSize

Check = Callable[[Survey], Finding | None]

CHECKS: dict[str, Check] = {
    "unreadable-images": files.unreadable_images,
    "images-without-labels": files.images_without_labels,
    "labels-without-images": files.labels_without_images,
    "unreadable-labels": labels.unreadable_labels,
    "unknown-classes": labels.unknown_classes,
    "coordinates-outside": labels.coordinates_outside,
    "empty-boxes": labels.empty_boxes,
    "boxes-over-the-border": labels.boxes_over_the_border,
    "repeated-rows": labels.repeated_rows,
    "doubled-boxes": labels.doubled_boxes,
    "boxes-of-two-classes": labels.boxes_of_two_classes,
    "crowded-images": labels.crowded_images,
    "leaked-images": twins.leaked_images,
    "nearly-leaked-images": twins.nearly_leaked_images,
    "repeated-images": twins.repeated_images,
    "nearly-repeated-images": twins.nearly_repeated_images,
    "splits-without-boxes": classes.splits_without_boxes,
    "classes-not-trained": classes.classes_not_trained,
    "classes-not-measured": classes.classes_not_measured,
    "rare-classes": classes.rare_classes,
    "class-balance": classes.class_balance,
    "background-images": classes.background_images,
    "boxes-below-a-cell": sizes.boxes_below_a_cell,
    "boxes-that-training-drops": sizes.boxes_that_training_drops,
    "elongated-boxes": sizes.elongated_boxes,
    "padded-images": sizes.padded_images,
    "turned-images": files.turned_images,
    "deep-images": files.deep_images,
    "gray-images": files.gray_images,
    "plain-images": files.plain_images,
    "skewed-splits": skew.skewed_splits,
}


@dataclass(frozen=True)
class Examination:
    """A data set that was looked at, and what was found: name of the check -> finding, the weightiest first."""

    survey: Survey
    findings: dict[str, Finding]

    @property
    def worst(self) -> Severity | None:
        """The weightiest severity among the findings; None where there is none."""
        return next(iter(self.findings.values())).severity if self.findings else None

    @property
    def sentence(self) -> str:
        """What the set holds and how many findings there are, in one line."""
        splits = ", ".join(f"{len(images):,} {split}" for split, images in self.survey.splits.items())
        boxes = sum(len(image.boxes) for image in self.survey.images)
        found = [
            counted(number, severity)
            for severity in SEVERITIES
            if (number := sum(finding.severity == severity for finding in self.findings.values()))
        ]
        return (
            f"{counted(len(self.survey.images), 'image')} ({splits}), {counted(boxes, 'box', 'boxes')}: "
            f"{', '.join(found) or 'nothing found'}."
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict, with the counts of every split and class, and how alike the splits are."""
        names = self.survey.described.names
        per_split = {
            split: (boxes_of_classes(images, len(names)), images_of_classes(images, len(names)))
            for split, images in self.survey.splits.items()
        }
        return {
            "schema": 1,
            "yaml": one_line(self.survey.described.yaml_path),
            "imgsz": list(self.survey.size),
            "sentence": self.sentence,
            "worst": self.worst,
            "splits": {
                split: {
                    "images": len(images),
                    "boxes": int(per_split[split][0].sum()),
                    "images_without_boxes": sum(not len(image.boxes) for image in images),
                }
                for split, images in self.survey.splits.items()
            },
            "classes": [
                {
                    "name": one_line(name),
                    **{
                        split: {"boxes": int(boxes[kind]), "images": int(images[kind])}
                        for split, (boxes, images) in per_split.items()
                    },
                }
                for kind, name in enumerate(names)
            ],
            "comparisons": [asdict(one) for one in skew.differences(self.survey)],
            "checks": list(CHECKS),
            "findings": [finding.to_json(name) for name, finding in self.findings.items()],
        }


def examine(described: DataYaml, size: NetworkSize, progress: Progress | None = None) -> Examination:
    """Looks at a data set (edgegd.data.yaml_set) for a network's input of `size` (height, width); nothing is changed.

    Raises NoImagesError as edgegd.data.dataset.open_dataset does, and MissingExtraError without OpenCV.
    """
    survey = survey_of(described, size, progress)
    found = {name: finding for name, check in CHECKS.items() if (finding := check(survey)) is not None}
    order = sorted(found, key=lambda name: SEVERITIES.index(found[name].severity))
    return Examination(survey, {name: found[name] for name in order})
