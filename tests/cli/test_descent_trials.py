"""`edgegd descent lr-range` and `compare` on a finished run. Oracles: the folder's bytes before, what is printed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from processes import END_S

pytest.importorskip("torch")

Command = Callable[..., Any]
Contents = Callable[[Path], Mapping[str, bytes]]
RANGE = ("descent-lr-range.json", "descent-lr-range.svg")
COMPARE = ("descent-compare.json", "descent-compare.svg")
WHAT = {"lr-range": ("--group", "weights", "--seeds", "1"), "compare": ("--optimizers", "AdamW=1e-4", "--seeds", "1")}
ids = {"ids": WHAT.keys()}


def others(files: Mapping[str, bytes], *added: str) -> dict[str, bytes]:
    """All files but the lock, which names the last process, and those that a command adds."""
    return {name: content for name, content in files.items() if name not in (".lock", *added)}


@pytest.fixture(scope="module")
def tested(
    finished_run: Path, edgegd_command: Command, contents: Contents, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, str, Mapping[str, bytes]]:
    """A copy of the finished run with a range test of its weights and its ranges, the recipe that it wrote into, what
    it printed, and the files before it."""
    folder = tmp_path_factory.mktemp("tested")
    run = Path(shutil.copytree(finished_run, folder / "run", symlinks=True))
    recipe = folder / "mine.yaml"
    recipe.write_text("# mine\nversion: 1\ndata: {source: streets, path: x, train_images: 1, val_images: 1}\n"
                      "train:\n  lr0: 0.5   # too high\n")  # fmt: skip
    before = contents(run)
    groups = ("--group", "weights", "--group", "zero_points", "--group", "weights")
    outcome = edgegd_command("descent", "lr-range", run, *groups, "--seeds", "2", "--write", recipe)
    assert outcome.code == 0, outcome.err
    return run, recipe, outcome.out, before


def test_a_range_test_adds_two_files_and_changes_none(tested: Any, contents: Contents) -> None:
    run, _, _, before = tested
    after = contents(run)
    assert others(after, *RANGE) == others(before) and set(RANGE) <= after.keys()


def test_what_it_found_is_stored_printed_and_drawn(tested: Any) -> None:
    run, _, printed, _ = tested
    found = json.loads((run / RANGE[0]).read_text())
    assert found["title"] and found["sentence"] in printed
    assert list(found["suggestions"]) == ["weights", "zero_points"] == list(found["smoothed"])
    assert [(c["group"], c["seed"]) for c in found["curves"]] == [
        ("weights", 0), ("zero_points", 0), ("weights", 1), ("zero_points", 1)
    ]  # fmt: skip
    for curve in found["curves"]:
        assert curve["rates"] == sorted(curve["rates"]) and len(curve["rates"]) == len(curve["changes"]) > 1
    assert len({tuple(c["changes"]) for c in found["curves"]}) == 4, "seeds are different trainings"
    picture = (run / RANGE[1]).read_text()
    assert "learning rate of the weights" in picture and "learning rate of the zero points" in picture


def test_the_rates_are_written_and_nothing_else(tested: Any) -> None:
    run, recipe, printed, _ = tested
    keys = json.loads((run / RANGE[0]).read_text())["keys"]
    lines = recipe.read_text().splitlines()
    assert lines[:4] == [
        "# mine",
        "version: 1",
        "data: {source: streets, path: x, train_images: 1, val_images: 1}",
        "train:",
    ]
    assert lines[4].endswith("   # too high") and str(recipe) in printed
    if "train.lr0" in keys:
        assert float(lines[4].split()[1]) == pytest.approx(keys["train.lr0"], rel=0.05)
    else:
        assert lines[4] == "  lr0: 0.5   # too high"
    assert (len(lines) == 6) == ("train.range_lr" in keys)


def test_repeated_it_finds_the_same_bits(tested: Any, edgegd_command: Command) -> None:
    run = tested[0]
    first = json.loads((run / RANGE[0]).read_text())
    outcome = edgegd_command("descent", "lr-range", run, *WHAT["lr-range"], "--json")
    assert outcome.code == 0, outcome.err
    again = json.loads(outcome.out)
    assert again["curves"] == [curve for curve in first["curves"] if (curve["group"], curve["seed"]) == ("weights", 0)]


def test_a_comparison_adds_two_files_and_says_what_it_found(
    run_copy: Path, edgegd_command: Command, contents: Contents
) -> None:
    before = contents(run_copy)
    arguments = ("--optimizers", "sgd=0.001,AdamW=1e-4", "--batch", "full,3", "--epochs", "1", "--seeds", "2")
    outcome = edgegd_command("descent", "compare", run_copy, *arguments)
    assert outcome.code == 0, outcome.err
    after = contents(run_copy)
    assert others(after, *COMPARE) == others(before)
    found = json.loads(after[COMPARE[0]])
    assert found["sentence"] in outcome.out and found["images"] == 8
    assert [(c["optimizer"], c["batch"], c["rate"]) for c in found["contenders"]] == [
        ("SGD", "full", 0.001), ("SGD", 3, 0.001), ("AdamW", "full", 1e-4), ("AdamW", 3, 1e-4)
    ]  # fmt: skip
    for contender in found["contenders"]:
        steps = 1 if contender["batch"] == "full" else 3
        for trace in contender["traces"]:
            assert trace["images"][-1] == 8 and trace["step_count"] == steps == len(trace["steps"])
            assert trace["losses"][0] == found["start"]["loss"] and trace["map50_95"] is not None
    full = [[t["training_losses"] for t in c["traces"]] for c in found["contenders"] if c["batch"] == "full"]
    assert full[0] == full[1], "the first step of every optimizer is on the same images under the same weights"
    assert found["start"]["noise"]["noise"] > 0
    assert all(name in after[COMPARE[1]].decode() for name in ("SGD, full batch", "AdamW, batch 3"))


def test_a_rate_that_is_not_given_is_found_by_a_range_test(run_copy: Path, edgegd_command: Command) -> None:
    arguments = ("--optimizers", "AdamW", "--batch", "4,1", "--epochs", "1", "--seeds", "1", "--json")
    outcome = edgegd_command("descent", "compare", run_copy, *arguments)
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    four, one = found["contenders"]
    assert four["rate_from"] == one["rate_from"] and four["rate_from"].startswith(("range test", "the recipe's"))
    scale = found["start"]["noise"]["scale"]
    expected = 0.5 if scale is None else ((1 + scale / 4) / (1 + scale)) ** 0.5
    assert one["rate"] / four["rate"] == pytest.approx(expected)
    assert "One seed says nothing" in found["sentence"] or len(found["contenders"]) < 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lr-range", "--seeds", "0"), "--seeds"),
        (("lr-range", "--group", "heads"), "'heads'"),
        (("compare", "--optimizers", "SGD,Lion"), "'Lion'"),
        (("compare", "--optimizers", "AdamW=0"), "'AdamW=0'"),
        (("compare", "--optimizers", "AdamW=nan"), "'AdamW=nan'"),
        (("compare", "--optimizers", "AdamW=fast"), "'AdamW=fast'"),
        (("compare", "--optimizers", ""), "found ''"),
        (("compare", "--batch", "0"), "found '0'"),
        (("compare", "--batch", ""), "found ''"),
        (("compare", "--batch", "16,-1"), "'-1'"),
        (("compare", "--batch", "1.5"), "'1.5'"),
        (("compare", "--batch", "9" * 30), "a whole number"),
        (("compare", "--epochs", "0"), "--epochs"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, tuple) else "",
)
def test_impossible_options_are_usage_errors(
    arguments: tuple[str, ...], said: str, finished_run: Path, edgegd_command: Command, contents: Contents
) -> None:
    before = contents(finished_run)
    command, *options = arguments
    outcome = edgegd_command("descent", command, finished_run, *options)
    assert outcome.code == 2 and said in outcome.err and "Traceback" not in outcome.err
    assert contents(finished_run) == before


@pytest.mark.parametrize("command", WHAT, **ids)
def test_without_a_calibrated_model_it_says_what_to_run(
    command: str, run_copy: Path, edgegd_command: Command, contents: Contents
) -> None:
    (run_copy / "ptq.safetensors").unlink()
    before = contents(run_copy)
    outcome = edgegd_command("descent", command, run_copy, *WHAT[command])
    assert outcome.code == 53 and "ptq.safetensors does not exist yet" in outcome.err
    assert f"edgegd ptq {run_copy}" in outcome.err and others(contents(run_copy)) == others(before)


@pytest.mark.parametrize("command", WHAT, **ids)
@pytest.mark.parametrize("name", ["ptq.safetensors", "plan.json", "data.json", "float.pt"])
def test_what_is_not_as_its_stage_left_it_is_refused(
    command: str, name: str, run_copy: Path, edgegd_command: Command, contents: Contents
) -> None:
    with (run_copy / name).open("ab") as file:
        file.write(b" ")
    before = contents(run_copy)
    outcome = edgegd_command("descent", command, run_copy, *WHAT[command])
    assert outcome.code == 53 and name in outcome.err and others(contents(run_copy)) == others(before)


@pytest.mark.parametrize("command", WHAT, **ids)
def test_a_folder_of_an_older_version_is_read_or_refused_by_name(
    command: str, run_copy: Path, edgegd_command: Command, contents: Contents
) -> None:
    """An older edgegd wrote no `contents` into data.json; its manifest fits what it wrote."""
    from edgegd.pipeline.run_folder import sha256_of

    data = json.loads((run_copy / "data.json").read_text())
    del data["contents"]
    (run_copy / "data.json").write_text(json.dumps(data))
    digest = sha256_of(run_copy / "data.json")
    for path in (run_copy / "manifests").glob("*.json"):
        manifest = json.loads(path.read_text())
        for kind in (manifest["outputs"], manifest["inputs"]["artifacts"]):
            if "data.json" in kind:
                kind["data.json"] = digest
        path.write_text(json.dumps(manifest))
    before = contents(run_copy)
    outcome = edgegd_command("descent", command, run_copy, *WHAT[command])
    assert outcome.code == 53 and "data.json" in outcome.err and others(contents(run_copy)) == others(before)


@pytest.mark.parametrize("command", WHAT, **ids)
def test_a_folder_in_use_is_refused(command: str, run_copy: Path, edgegd_command: Command, contents: Contents) -> None:
    hold = (
        "import sys; from pathlib import Path; from edgegd.pipeline.run_folder import RunFolder\n"
        "with RunFolder.open_existing(Path(sys.argv[1])).locked():\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(run_copy)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        before = contents(run_copy)
        outcome = edgegd_command("descent", command, run_copy, *WHAT[command])
        assert outcome.code == 51 and f"process {holder.pid}" in outcome.err
        assert contents(run_copy) == before
    finally:
        holder.communicate("", timeout=END_S)


@pytest.mark.parametrize("command", WHAT, **ids)
def test_a_model_whose_loss_is_not_finite_is_told(
    command: str, run_copy: Path, edgegd_command: Command, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    import edgegd.descent.training as training

    terms = training.label_terms
    monkeypatch.setattr(training, "label_terms", lambda *given: [term.times(float("nan")) for term in terms(*given)])
    before = contents(run_copy)
    outcome = edgegd_command("descent", command, run_copy, *WHAT[command])
    assert outcome.code == 60 and "nan before the first step" in outcome.err
    assert others(contents(run_copy)) == others(before)


def test_a_recipe_that_cannot_be_written_is_refused_before_any_work(
    run_copy: Path, edgegd_command: Command, contents: Contents, tmp_path: Path
) -> None:
    (tmp_path / "broken.yaml").write_text("version: 1\nmodel: {imgsz: -1}\n")
    (tmp_path / "link.yaml").symlink_to("broken.yaml")
    before = contents(tmp_path)
    for name, code in (("broken.yaml", 10), ("absent.yaml", 56), ("link.yaml", 56)):
        outcome = edgegd_command("descent", "lr-range", run_copy, "--write", tmp_path / name)
        assert outcome.code == code and name in outcome.err
    assert contents(tmp_path) == before
