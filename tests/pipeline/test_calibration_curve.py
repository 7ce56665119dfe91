"""`edgegd calibration` and `quant.calibration_images: auto`, by the command, on 36 images of noise.

One of them, the seventh of the draw, has the full contrast that the others lack.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("torch")

from edgegd.data.calibration import calibration_images
from edgegd.pipeline import calibration_curve as curves
from edgegd.pipeline.run import run_stages
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stages import ptq
from edgegd.pipeline.stored import stored_dataset
from edgegd.pipeline.stored_curve import stored_curve
from edgegd.progress import Silent
from edgegd.recipe.load import parse_recipe

Command = Callable[..., Any]
SHIPPED = Path(__file__).parents[2] / "models/streets-yolo26n-320.pt"
IMAGES, PLANTED = 36, 6


def write_image(path: Path, seed: int, contrast: int) -> None:
    """Noise, grey but for `contrast` levels."""
    noise = np.random.default_rng(seed).integers(-contrast, contrast + 1, (64, 64, 3))
    import cv2

    cv2.imwrite(str(path), np.clip(128 + noise, 0, 255).astype(np.uint8))


def make_noise_set(place: Path, images: int) -> Path:
    """The YAML of a set of grey noise."""
    for split, count in (("train", images), ("val", 1)):
        for kind in ("images", "labels"):
            (place / kind / split).mkdir(parents=True)
        for number in range(count):
            write_image(place / f"images/{split}/{number:02}.png", number, 12)
            (place / f"labels/{split}/{number:02}.txt").write_text("1 0.5 0.5 0.2 0.2\n")
    data = place / "noise.yaml"
    names = "{0: pedestrian, 1: car, 2: traffic sign}"
    data.write_text(f"path: {place}\ntrain: images/train\nval: images/val\nnames: {names}\n")
    return data


def prepared(place: Path, data: Path, *overrides: str, stages: str = "data float ptq") -> RunFolder:
    """A run as far as some stage."""
    text = f"version: 1\nmodel: {{weights: {SHIPPED}, imgsz: 64}}\ndata: {{path: {data}}}\n"
    fast = ("quant.observer=minmax", "quant.refine=none", "quant.calibration_images=16")
    folder = RunFolder.create(place, parse_recipe(text, [*fast, *overrides]), "noise")
    run_stages(folder, stages.split(), Silent())
    return folder


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of which only stage `ptq` and those before it are done, and its planted image."""
    place = tmp_path_factory.mktemp("noise")
    data = make_noise_set(place / "set", IMAGES)
    folder = prepared(place / "run", data, stages="data")
    planted = calibration_images(stored_dataset(folder), IMAGES, 0)[PLANTED]
    write_image(planted, 0, 128)
    return prepared(place / "run", data).path, planted


@pytest.fixture(scope="module")
def found(noise: tuple[Path, Path], edgegd_command: Command) -> dict[str, Any]:
    """What the command prints."""
    outcome = edgegd_command("calibration", noise[0], "--json")
    assert outcome.code == 0, outcome.err
    result: dict[str, Any] = json.loads(outcome.out)
    return result


def test_the_planted_image_is_named_first(noise: tuple[Path, Path], found: dict[str, Any]) -> None:
    first = found["outliers"][0]
    assert first["image"] == str(noise[1]) and first["number"] == PLANTED + 1 and first["groups_found"] > 50
    assert all(group["without"] < 0.9 * group["with"] for group in first["groups"])
    assert str(noise[1]) in found["sentence"] and first["groups"][0]["address"] in found["sentence"]


def test_the_curve_has_disjoint_samples_and_what_they_cost(noise: tuple[Path, Path], found: dict[str, Any]) -> None:
    assert json.loads((noise[0] / "calibration-curve.json").read_text()) == found
    assert (found["images"], found["head_images"], found["head_unit"]) == (27, 9, "nats")
    assert [(point["images"], point["samples"]) for point in found["points"]] == [(8, 3), (16, 1), (27, 1)]
    assert found["points"][0]["spread"]["median"] > 0.05 and found["points"][1]["spread"] is None
    for point in found["points"]:
        errors = point["head_error"]["samples"]
        assert len(errors) == point["samples"] and min(errors) > 0
        assert point["head_error"]["mean"] == pytest.approx(np.exp(np.log(errors).mean()))
    # Only the first sample of 8 has the planted image: its ranges are those of no other image.
    own, *others = found["points"][0]["head_error"]["samples"]
    assert own > max(others)


def test_an_older_curve_is_not_shown(noise: tuple[Path, Path], found: dict[str, Any], tmp_path: Path) -> None:
    folder = RunFolder.open_existing(Path(shutil.copytree(noise[0], tmp_path / "run", symlinks=True)))
    assert stored_curve(folder) == found
    (folder.path / "plan.json").write_text((folder.path / "plan.json").read_text() + "\n")
    assert stored_curve(folder) is None


def test_the_report_shows_it(run_copy: Path, edgegd_command: Command) -> None:
    """Of the finished run of eight images, which are too few."""
    assert edgegd_command("calibration", run_copy, "--images", "64").code == 0
    outcome = edgegd_command("report", run_copy)
    assert outcome.code == 0, outcome.err
    text = (run_copy / "report.md").read_text()
    assert "## Calibration set" in text and "Too few images to tell" in text
    drawn = json.loads((run_copy / "report-data.json").read_text())["pictures"]["calibration-curve"]
    head = drawn["panels"][-1]["series"][0]
    stored = json.loads((run_copy / "calibration-curve.json").read_text())
    assert stored["recommended"] is None and stored["noise"] is None
    assert head["x"] == [point["images"] for point in stored["points"]]
    assert 'data-picture="calibration-curve"' in (run_copy / "report.html").read_text()


def test_ranges_are_those_that_the_stage_chooses(noise: tuple[Path, Path], tmp_path: Path) -> None:
    """With errors weighed at the head, for the 16 images that begin the draw."""
    whole = ("quant.refine=full", "quant.observer=mse")
    with patch.object(ptq, "MOST_REFINED", 2):
        folder = prepared(tmp_path / "run", noise[1].parents[2] / "noise.yaml", *whole)
    chosen: dict[tuple[int, int], Any] = {}

    def judged(counting: Any, sample: Any) -> Any:
        ranges = chosen[sample.start, sample.images] = counting._ranges(sample)
        return ranges, 1.0

    with patch.object(curves._Counting, "_judge", judged):
        curves.calibration_curve(folder, Silent(), 16)
    own = folder.read_json("calibration.json")["ranges"]
    for group, ranges in chosen[0, 16].items():
        assert ranges.scale == pytest.approx(own[group]["scale"], rel=2e-3), group
    assert any(abs(ranges.scale / own[group]["scale"] - 1) > 0.02 for group, ranges in chosen[8, 8].items())


def test_auto_grows_in_the_stage_and_is_recorded(
    noise: tuple[Path, Path], tmp_path: Path, edgegd_command: Command
) -> None:
    data = noise[1].parents[2] / "noise.yaml"
    folder = prepared(tmp_path / "run", data, "quant.calibration_images=auto")
    stored = folder.read_json("calibration.json")
    grown = stored["grown"]
    assert [point["images"] for point in grown["course"]] == [16, 32]
    assert not grown["stable"] and len(stored["images"]) == grown["images"] == IMAGES
    # All of them by number: the same ranges, whoever counted and merged.
    fixed = prepared(tmp_path / "fixed", data, f"quant.calibration_images={IMAGES}")
    for group, chosen in fixed.read_json("calibration.json")["ranges"].items():
        own = stored["ranges"][group]
        assert (own["scale"], own["zero_point"]) == (chosen["scale"], chosen["zero_point"])
    assert fixed.read_json("calibration.json")["grown"] is None
    assert edgegd_command("explain", folder.path, "--json").code == 0


@pytest.mark.parametrize("value", ["autoo", "0", "1.5", "yes"])
def test_another_word_or_number_is_refused(value: str, tiny_recipe: Path, edgegd_command: Command) -> None:
    outcome = edgegd_command("recipe", "validate", tiny_recipe, "--set", f"quant.calibration_images={value}")
    assert outcome.code == 10 and "quant.calibration_images: expected" in outcome.err
    assert {"autoo": "expected a whole number or auto", "0": "expected at least 1, found 0"}.get(
        value, ""
    ) in outcome.err
    assert ("did you mean auto?" in outcome.err) is (value == "autoo")


def test_bad_input_is_named_and_leaves_the_folder_as_it_was(
    noise: tuple[Path, Path],
    found: dict[str, Any],
    tmp_path: Path,
    edgegd_command: Command,
    contents: Callable[[Path], Any],
) -> None:
    run = Path(shutil.copytree(noise[0], tmp_path / "run", symlinks=True))
    before, image, bytes_of = contents(run), noise[1], noise[1].read_bytes()
    times = (image.stat().st_atime_ns, image.stat().st_mtime_ns)
    image.rename(tmp_path / "moved.png")
    outcome = edgegd_command("calibration", run)
    assert outcome.code == 53 and f"{image} is not there any more" in outcome.err
    write_image(image, 5, 30)
    outcome = edgegd_command("calibration", run)
    assert outcome.code == 53 and f"{image} was changed since stage `data` read it" in outcome.err
    image.write_bytes(bytes_of)
    os.utime(image, ns=times)
    assert contents(run) == before
    (run / "plan.json").unlink()
    outcome = edgegd_command("calibration", run)
    assert outcome.code == 53 and "plan.json" in outcome.err and "edgegd ptq" in outcome.err


def test_images_of_one_colour_one_image_and_values_that_are_not_finite(tmp_path: Path, edgegd_command: Command) -> None:
    data = make_noise_set(tmp_path / "set", 2)
    run = prepared(tmp_path / "run", data).path
    outcome = edgegd_command("calibration", run, "--json")
    result = json.loads(outcome.out)
    assert outcome.code == 0 and (result["images"], result["outliers"], result["recommended"]) == (1, [], None)
    assert result["sentence"].startswith("Too few images to tell")
    before = (run / "calibration-curve.json").read_bytes()
    with patch("edgegd.data.calibration.preprocess", lambda image, _: (np.full((1, 3, 64, 64), np.nan, "f4"), None)):
        outcome = edgegd_command("calibration", run)
    assert outcome.code == 63 and "not finite" in outcome.err
    assert (run / "calibration-curve.json").read_bytes() == before
    drawn = calibration_images(stored_dataset(RunFolder.open_existing(run)), 2, 0)
    with patch.object(curves, "calibration_images", lambda *_: drawn[:1]):
        outcome = edgegd_command("calibration", run)
    assert outcome.code == 63 and "at least two training images" in outcome.err
    with patch("edgegd.data.calibration.read_for", lambda path, _: np.zeros((64, 64, 3), np.uint8)):
        outcome = edgegd_command("calibration", run)
    assert outcome.code == 63 and "one constant colour" in outcome.err
