"""The mountain of a run: the loss around its descent, as data and as a picture."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgegd.data.view import ultralytics_yaml
from edgegd.descent.device import require_device
from edgegd.descent.landscape import Step, along_step, over_plane, repeat_step, roughness, surface
from edgegd.descent.path import filters_of, weight_sample
from edgegd.descent.plane import Plane, State
from edgegd.descent.random_state import capture_random_state, restore_random_state, seed_everything
from edgegd.descent.telemetry import finite
from edgegd.descent.training import Training
from edgegd.detectors.batches import TrainingBatches, hyperparameters
from edgegd.detectors.distillation import Distiller
from edgegd.detectors.losses import prepare_loss
from edgegd.errors import LandscapeError
from edgegd.pipeline.artifacts import (
    DATA,
    DESCENT,
    DESCENT_PATH,
    DESCENT_STEPS,
    FLOAT_MODEL,
    LANDSCAPE,
    LANDSCAPE_PICTURE,
    PLAN,
    PTQ_STATE,
    QAT_STATE,
    as_made,
)
from edgegd.pipeline.models import float_model, quantized_model
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import require_current
from edgegd.pipeline.stored import adapted_reads, stored_dataset, stored_plan
from edgegd.plan.stored_state import read_arrays
from edgegd.progress import Progress
from edgegd.recipe.training import TrainSection
from edgegd.report.landscape_picture import landscape_svg
from edgegd.report.landscape_words import sentence_of

_MARGIN = 0.35
"""Of what the points and the path span, on each side."""
_THINNEST = 0.25
"""Of the longer side: no picture is thinner."""
_NARROWEST = 0.02
"""The side of a picture in which nothing moved: one fiftieth of every filter."""
_MOST_REPEATED = 32
_CUT_FROM, _CUT_TO = -0.5, 1.5


@dataclass(frozen=True)
class LandscapeSettings:
    """`grid` places to each side, images in the `batch` (None: the recipe's), places of the `cut`, the `step` that is
    cut (None: the first at the full rate, of the first 32 at most), and the seed of a direction that has to be drawn.
    """

    grid: int = 21
    batch: int | None = None
    cut: int = 81
    step: int | None = None
    seed: int = 0


def write_landscape(folder: RunFolder, settings: LandscapeSettings, progress: Progress) -> dict[str, Any]:
    """Computes the landscape of a run whose QAT is done, and writes LANDSCAPE and its picture; returns the data.

    Nothing else in the folder changes, and the random generators are as before. Raises MissingArtifactError where QAT
    has not run or something that is read is not as its stage left it, RunFolderBusyError, LandscapeError for a batch
    larger than the data or a step that the descent did not have, TrainingDeviceError.
    """
    with folder.locked():
        for artifact in (DATA, FLOAT_MODEL, PLAN, PTQ_STATE, QAT_STATE, DESCENT, *adapted_reads(folder)):
            require_current(folder, artifact)
        require_device(folder.recipe.train.device)
        generators = capture_random_state()
        try:
            with tempfile.TemporaryDirectory() as view:
                found = _Landscape(folder, settings, progress, Path(view)).make()
        finally:
            restore_random_state(*generators)
        folder.write_json(LANDSCAPE, found)
        folder.write(LANDSCAPE_PICTURE, landscape_svg(found))
    return found


class _Landscape:
    def __init__(self, folder: RunFolder, settings: LandscapeSettings, progress: Progress, view: Path) -> None:
        self.folder, self.settings, self.progress, self.scratch = folder, settings, progress, view
        self.train: TrainSection = folder.recipe.train
        self.images = settings.batch or self.train.batch
        dataset = stored_dataset(folder)
        available = len(dataset.train_images) + (len(dataset.unlabelled_images) if self.train.distill.asks else 0)
        if self.images > available and settings.batch:
            raise LandscapeError(
                f"A batch of {self.images} images is larger than the data.",
                expected=f"--batch 1 to {available}",
                found=str(self.images),
                mend="name a smaller --batch",
            )
        self.images = min(self.images, available)
        self.quantized = quantized_model(folder, "qat").to(self.train.device)
        prepare_loss(self.quantized.model, hyperparameters(self.train, folder.recipe.model.size))

    def batches(self, images: int) -> TrainingBatches:
        """The descent's own, of so many images each."""
        dataset = stored_dataset(self.folder)
        view = ultralytics_yaml(dataset, self.scratch / f"of-{images}")
        settings = dataclasses.replace(self.train, batch=images, workers=0)
        size, distils = self.folder.recipe.model.size, settings.distill.asks
        return TrainingBatches(view, dataset.names, settings, size, dataset.channels, unlabelled=distils)

    @contextlib.contextmanager
    def training(self) -> Iterator[Training]:
        """A Training from the calibrated model, as the descent began."""
        self.quantized.load_state_dict(self.state("ptq"))
        seed_everything(self.train.seed)
        if not self.train.distill.asks:
            yield Training(self.quantized, self.train, None)
            return
        teacher = float_model(self.folder).to(self.train.device)
        with Distiller(teacher, self.quantized, self.train.distill) as distiller:
            yield Training(self.quantized, self.train, distiller)

    def state(self, variant: str) -> State:
        artifact = {"ptq": PTQ_STATE, "qat": QAT_STATE}[variant]
        return self._read(artifact)

    def _read(self, name: str) -> dict[str, torch.Tensor]:
        command = f"edgegd qat --force {self.folder.path}"
        arrays = read_arrays(self.folder.artifact(name), stored_plan(self.folder), command)
        return {key: torch.from_numpy(array) for key, array in arrays.items()}

    def make(self) -> dict[str, Any]:
        """All of descent-landscape.json."""
        started = time.monotonic()
        start, points, path = self._stored()
        plane = Plane(start, points, list(filters_of(self.quantized.model)), self.settings.seed)
        places = {"start": (0.0, 0.0)} | {name: plane.coordinates(state) for name, state in points.items()}
        way = self._way(plane, path) if path else None
        for axis in plane.axes:
            if not axis.towards:
                self.progress.note("the descent gives no second direction: a random one, filter-normalized, is taken")
        xs, ys = self._grid(places, way)
        batch = next(iter(self.batches(self.images).epoch(1)))
        with self.training() as training, surface(training, batch) as losses:
            begun = time.monotonic()
            at_points = {name: losses.at(plane.state(*place)) for name, place in places.items()}
            self._announce((time.monotonic() - begun) / len(places))
            grid = over_plane(losses, plane, xs, ys, self.progress)
        with as_made(self.folder, DESCENT):
            record = self.folder.read_json(DESCENT)
            best = int(record["best_epoch"])
        found = {
            "schema": 1,
            "title": "The mountain: the loss around the descent",
            "sentence": "",
            "images": self.images,
            "best_epoch": best,
            "epochs": len(record["epochs"]),
            "axes": [dataclasses.asdict(axis) for axis in plane.axes],
            "points": {n: {"x": p[0], "y": p[1], "losses": at_points[n]} for n, p in places.items()},
            "grid": {"x": xs, "y": ys, "losses": grid},
            "path": way,
            "cut": self._cut(),
            "distilled": self.train.distill.asks,
            "seconds": round(time.monotonic() - started, 1),
        }
        found["sentence"] = sentence_of(found)
        return finite(found)  # type: ignore[no-any-return]

    def _stored(self) -> tuple[State, dict[str, State], dict[str, torch.Tensor]]:
        """The start, the other points by name, and the rows of the path, if this folder has one."""
        points: dict[str, State] = {"best": self.state("qat")}
        with as_made(self.folder, PTQ_STATE):
            start = self.state("ptq")
            _require_layout(start, points["best"])
        if not self.folder.artifact(DESCENT_PATH).exists():
            self.progress.note("this folder has no record of the path (an older edgegd): it is drawn without it")
            return start, points, {}
        require_current(self.folder, DESCENT_PATH)
        with as_made(self.folder, DESCENT_PATH):
            stored = self._read(DESCENT_PATH)
            last = {name.removeprefix("last/"): value for name, value in stored.items() if name.startswith("last/")}
            _require_layout(last, points["best"])
            path = {name: stored[f"path/{name}"] for name in ("steps", "weights", "average")}
            sampled = len(weight_sample(filters_of(self.quantized.model)).counts)
            shapes = {name: tuple(rows.shape) for name, rows in path.items()}
            rows = len(path["steps"])
            if shapes != {"steps": (rows,), "weights": (rows, sampled), "average": (rows, sampled)} or not rows:
                raise ValueError(f"rows of {shapes}, not of {sampled} weights")
        return start, {**points, "last": last}, path

    def _announce(self, seconds: float) -> None:
        """How long it will take, from how long a place took."""
        places = self.settings.grid**2 + self.settings.cut
        minutes = places * seconds / 60
        self.progress.note(
            f"{places} places, in float and quantized, {seconds:.2f} s a place: about {max(minutes, 0.1):.1f} minutes"
        )

    def _way(self, plane: Plane, path: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Where the descent was, step by step: its weights and their average, and how much of it the plane holds."""
        sample = weight_sample(plane.filters)
        way: dict[str, Any] = {"steps": path["steps"].tolist(), "sampled": len(sample.counts)}
        for name in ("weights", "average"):
            places, shares = plane.coordinates_of_samples(path[name], sample)
            way[name] = {"x": places[:, 0].tolist(), "y": places[:, 1].tolist(), "share": shares.tolist()}
        return way

    def _grid(
        self, places: dict[str, tuple[float, float]], way: dict[str, Any] | None
    ) -> tuple[list[float], list[float]]:
        """Coordinates of columns and rows: around all points and the path, no side much thinner than the other."""
        columns = [list(column) for column in zip(*places.values(), strict=True)]
        for kind in ("weights", "average") if way else ():
            columns = [column + way[kind][axis] for column, axis in zip(columns, "xy", strict=True)]  # type: ignore[index]
        spans = [max(column) - min(column) for column in columns]
        longest = max(*spans, 0.0)
        sides = [max(span * (1 + 2 * _MARGIN), longest * _THINNEST) or _NARROWEST for span in spans]
        middles = [(max(column) + min(column)) / 2 for column in columns]
        xs, ys = (
            torch.linspace(middle - side / 2, middle + side / 2, self.settings.grid, dtype=torch.float64).tolist()
            for middle, side in zip(middles, sides, strict=True)
        )
        return xs, ys

    def _cut(self) -> dict[str, Any]:
        """The loss along one step of the descent, made again, with the parabola that its length was judged by."""
        batches = self.batches(self.train.batch)
        steps = len(batches) * self.train.epochs
        warmup = round(self.train.warmup_epochs * len(batches))
        number = self.settings.step or min(warmup + 1, steps, _MOST_REPEATED)
        if number > steps:
            raise LandscapeError(
                f"The descent had no step {number}.",
                expected=f"--step 1 to {steps}",
                found=str(number),
                mend="name one of its steps",
            )
        with self.training() as training:
            step = repeat_step(training, batches, number, self.progress)
            with surface(training, step.batch) as losses:
                ts = torch.linspace(_CUT_FROM, _CUT_TO, self.settings.cut, dtype=torch.float64).tolist()
                found = along_step(losses, step, ts, self.progress)
        return {
            "step": number,
            "is_recorded": self._is_recorded(step),
            "t": ts,
            "losses": found,
            "roughness": {form: roughness(values) for form, values in found.items()},
            "step_length": step.length,
        }

    def _is_recorded(self, step: Step) -> bool | None:
        """Whether the step made again has the very loss that the descent recorded; None where that cannot be read."""
        try:
            lines = self.folder.artifact(DESCENT_STEPS).read_text(encoding="utf-8").splitlines()
            return bool(json.loads(lines[step.number - 1])["loss"] == step.loss)
        except (OSError, ValueError, IndexError, KeyError, TypeError):
            return None


def _require_layout(state: State, expected: State) -> None:
    """ValueError where a state has not the tensors of the other one."""
    shapes = [{name: tuple(value.shape) for name, value in one.items()} for one in (state, expected)]
    if shapes[0] != shapes[1]:
        raise ValueError("its tensors are those of another model")
