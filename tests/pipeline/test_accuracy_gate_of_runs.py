"""`edgegd gate RUN_DIR --accuracy`, by the command. Oracle: models that find a known part of the boxes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("pycocotools")

from played_accuracy import finish, make_set, play_run

from edgegd.accuracy.evaluate import score
from edgegd.data.labels import label_path
from edgegd.errors import MissingArtifactError, RegressedError
from edgegd.pipeline.accuracy_gate import AccuracyRequest, gate_accuracy
from edgegd.pipeline.artifacts import DETECTIONS
from edgegd.pipeline.measured import stored_measured
from edgegd.pipeline.run_folder import RunFolder

Command = Callable[..., Any]
FOUND = {"fp32": 0, "ptq": 12, "qat": 0}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_set(tmp_path_factory.mktemp("set"), 40)


@pytest.fixture
def run(images: list[Path], tmp_path: Path) -> Path:
    """A run whose PTQ misses every box of 12 of 40 images, and whose QAT is as good as FP32."""
    return play_run(tmp_path / "run", images, FOUND).path


def gated(command: Command, *arguments: object) -> tuple[int, dict[str, Any]]:
    outcome = command("gate", *arguments, "--accuracy", "--json")
    return outcome.code, json.loads(outcome.out)


def test_equal_models_pass_and_a_loss_is_found(run: Path, edgegd_command: Command) -> None:
    code, passed = gated(edgegd_command, run)
    assert (code, passed["verdict"], passed["accuracy"]["verdict"]) == (0, "PASS", "PASS")
    assert passed["candidate"] == f"{run}: qat" and passed["baseline"] == f"{run}: fp32"
    assert "optimistic for QAT" in passed["accuracy"]["reason"]  # best_epoch is 1, chosen on these images
    assert "1 of 2 classes are on fewer than 5 images each (dust)." in passed["accuracy"]["reason"]
    code, lost = gated(edgegd_command, run, "--variant", "ptq")
    assert (code, lost["verdict"]) == (90, "REGRESSED") and "optimistic" not in lost["accuracy"]["reason"]
    assert lost["accuracy"]["difference"] == pytest.approx(-0.4, abs=0.12)  # of cell 12 of 40, of dust 2 of 4 images
    assert json.loads((Path(lost["folder"]) / "gate.json").read_text())["outcome"]["accuracy"] == lost["accuracy"]
    with pytest.raises(RegressedError, match="Worse than the margin of"):
        gate_accuracy(AccuracyRequest(run=run, margin_points=0.5, variant="ptq"), run / "gates/x").require_pass()


def test_other_files_that_detect_the_same_on_few_images_may_differ_on_others(
    run: Path, edgegd_command: Command
) -> None:
    (run / "qat.onnx").write_bytes(b"another model")
    code, found = gated(edgegd_command, run)
    # Dust is on 4 of 40 images: 3671 have 367 of it, of which 1 % may have lost theirs, which is worth half a point.
    assert (code, found["accuracy"]["difference"], found["accuracy"]["images_needed"]) == (91, 0.0, 3671)
    assert gated(edgegd_command, run, "--accuracy-margin", "20")[0] == 91
    assert gated(edgegd_command, run, "--accuracy-margin", "40")[0] == 0  # 60 % of those of dust, by 4 images


def test_the_margin_is_the_recipes_or_the_options(run: Path, edgegd_command: Command) -> None:
    assert gated(edgegd_command, run, "--variant", "ptq", "--accuracy-margin", "70")[0] == 0
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("accuracy_margin: 0.5", "accuracy_margin: 80"))
    assert gated(edgegd_command, run, "--variant", "ptq")[1]["accuracy"]["margin"] == 0.8
    assert gated(edgegd_command, run, "--accuracy-margin", "0")[1]["verdict"] == "PASS"  # equal in every image
    for wrong in ("-1", "nan"):
        assert edgegd_command("gate", run, "--accuracy", "--accuracy-margin", wrong).code == 2


def test_people_get_a_table_a_pull_request_and_a_junit_file(run: Path, edgegd_command: Command, tmp_path: Path) -> None:
    junit, markdown = tmp_path / "gate.xml", tmp_path / "gate.md"
    for _ in range(2):  # what was written is replaced
        outcome = edgegd_command(
            "gate", run, "--accuracy", "--variant", "ptq", "--junit", junit, "--markdown", markdown
        )
    assert outcome.code == 90 and "40, 40 with boxes" in outcome.out
    assert "each wrong in at most 5 of 100 gates" in outcome.out
    assert "befalls less than 7.2 % of all images" in outcome.out  # 0.928 ** 40 = 0.05
    assert markdown.read_text().startswith("## Accuracy gate: REGRESSED")
    (case,) = ElementTree.parse(junit).getroot().iter("testcase")
    assert case.get("classname") == "edgegd.accuracy" and case[0].tag == "failure"
    assert case[0].get("type") == "REGRESSED" and "-0.5" in (case[0].text or "")


def test_another_run_is_a_baseline_too(run: Path, images: list[Path], tmp_path: Path, edgegd_command: Command) -> None:
    worse = play_run(tmp_path / "worse", images, FOUND | {"qat": 14}).path
    code, found = gated(edgegd_command, worse, "--against", run)
    assert code == 90 and found["baseline"] == f"{run}: qat"
    assert gated(edgegd_command, run, "--against", worse)[0] == 0
    assert gated(edgegd_command, worse, "--against", run, "--variant", "ptq")[0] == 0


def test_few_images_are_inconclusive_and_say_how_many_are_needed(tmp_path: Path, edgegd_command: Command) -> None:
    for count in (1, 12):
        run = play_run(tmp_path / f"run{count}", make_set(tmp_path / f"set{count}", count), FOUND | {"ptq": count // 3})
        code, found = gated(edgegd_command, run.path, "--variant", "ptq")
        assert (code, found["verdict"], found["accuracy"]["low"]) == (91, "INCONCLUSIVE", None)
        assert "from fewer than 20 nothing is claimed" in found["accuracy"]["reason"]
    assert found["accuracy"]["images_needed"] > 1000 and "An equal model would pass on" in found["accuracy"]["reason"]


def spoil_image(run: Path, images: list[Path]) -> None:
    images[3].write_bytes(b"another picture")


def spoil_label(run: Path, images: list[Path]) -> None:
    label_path(images[3]).write_text("0 0.4 0.5 0.1 0.1\n")


def forget(run: Path, images: list[Path]) -> None:
    (run / DETECTIONS).unlink()


def shorten(run: Path, images: list[Path]) -> None:
    (run / DETECTIONS).write_bytes((run / DETECTIONS).read_bytes()[:-8])


def forge(run: Path, images: list[Path]) -> None:
    """A file that its manifest knows and no stage writes."""
    shorten(run, images)
    finish(RunFolder.open_existing(run))


def rewrite(run: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """The file with other arrays or fields, and a manifest that knows it."""
    import safetensors.numpy
    from safetensors import safe_open

    with safe_open(run / DETECTIONS, framework="np") as file:
        metadata, arrays = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    fields = json.loads(metadata["edgegd"])
    change(arrays, fields)
    (run / DETECTIONS).write_bytes(safetensors.numpy.save(arrays, {"edgegd": json.dumps(fields)}))
    finish(RunFolder.open_existing(run))


def leave_out_a_score(run: Path, images: list[Path]) -> None:
    rewrite(run, lambda arrays, fields: arrays.update({"qat.scores": arrays["qat.scores"][1:]}))


def leave_out_a_model(run: Path, images: list[Path]) -> None:
    rewrite(run, lambda arrays, fields: fields["input_sizes"].pop("qat"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_image, "003.jpg is not the image that was measured"),
        (spoil_label, "003.txt is not as stage `data` read it"),
        (forget, "detections.safetensors does not exist yet"),
        (shorten, "detections.safetensors is not as stage accuracy left it"),
        (forge, "does not hold what its stage writes"),
        (leave_out_a_score, "does not hold what its stage writes"),
        (leave_out_a_model, "does not hold what its stage writes"),
    ],
)
def test_what_changed_since_is_named(
    spoil: Callable[[Path, list[Path]], None],
    said: str,
    tmp_path: Path,
    edgegd_command: Command,
    contents: Callable[[Path], Mapping[str, bytes]],
) -> None:
    own = make_set(tmp_path / "set", 24)
    run = play_run(tmp_path / "run", own, FOUND).path
    spoil(run, own)
    before = contents(tmp_path)
    outcome = edgegd_command("gate", run, "--accuracy")
    assert outcome.code == 53 and said in outcome.err and contents(tmp_path) == before


def test_images_that_are_elsewhere_now_are_counted_and_no_error(tmp_path: Path, edgegd_command: Command) -> None:
    own = make_set(tmp_path / "set", 24)
    run = play_run(tmp_path / "run", own, FOUND).path
    own[0].unlink()
    code, found = gated(edgegd_command, run)
    assert code == 0 and "1 of the images are not here any more" in found["accuracy"]["reason"]


def test_runs_that_were_not_measured_alike_are_refused(run: Path, tmp_path: Path, edgegd_command: Command) -> None:
    def refused(other: RunFolder) -> str:
        outcome = edgegd_command("gate", run, "--accuracy", "--against", other.path)
        assert outcome.code == 93 and not (run / "gates").exists()
        return str(outcome.err)

    assert "1 images only here (039.jpg)" in refused(play_run(tmp_path / "a", make_set(tmp_path / "fewer", 39), FOUND))
    own = make_set(tmp_path / "more", 40)
    assert "the classes cell, dust here, dust, cell there" in refused(
        play_run(tmp_path / "b", own, FOUND, names=("dust", "cell"))
    )
    assert "accuracy.conf 0.001 here, 0.25 there" in refused(
        play_run(tmp_path / "c", own, FOUND, accuracy={"conf": 0.25})
    )
    label_path(own[5]).write_text("0 0.4 0.5 0.1 0.1\n")
    assert "other labels of 1 images (005.jpg)" in refused(play_run(tmp_path / "d", own, FOUND))
    assert "the same images in another order" in refused(
        play_run(tmp_path / "e", list(reversed(make_set(tmp_path / "turned", 40))), FOUND)
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--accuracy", "--margin", "0.1"], "--margin is not an option of --accuracy"),
        (["--accuracy", "--target", "pi5"], "--target is not an option of --accuracy"),
        (["--accuracy-margin", "1"], "--accuracy-margin is an option of --accuracy"),
        (["--against", "runs/other"], "--against is an option of --accuracy"),
    ],
)
def test_options_of_the_other_question_are_refused(
    run: Path, arguments: list[str], said: str, edgegd_command: Command
) -> None:
    outcome = edgegd_command("gate", run, *arguments)
    assert outcome.code == 2 and said in outcome.err


def test_a_model_file_is_no_run_folder(tmp_path: Path, edgegd_command: Command) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    assert edgegd_command("gate", tmp_path / "model.onnx", "--accuracy").code == 50


def test_what_a_run_keeps_is_what_its_accuracy_was_made_from(finished_run: Path) -> None:
    measured = stored_measured(RunFolder.open_existing(finished_run))
    accuracy = json.loads((finished_run / "accuracy.json").read_text())
    assert len(measured.truth.image_paths) == 4 and measured.input_sizes["qat"] == (64, 64)
    for variant, detections in measured.detections.items():
        result = score(detections, measured.truth, max_det=measured.max_det)
        assert result.to_dict()["map50_95"] == accuracy[variant]["map50_95"]
        assert result.per_class == accuracy[variant]["per_class"]


def test_a_gate_of_a_folder_without_results_says_what_to_run(images: list[Path], tmp_path: Path) -> None:
    run = play_run(tmp_path / "run", images, FOUND)
    (run.path / DETECTIONS).unlink()
    with pytest.raises(MissingArtifactError, match=r"edgegd accuracy"):
        gate_accuracy(AccuracyRequest(run=run.path, margin_points=0.5), tmp_path / "gate")
