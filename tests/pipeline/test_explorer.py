"""explorer.html of a real run. Oracles: torch's maps at the head's entrance, and what images.json says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("jinja2")

from edgegd.cli.progress import TerminalProgress
from edgegd.pipeline import explorer as made
from edgegd.pipeline.explored_images import Known
from edgegd.pipeline.explorer import make_explorer, worst
from edgegd.pipeline.neck_features import neck_features
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stored import stored_dataset
from tests.report.pages import Reader


@pytest.fixture
def folder(run_copy: Path) -> RunFolder:
    return RunFolder.open_existing(run_copy)


def explored(folder: RunFolder, most: int = 1000) -> made.Made:
    with folder.locked(), TerminalProgress() as progress:
        return make_explorer(folder, progress, most)


def data_of(folder: RunFolder) -> Any:
    return json.loads(Reader(folder.artifact("explorer.html").read_text()).scripts[1])


def training_images(folder: RunFolder) -> None:
    """What `edgegd labels` would leave, of two training images."""
    first, second = map(str, stored_dataset(folder).train_images[:2])
    rows = [
        {"image": first, "losses": [3.0, 2.0], "kind": "learned", "suspect": 0.1},
        {"image": second, "losses": [3.0, None], "kind": "never learned", "suspect": 0.9},
    ]
    suspects = [{"image": second, "kind": "swapped", "score": 0.1, "box": [1, 2, 3, 4], "class_id": 0, "suggested": 1}]
    content = {"schema": 1, "sentence": "A sentence of training images.", "images": rows, "suspects": suspects}
    folder.write_json("training-images.json", content)


def test_the_features_are_the_means_of_what_enters_the_head(folder: RunFolder) -> None:
    import torch

    from edgegd.detectors.families.registry import family_of
    from edgegd.pipeline.models import float_model, run_preprocessing
    from edgegd.runtime.images import read_for
    from edgegd.runtime.letterbox import preprocess

    model, images = float_model(folder).eval(), stored_dataset(folder).val_images
    preprocessing, expected = run_preprocessing(folder, model), []
    hook = (
        family_of(model)
        .head(model)
        .register_forward_pre_hook(
            lambda _, given: expected.append(torch.cat([one.mean(dim=(2, 3))[0] for one in given[0]]).numpy())
        )
    )
    with torch.no_grad():
        for image in images:
            model(torch.from_numpy(preprocess(read_for(image, preprocessing), preprocessing)[0]))
    hook.remove()
    found = np.array(list(neck_features(folder, images)))
    assert found == pytest.approx(np.array(expected), abs=1e-6)  # random weights: images differ by 1e-5
    assert np.ptp(found, axis=0).max() > 5e-6


def test_a_run_becomes_a_page(run_copy: Path, edgegd_command: Callable[..., Any]) -> None:
    outcome = edgegd_command("explore", run_copy, "--json")
    assert outcome.code == 0, outcome.err
    folder = RunFolder.open_existing(run_copy)
    html = folder.artifact("explorer.html").read_text()
    said = json.loads(outcome.out)
    assert said == {"page": "explorer.html", "images": 4, "known": 4, "bytes": len(html.encode()), "absent": 0}
    found = folder.read_json("images.json")  # it was asked first
    data = data_of(folder)
    assert not Reader(html).problems and "Training images are not shown" in html and found["sentence"][:20] in html
    assert [one["values"]["damage"] for one in data["images"]] == pytest.approx(
        [row["damage"] for row in found["images"]], rel=1e-3
    )
    assert [len(one["boxes"]["labels"]) for one in data["images"]] == [row["labels"] for row in found["images"]]
    assert html.count("data:image/jpeg;base64,") == 4 and html.count("<circle") == 4


def test_training_images_come_with_losses_and_suspects(folder: RunFolder) -> None:
    training_images(folder)
    assert explored(folder).images == 6
    html, images = folder.artifact("explorer.html").read_text(), data_of(folder)["images"]
    assert "A sentence of training images." in html
    second = images[5]
    assert second["values"] == {"training_loss": 3.0, "suspect": 0.9} and second["split"] == ["train"]
    assert second["learned"] == ["never learned"] and second["errors"] == ["swapped label"]
    assert second["boxes"]["suspects"] == [[1, 2, 3, 4, "swapped"]] and second["boxes"]["labels"]
    assert images[4]["values"]["training_loss"] == 2.0


def test_the_map_is_made_once_for_the_same_images(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    explored(folder)
    before = folder.artifact("image-map.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(made, "neck_features", lambda *_: pytest.fail("features were taken again"))
        explored(folder)
    assert folder.artifact("image-map.json").read_bytes() == before
    places = np.array(json.loads(before)["places"])
    assert np.abs(places).max() == pytest.approx(1) and (places.max(axis=0) + places.min(axis=0)) == pytest.approx(0)
    training_images(folder)
    explored(folder)
    assert len(folder.read_json("image-map.json")["places"]) == 6


def test_an_image_that_was_changed_is_said_and_has_no_picture(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = stored_dataset(folder).val_images[1]
    true = made.hash_of_image
    monkeypatch.setattr(made, "hash_of_image", lambda path: "other" if path == changed else true(path))
    result = explored(folder)
    html = folder.artifact("explorer.html").read_text()
    assert result.absent == 1 and result.images == 4
    assert "1 of them are not there any more, or were changed" in html
    assert html.count("data:image/jpeg;base64,") == 3 and html.count("<circle") == 3


def known(name: str, **values: float) -> Known:
    return Known(Path(name), "", values, lambda: pytest.fail("it need not be made"))


def test_the_worst_of_both_kinds_are_shown() -> None:
    reported = [known(f"r{index}", damage=index / 10) for index in range(10)]
    training = [known(f"t{index}", training_loss=index, suspect=0.5 if index == 1 else 0.0) for index in range(10)]
    names = [str(image.path) for image in worst([*reported, *training], 6)]
    assert names == ["r7", "r8", "r9", "t1", "t8", "t9"]
    assert [str(image.path) for image in worst([*reported, *training[:1]], 6)] == ["r5", "r6", "r7", "r8", "r9", "t0"]
    assert [str(image.path) for image in worst([reported[3], *training], 4)] == ["r3", "t1", "t8", "t9"]
    assert worst(reported, 10) == reported


def test_only_the_worst_are_shown_and_it_is_said(folder: RunFolder) -> None:
    result = explored(folder, 2)
    assert (result.images, result.known) == (2, 4)
    assert "The worst 2 of 4 images are shown." in folder.artifact("explorer.html").read_text()
    damages = sorted(row["damage"] for row in folder.read_json("images.json")["images"])
    assert sorted(one["values"]["damage"] for one in data_of(folder)["images"]) == pytest.approx(damages[2:], rel=1e-3)


def test_a_folder_without_measured_accuracy_is_refused(run_copy: Path, edgegd_command: Callable[..., Any]) -> None:
    (run_copy / "detections.safetensors").unlink()
    outcome = edgegd_command("explore", run_copy)
    assert outcome.code == 53 and "edgegd accuracy" in outcome.err and not (run_copy / "explorer.html").exists()


def test_a_damaged_record_of_training_images_is_refused(folder: RunFolder, edgegd_command: Callable[..., Any]) -> None:
    folder.write_json("training-images.json", {"schema": 1, "sentence": "", "images": [{"image": 3}], "suspects": []})
    outcome = edgegd_command("explore", folder.path)
    assert outcome.code == 53 and "training-images.json" in outcome.err
    assert not folder.artifact("explorer.html").exists()
