"""The data sets of the comparison with peers: recipe, checkpoint, images, and where each is looked for.

One that is not there is left out: `--weights coco-yolo26n=MY.pt` and `--data` name it elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.data.dataset import Dataset, open_dataset
from edgegd.recipe.load import load_recipe
from edgegd.recipe.schema import Recipe

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / "../shared"


@dataclass(frozen=True)
class ComparisonSet:
    """One set. `data` is drawn where it is absent if `is_drawn`; `settings` are `--set` overrides of the recipe."""

    name: str
    recipe: str
    weights: Path
    data: Path
    is_drawn: bool = False
    settings: tuple[str, ...] = ()

    def absent(self) -> list[Path]:
        """What of the set is not on this disk, and cannot be made."""
        needed = [self.weights] if self.is_drawn else [self.weights, self.data]
        return [path for path in needed if not path.exists()]

    @property
    def overrides(self) -> list[str]:
        """Every `section.key=value` of the set's recipe, in the order in which they are applied."""
        return [f"model.weights={self.weights}", f"data.path={self.data}", *self.settings]

    @cached_property
    def loaded(self) -> Recipe:
        """The recipe with its overrides."""
        return load_recipe(self.recipe, self.overrides)

    @cached_property
    def dataset(self) -> Dataset:
        """The images, drawn first where they are."""
        return open_dataset(self.loaded.data)

    @cached_property
    def truth(self) -> GroundTruth:
        """The labelled boxes of the images that are measured."""
        images = self.dataset.val_images[: self.loaded.accuracy.images or None]
        return GroundTruth.from_yolo(images, self.dataset.names, self.dataset.channels)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What tells measurements of this set from those of another checkpoint or of other settings."""
        digest = hashlib.sha256(self.weights.read_bytes()).hexdigest()
        return {"set": self.name, "weights_sha256": digest, "set_options": list(self.settings)}


SETS = {
    one.name: one
    for one in (
        ComparisonSet(
            "coco-yolo11n",
            str(ROOT / "benchmarks/peers/coco-yolo11n.yaml"),
            SHARED / "models/coco-yolo11n-640.pt",
            SHARED / "data/coco128",
        ),
        # Judges of what was tuned on the first model; like it, rebuilt from public INT8 files, and not shipped.
        ComparisonSet(
            "coco-yolov8n",
            str(ROOT / "benchmarks/peers/coco-yolo11n.yaml"),
            SHARED / "models/coco-yolov8n-640.pt",
            SHARED / "data/coco128",
        ),
        ComparisonSet(
            "coco-yolo26n",
            str(ROOT / "benchmarks/peers/coco-yolo11n.yaml"),
            SHARED / "models/coco-yolo26n-640.pt",
            SHARED / "data/coco128",
        ),
        ComparisonSet("bccd", "bccd/yolo26n", SHARED / "models/bccd-yolo26n-320.pt", SHARED / "data/bccd"),
        ComparisonSet(
            "streets",
            "streets/yolo26n",
            ROOT / "models/streets-yolo26n-320.pt",
            ROOT / "datasets/streets-demo",
            is_drawn=True,
        ),
    )
}


def chosen_sets(
    names: list[str], weights: Mapping[str, Path], data: Mapping[str, Path], settings: list[str]
) -> list[ComparisonSet]:
    """The named sets with other checkpoints and folders where they are given, paths made absolute."""
    chosen = []
    for one in (SETS[name] for name in names):
        paths = {"weights": weights.get(one.name, one.weights), "data": data.get(one.name, one.data)}
        chosen.append(replace(one, **{key: path.resolve() for key, path in paths.items()}, settings=tuple(settings)))
    return chosen
