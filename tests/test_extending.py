"""docs/extending.md is right: a copy of the package, changed as the page says, runs with all of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/extending.md").read_text()
pytest.importorskip("torch")


def blocks(language: str) -> Iterator[str]:
    """The page's blocks of code in a language, in order."""
    yield from re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def follow(root: Path) -> list[str]:
    """Does in `root` what the page says; returns the files that it names."""
    changed = []
    for block in blocks("python"):
        name = block.splitlines()[0].removeprefix("# ")
        assert not (root / name).exists(), f"{name} exists already"
        (root / name).write_text(block.split("\n", 1)[1])
        changed.append(name)
    for block in blocks("diff"):
        head, *hunks = re.split(r"^@@\n", block, flags=re.MULTILINE)
        (name,) = re.findall(r"^\+\+\+ b/(\S+)$", head, re.MULTILINE)
        text = (root / name).read_text()
        for hunk in hunks:
            before = "".join(line[1:] + "\n" for line in hunk.splitlines() if line[0] in " -")
            after = "".join(line[1:] + "\n" for line in hunk.splitlines() if line[0] in " +")
            assert text.count(before) == 1, f"docs/extending.md shows lines that {name} does not have once:\n{before}"
            text = text.replace(before, after)
        (root / name).write_text(text)
        changed.append(name)
    return changed


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package after all that the page says."""
    root = tmp_path_factory.mktemp("extended")
    for folder in ("edgegd", "recipes", "models"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    follow(root)
    return root


def run(extended: Path, folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
    """A command of the copy."""
    return subprocess.run(
        [sys.executable, "-m", "edgegd.cli.main", *map(str, command)],
        env={**os.environ, "PYTHONPATH": str(extended)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_the_page_adds_is_a_module_and_a_registry_each() -> None:
    new = [block.splitlines()[0].removeprefix("# ") for block in blocks("python")]
    changed = re.findall(r"^\+\+\+ b/(\S+)$", PAGE, re.MULTILINE)
    assert len(new) >= 5 and all(f"`{Path(name).parent}/`" in PAGE for name in new)
    registries = {*re.findall(r"in `(\S+?\.py)` \|$", PAGE, re.MULTILINE), "edgegd/pipeline/artifacts.py"}
    assert {*changed} == registries


@pytest.mark.training
@pytest.mark.slow
def test_a_run_has_all_that_the_page_adds(extended: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    outcome = run(
        extended,
        tmp_path,
        *("run", tiny_recipe, "--run-dir", "run", "--set", "target.profile=toy", "--set", "quant.observer=trimmed"),
    )
    assert outcome.returncode == 0, outcome.stderr
    made = tmp_path / "run"
    assert json.loads((made / "plan.json").read_text())["profile"] == "toy"
    ranges = json.loads((made / "calibration.json").read_text())["ranges"].values()
    assert "trimmed" in {chosen["observer"] for chosen in ranges} <= {"trimmed", "constant", "known", "pixels"}
    assert json.loads((made / "size.json").read_text())["parameters"] > 1000
    assert "add-zero" in {report["name"] for report in json.loads((made / "passes.json").read_text())["qat"]}
    assert "## Versions\n\nMeasured with onnxruntime " in (made / "report.md").read_text()
    assert "<h2>Versions</h2>\n<p>Measured with onnxruntime " in (made / "report.html").read_text()
    again = run(extended, tmp_path, "size", "run")
    assert again.returncode == 0 and "size: unchanged" in again.stdout


def test_the_pass_of_the_page_rewrites_and_refuses(extended: Path, tmp_path: Path) -> None:
    program = """
import numpy as np, onnx, onnx_ir as ir
from edgegd.export.passes.add_zero import AddZero
zeros = [onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in (("one", 1), ("four", 4))]
node, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
nodes = [node("Add", ["x", "one"], ["y"], "small"), node("Add", ["y", "four"], ["z"], "wide")]
graph = onnx.helper.make_graph(nodes, "g", [info("x", 1, [4])], [info("z", 1, [4])], zeros)
done = AddZero()
done(ir.from_proto(onnx.helper.make_model(graph)))
print(done.report.applied, [place for place, _ in done.report.refused])
"""
    outcome = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(extended)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.stdout == "('small',) ['wide']\n", outcome.stderr


def test_the_family_of_the_page_is_planned_and_trained(extended: Path, tmp_path: Path) -> None:
    program = """
import torch
from edgegd.detectors.deployment import class_names, deploy, plan_detector
from edgegd.detectors.families.registry import family_of
from edgegd.detectors.families.toy import ToyDetector
from edgegd.detectors.losses import label_loss, predict
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
torch.manual_seed(0)
model = deploy(ToyDetector(("car", "sign")).eval())
plan = plan_detector(model, 32, "x86-vnni")
quantized = QuantizedModel(model, plan)
images = torch.rand(2, 3, 32, 32)
calibrate(quantized, [images], "minmax")
batch = {"img": images, "cls": torch.tensor([[0.0], [1.0]]), "batch_idx": torch.tensor([0.0, 1.0])}
optimizer = torch.optim.SGD(quantized.parameters(), 0.1)
losses = []
for _ in range(5):
    quantized.train()
    loss, _ = label_loss(quantized, batch, predict(quantized, batch))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(float(loss))
quantized.update_ranges()
kept = [op.address for op in plan.convolutions("float")]
print(family_of(model).name, class_names(model), kept, losses[-1] < losses[0], tuple(quantized.eval()(images).shape))
"""
    outcome = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(extended)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.stdout == "toy ('car', 'sign') ['head.boxes:conv2d:0'] True (2, 6, 64)\n", outcome.stderr
