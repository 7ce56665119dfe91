"""`edgegd descent landscape` on a finished run, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from edgegd.pipeline.run_folder import RunFolder

pytest.importorskip("torch")
Command = Callable[..., Any]
OURS = ("descent-landscape.json", "descent-landscape.svg")
SMALL = ("--grid", "3", "--cut", "5")


def hashes(folder: Path) -> dict[str, str]:
    """Of everything in a folder but the lock, through no link."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.name not in (".lock", *OURS)
    }


@pytest.fixture(scope="module")
def drawn(finished_run: Path, edgegd_command: Command, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A copy of the finished run with its landscape; what was printed; the hashes before and after."""
    folder = Path(shutil.copytree(finished_run, tmp_path_factory.mktemp("drawn") / "run", symlinks=True))
    before = hashes(folder)
    outcome = edgegd_command("descent", "landscape", folder, *SMALL, "--json")
    assert outcome.code == 0, outcome.err
    return folder, json.loads(outcome.out), before, hashes(folder)


def test_everything_of_the_run_stays(drawn: Any) -> None:
    folder, printed, before, after = drawn
    assert before == after and len(before) > 15
    assert json.loads((folder / OURS[0]).read_text()) == printed


def test_it_says_what_is_drawn(drawn: Any) -> None:
    folder, printed, *_ = drawn
    assert printed["title"] and printed["sentence"].endswith(".")
    assert printed["images"] == 4 and len(printed["cut"]["t"]) == 5
    for form in ("float", "quantized"):
        assert [len(row) for row in printed["grid"]["losses"][form]] == [3, 3, 3]
    assert printed["points"]["start"]["x"] == printed["points"]["start"]["y"] == 0.0
    # Four steps: the first row is the start, the last one the last point.
    way = printed["path"]
    assert way["steps"] == [0, 1, 2, 3, 4]
    assert (way["weights"]["x"][0], way["weights"]["y"][0]) == (0.0, 0.0)
    assert way["weights"]["x"][-1] == pytest.approx(printed["points"]["last"]["x"], rel=1e-4)
    assert way["weights"]["share"][0] is None and way["weights"]["share"][-1] == pytest.approx(1, abs=1e-3)
    # The step that is cut is the descent's own, bit for bit.
    assert printed["cut"]["is_recorded"] is True
    losses = printed["cut"]["losses"]["quantized"]
    recorded = json.loads((folder / "descent.jsonl").read_text().splitlines()[printed["cut"]["step"] - 1])
    assert losses[1] == pytest.approx(recorded["loss"], rel=1e-5)  # t = 0


def resealed(run: Path, name: str) -> None:
    """The manifest of stage qat agrees with a file again that a test has changed."""
    manifest = run / "manifests/qat.json"
    data = json.loads(manifest.read_text())
    data["outputs"][name] = hashlib.sha256((run / name).read_bytes()).hexdigest()
    manifest.write_text(json.dumps(data))


def test_a_best_point_that_is_the_start(edgegd_command: Command, run_copy: Path) -> None:
    shutil.copyfile(run_copy / "ptq.safetensors", run_copy / "qat.safetensors")
    record = json.loads((run_copy / "descent.json").read_text())
    (run_copy / "descent.json").write_text(json.dumps(record | {"best_epoch": 0}))
    for name in ("qat.safetensors", "descent.json"):
        resealed(run_copy, name)
    outcome = edgegd_command("descent", "landscape", run_copy, *SMALL, "--json")
    assert outcome.code == 0 and "a random one, filter-normalized, is taken" in outcome.err
    printed = json.loads(outcome.out)
    assert printed["points"]["best"] == printed["points"]["start"]
    assert [axis["towards"] for axis in printed["axes"]] == ["last", ""]
    assert "No epoch was better" in printed["sentence"] and "The second direction is random" in printed["sentence"]


def test_the_picture_is_text_and_always_the_same(drawn: Any) -> None:
    from edgegd.report.landscape_picture import landscape_svg

    folder, printed, *_ = drawn
    picture = (folder / OURS[1]).read_bytes()
    words = " ".join(text for text in ElementTree.fromstring(picture).itertext() if text.strip())
    for word in (
        "in float",
        "under fake quantization",
        "start",
        "best epoch",
        "last step",
        "the parabola",
        "% of every",
    ):
        assert word in words
    assert landscape_svg(printed) == picture and b"<dc:date>" not in picture


def test_a_folder_without_a_path(edgegd_command: Command, run_copy: Path) -> None:
    (run_copy / "descent-path.safetensors").unlink()
    outcome = edgegd_command("descent", "landscape", run_copy, *SMALL)
    assert outcome.code == 0 and "no record of the path" in outcome.err and "none is drawn" in outcome.out
    found = json.loads((run_copy / OURS[0]).read_text())
    assert found["path"] is None and set(found["points"]) == {"start", "best"}


def test_a_damaged_path(edgegd_command: Command, run_copy: Path) -> None:
    (run_copy / "descent-path.safetensors").write_bytes(b"no")
    outcome = edgegd_command("descent", "landscape", run_copy, *SMALL)
    assert outcome.code == 53 and "is not as stage qat left it" in outcome.err


@pytest.mark.parametrize("wrong", ["rows", "last"])
def test_a_path_of_another_model_under_a_manifest_that_agrees(
    edgegd_command: Command, run_copy: Path, wrong: str
) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = run_copy / "descent-path.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    name = "path/weights" if wrong == "rows" else next(name for name in tensors if name.startswith("last/model."))
    tensors[name] = tensors[name][:, :-1].contiguous() if wrong == "rows" else tensors[name][:-1].contiguous()
    save_file(tensors, path, metadata)
    resealed(run_copy, path.name)
    outcome = edgegd_command("descent", "landscape", run_copy, *SMALL)
    assert outcome.code == 53 and "descent-path.safetensors does not hold what its stage writes" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(("--batch", "9"), 76, "expected: --batch 1 to 8", id="a batch larger than the data"),
        pytest.param((*SMALL, "--step", "5"), 76, "expected: --step 1 to 4", id="a step after the last"),
        pytest.param(("--grid", "1"), 2, "1 is not in the range", id="a grid of one place"),
        pytest.param(("--cut", "2"), 2, "2 is not in the range", id="a cut without a middle"),
    ],
)
def test_impossible_wishes(
    edgegd_command: Command, run_copy: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    before = hashes(run_copy)
    outcome = edgegd_command("descent", "landscape", run_copy, *arguments)
    assert outcome.code == code and said in outcome.err
    assert hashes(run_copy) == before and not (run_copy / OURS[0]).exists()


def test_a_run_without_qat_and_one_in_use(edgegd_command: Command, run_copy: Path) -> None:
    with RunFolder.open_existing(run_copy).locked():
        outcome = edgegd_command("descent", "landscape", run_copy)
    assert outcome.code == 51 and outcome.err.count("Another process works in") == 1
    (run_copy / "manifests/qat.json").unlink()
    assert edgegd_command("descent", "landscape", run_copy).code == 53
    (run_copy / "qat.safetensors").unlink()
    outcome = edgegd_command("descent", "landscape", run_copy)
    assert outcome.code == 53 and "edgegd qat" in outcome.err
    assert not (run_copy / OURS[0]).exists()
