"""No foreign file runs code unless it is trusted: a canary for each of the ways, and for the one way out.

Every canary is code that makes a file. Where nothing is trusted the file must not appear, and the command must end with
a documented exit code; with the way out it must appear, which shows that the canary itself works.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from edgegd.errors import RecipeError, UntrustedFileError
from edgegd.trust import TRUST_VARIABLE, is_trusted, trusting

torch = pytest.importorskip("torch")
pytest.importorskip("ultralytics")

from edgegd.data.dataset import open_dataset  # noqa: E402
from edgegd.data.view import ultralytics_yaml  # noqa: E402
from edgegd.data.yaml_set import read_data_yaml  # noqa: E402
from edgegd.detectors.architecture import find_architecture  # noqa: E402
from edgegd.detectors.float_checkpoint import open_architecture, open_checkpoint  # noqa: E402
from edgegd.pipeline.run_folder import RunFolder  # noqa: E402
from edgegd.recipe.load import parse_recipe  # noqa: E402
from edgegd.recipe.schema import DataSection  # noqa: E402

Command = Callable[..., Any]


class Canary:
    """Unpickled, it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """The file that foreign code would make."""
    return tmp_path / "canary"


def evil_checkpoint(path: Path, canary: Path, tiny_checkpoint: Path) -> Path:
    """A checkpoint that works, and makes the file when it is loaded whole."""
    content = torch.load(tiny_checkpoint, map_location="cpu", weights_only=False)
    torch.save(content | {"canary": Canary(canary)}, path)
    return path


# 1. A pickled checkpoint.


@pytest.mark.parametrize("form", ["zip", "legacy", "bare pickle", "bare pickle of protocol 2"])
def test_a_checkpoint(form: str, tmp_path: Path, canary: Path) -> None:
    path = tmp_path / "weights.pt"
    if form.startswith("bare"):
        path.write_bytes(pickle.dumps({"model": Canary(canary)}, protocol=2 if "2" in form else 4))
    else:
        torch.save({"model": Canary(canary)}, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(Exception) as caught:
        open_checkpoint(path)
    assert caught.value.exit_code in (31, 57) and not canary.exists()  # type: ignore[attr-defined]
    with trusting(), pytest.raises(Exception, match=r"weights\.pt"):  # it holds no model, but it was opened
        open_checkpoint(path)
    assert canary.exists()


def test_a_checkpoint_in_stage_data(
    tiny_set: Path, tiny_checkpoint: Path, tmp_path: Path, canary: Path, edgegd_command: Command
) -> None:
    weights = evil_checkpoint(tmp_path / "evil.pt", canary, tiny_checkpoint)
    recipe = tmp_path / "my.yaml"
    recipe.write_text(
        f"version: 1\nmodel: {{weights: {weights}, imgsz: 64}}\ndata: {{source: streets, path: {tiny_set}}}\n"
    )
    command = ("run", recipe, "--run-dir", tmp_path / "run", "--until", "data")
    outcome = edgegd_command(*command)
    assert outcome.code == UntrustedFileError.exit_code and "--trust" in outcome.err and not canary.exists()
    assert edgegd_command(*command, "--trust").code == 0 and canary.exists()
    assert not is_trusted(), "the option counts for its command alone"


def test_safe_loading_does_not_depend_on_when_ultralytics_was_imported(
    tiny_checkpoint: Path, tmp_path: Path, canary: Path
) -> None:
    weights = evil_checkpoint(tmp_path / "evil.pt", canary, tiny_checkpoint)
    code = (
        "import ultralytics.nn.tasks, sys\nfrom pathlib import Path\nassert not ultralytics.nn.tasks.SAFE_LOAD\n"
        "from edgegd.errors import UntrustedFileError\n"
        "from edgegd.detectors.float_checkpoint import open_checkpoint\n"
        "try: open_checkpoint(Path(sys.argv[1]))\nexcept UntrustedFileError: sys.exit(57)\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "ULTRALYTICS_SAFE_LOAD"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(weights)],
        check=False,
        capture_output=True,
        text=True,
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.returncode == 57 and not canary.exists(), done.stderr


# 2. An architecture file.


def architecture(path: Path, **changes: Any) -> str:
    """Ultralytics' yolo26n.yaml with other entries."""
    description = yaml.safe_load(find_architecture("yolo26n.yaml").read_text())
    layer = changes.pop("layer", None)
    if layer:
        description["backbone"][0] = layer
    path.write_text(yaml.safe_dump(description | changes))
    return str(path)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('pathlib').Path('CANARY').touch() or nn.ReLU()",
        "[__import__('pathlib').Path('CANARY').touch(), nn.ReLU()][1]",
        "nn.LeakyReLU(__import__('pathlib').Path('CANARY').touch() or 0.1)",
        "nn.SiLU",
        "nn.Module.__init_subclass__()",
        "nn.init.xavier_uniform_(1)",
        "torch.hub.load('a/b', 'c')",
        "nn.SiLU(**{})",
    ],
)
def test_an_activation(text: str, tmp_path: Path, canary: Path) -> None:
    weights = architecture(tmp_path / "yolo26n.yaml", activation=text.replace("CANARY", str(canary)))
    with pytest.raises(UntrustedFileError, match="activation"):
        open_architecture(weights)
    assert not canary.exists()
    if "CANARY" in text:
        with trusting():
            open_architecture(weights)
        assert canary.exists()


@pytest.mark.parametrize("text", ["nn.ReLU()", "torch.nn.LeakyReLU(0.1)", "nn.ReLU(inplace=True)", " nn.Hardswish() "])
def test_an_activation_that_is_one(text: str, tmp_path: Path) -> None:
    model = open_architecture(architecture(tmp_path / "yolo26n.yaml", activation=text))
    assert any(type(module).__name__ == text.split("nn.")[1].split("(")[0] for module in model.modules())


@pytest.mark.parametrize(
    "layer",
    [
        [-1, 1, "torch_safe_load", ["evil.pt"]],
        [-1, 1, "load_checkpoint", ["evil.pt"]],
        [-1, 1, "TorchVision", [64, "resnet18", "DEFAULT"]],
        [-1, 1, "nn.functional.relu", []],
        [-1, 1, "torchvision.ops.__loader__", []],
        [-1, 1, "Conv", ["__import__('os').system('true')", 3, 2]],
        [-1, 1, 7, []],
    ],
    ids=[
        "a function",
        "another function",
        "weights from the network",
        "a function of torch",
        "not a layer of torchvision",
        "a call as argument",
        "a number",
    ],
)
def test_a_layer_that_is_none(layer: list[Any], tmp_path: Path) -> None:
    with pytest.raises(UntrustedFileError):
        open_architecture(architecture(tmp_path / "yolo26n.yaml", layer=layer))


def test_the_description_in_a_checkpoint(
    tiny_set: Path, tiny_checkpoint: Path, tmp_path: Path, canary: Path, edgegd_command: Command
) -> None:
    content = torch.load(tiny_checkpoint, map_location="cpu", weights_only=False)
    content["model"].yaml["activation"] = f"__import__('pathlib').Path({str(canary)!r}).touch() or nn.ReLU()"
    content["model"].names = {0: "another", 1: "class", 2: "each"}  # so that it is trained, from its description
    torch.save(content, tmp_path / "weights.pt")
    recipe = tmp_path / "my.yaml"
    recipe.write_text(
        f"version: 1\nmodel: {{weights: {tmp_path / 'weights.pt'}, imgsz: 32, float: {{epochs: 1}}}}\n"
        f"data: {{source: streets, path: {tiny_set}}}\n"
    )
    command = ("run", recipe, "--run-dir", tmp_path / "run", "--until", "float")
    outcome = edgegd_command(*command)
    assert outcome.code == 57 and "activation" in outcome.err and not canary.exists()
    assert edgegd_command(*command, "--trust").code == 0 and canary.exists()


# 3. A script in a data YAML.


@pytest.mark.parametrize("form", ["python", "bash"])
def test_a_script_in_a_data_yaml(form: str, tmp_path: Path, canary: Path) -> None:
    script = tmp_path / "get.sh"
    script.write_text(f"touch {canary}\n")
    python = f"from pathlib import Path\nPath({str(canary)!r}).touch()\n"
    described = tmp_path / "data.yaml"
    described.write_text(
        yaml.safe_dump(
            {
                "path": str(tmp_path / "set"),
                "train": "train",
                "val": "val",
                "names": ["a"],
                "download": python if form == "python" else f"bash {script}",
            }
        )
    )
    with pytest.raises(UntrustedFileError, match=r"data\.yaml"):
        open_dataset(DataSection(path=str(described)))
    assert not canary.exists()
    with trusting(), pytest.raises(Exception, match=r"data\.yaml"):  # the script brings no images
        open_dataset(DataSection(path=str(described)))
    assert canary.exists()


@pytest.mark.parametrize(
    "download",
    [
        "http://a.org/x.zip\nprint(1)",
        "http:print(1)#.zip",
        "https://a.org/x.zip; print(1)",
        "HTTP://a.org/x",
        "x.zip",
        ["bash x"],
        "https://a.org/%3F.zip'",
    ],
)
def test_what_is_not_the_address_of_one_archive_is_a_script(download: Any, tmp_path: Path) -> None:
    described = tmp_path / "data.yaml"
    described.write_text(
        yaml.safe_dump(
            {"path": str(tmp_path / "set"), "train": "train", "val": "val", "names": ["a"], "download": download}
        )
    )
    with pytest.raises(UntrustedFileError):
        read_data_yaml(described)


# 4. A command in a recipe.


def recipe_with_host(host: str) -> str:
    return f"version: 1\ndata: {{path: d.yaml}}\ntarget: {{host: {json.dumps(host)}}}\n"


def test_a_command_in_a_recipe() -> None:
    text = recipe_with_host("command:touch /tmp/never")
    with pytest.raises(RecipeError, match="target add"):
        parse_recipe(text)
    assert parse_recipe(text, ["target.host=command:docker run box python3"]).target.host.startswith("command:docker")
    assert parse_recipe(text, ["target.host=pi5"]).target.host == "pi5"
    assert parse_recipe(recipe_with_host("ssh://pi@board")).target.host == "ssh://pi@board"
    with trusting():
        assert parse_recipe(text).target.host == "command:touch /tmp/never"


def test_a_command_in_the_recipe_of_a_run_folder(run_copy: Path, canary: Path, edgegd_command: Command) -> None:
    file = run_copy / "recipe.yaml"
    recipe = yaml.safe_load(file.read_text())
    recipe["target"]["host"] = f"command:touch {canary}"
    file.write_text(yaml.safe_dump(recipe))
    for command in (("latency", run_copy), ("gate", run_copy, "--baseline", run_copy / "fp32.onnx")):
        outcome = edgegd_command(*command)
        assert outcome.code == 10 and "command" in outcome.err and not canary.exists()
    assert edgegd_command("latency", "run", run_copy, "--force", "--trust").code != 0  # `touch` is no worker
    assert canary.exists()


# 5. and 6. Checkpoints of a run folder from elsewhere.


@pytest.mark.parametrize(("name", "stage"), [("float.pt", "ptq"), ("float.pt", "export")])
def test_a_checkpoint_in_a_run_folder(
    name: str, stage: str, run_copy: Path, tiny_checkpoint: Path, canary: Path, edgegd_command: Command
) -> None:
    from edgegd.pipeline.run_folder import sha256_of

    evil_checkpoint(run_copy / name, canary, tiny_checkpoint)
    for manifest in (run_copy / "manifests").iterdir():  # whoever sends a run folder can make its manifests fit
        content = json.loads(manifest.read_text())
        for files in (content["outputs"], content["inputs"]["artifacts"]):
            if name in files:
                files[name] = sha256_of(run_copy / name)
        manifest.write_text(json.dumps(content))
    outcome = edgegd_command(stage, run_copy, "--force")
    assert outcome.code == 57 and not canary.exists()
    edgegd_command(stage, run_copy, "--force", "--trust")
    assert canary.exists()


def test_an_adapted_checkpoint(run_copy: Path, tiny_checkpoint: Path, canary: Path) -> None:
    from edgegd.pipeline.models import float_model, model_to_quantize

    folder = RunFolder.open_existing(run_copy)
    evil_checkpoint(run_copy / "adapted.pt", canary, tiny_checkpoint)
    evil_checkpoint(run_copy / "float.pt", canary, tiny_checkpoint)
    with pytest.raises(UntrustedFileError):
        float_model(folder)
    recipe = parse_recipe((run_copy / "recipe.yaml").read_text(), ["quant.activation=relu"])
    (run_copy / "activation.json").write_text(
        json.dumps(
            {"schema": 1, "activation": "relu", "saving": 0.5, "relu": [], "silu": [], "units": [], "conditions": {}}
        )
    )
    folder.recipe = recipe
    with pytest.raises(UntrustedFileError):
        model_to_quantize(folder)
    assert not canary.exists()


# 7. Label caches of a run folder from elsewhere.


def test_a_label_cache(tiny_set: Path, tmp_path: Path, canary: Path) -> None:
    from ultralytics.data.dataset import YOLODataset

    dataset = open_dataset(DataSection(source="streets", path=str(tiny_set)))
    view = tmp_path / "view"

    def load() -> None:
        data = yaml.safe_load((view / "data.yaml").read_text())
        YOLODataset(img_path=str(view / "train.txt"), data=data, imgsz=64, augment=False)

    ultralytics_yaml(dataset, view)
    for cache in ("0000.cache", "0001.cache"):
        with (view / "labels" / cache).open("wb") as file:
            np.save(file, np.array(Canary(canary), dtype=object), allow_pickle=True)
    planted = tmp_path / "copy"
    shutil.copytree(view / "labels", planted, symlinks=True)
    ultralytics_yaml(dataset, view)
    load()
    assert not canary.exists()
    for cache in ("0000.cache", "0001.cache"):
        shutil.copy(planted / cache, view / "labels" / cache)
    load()
    assert canary.exists(), "Ultralytics unpickles a cache that it finds"


# 8. Files planted in the working folder: tests/recipe/test_planted_files.py.


# The way out is one.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1", True),
        ("true", True),
        ("YES", True),
        (" on ", True),
        ("", False),
        ("0", False),
        ("false", False),
        ("maybe", False),
    ],
)
def test_the_variable(value: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST_VARIABLE, value)
    assert is_trusted() == expected
    with trusting():
        assert is_trusted()
    assert is_trusted() == expected


def test_ultralytics_own_variable_is_no_way_out(
    tiny_checkpoint: Path, tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ULTRALYTICS_SAFE_LOAD", "false")
    with pytest.raises(UntrustedFileError):
        open_checkpoint(evil_checkpoint(tmp_path / "evil.pt", canary, tiny_checkpoint))
    assert not canary.exists()
