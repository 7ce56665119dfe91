"""`edgegd descent export`. Oracles: what the trackers' own readers read back; the modules that an interpreter has."""

from __future__ import annotations

import itertools
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edgegd

Command = Callable[..., Any]
ROOT = Path(edgegd.__file__).parents[1]
LAYER = {"model.0.conv": {"gradient": 0.5, "size": 2.0, "update": 0.25}}


def rows() -> list[dict[str, Any]]:
    """Three steps of telemetry, the second one looked at closely."""
    made: list[dict[str, Any]] = [
        {
            "step": step,
            "epoch": 1 + step // 3,
            "loss": 3.0 / step,
            "lr": {"weights": 1e-4 * step},
            "gradient": {"weights": 5.0, "all": 5.0 + step},
            "clipped": step == 2,
            "seconds": {"data": 0.25, "forward": 0.5},
        }
        for step in (1, 2, 3)
    ]
    made[1]["detail"] = {"layers": LAYER, "noise_scale": None, "step_length": {"all": {"alpha": -0.5, "kind": "x"}}}
    return made


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with a recipe and telemetry, of a run whose QAT goes on: its last line is not whole."""
    folder = tmp_path / "try1"
    folder.mkdir()
    (folder / "run.json").write_text('{"schema": 1, "recipe": "mine", "target": null}')
    (folder / "recipe.yaml").write_text(
        "version: 1\nmodel: {weights: a.pt}\ndata: {source: streets, path: set, train_images: 8, val_images: 4}\n"
        "target: {profile: x86-vnni}\n"
    )
    lines = "".join(json.dumps(row) + "\n" for row in rows())
    (folder / "descent.jsonl").write_text(lines + '{"step": 4, "lo')
    return folder


EXPECTED = {
    "loss": {1: 3.0, 2: 1.5, 3: 1.0},
    "gradient/all": {1: 6.0, 2: 7.0, 3: 8.0},
    "clipped": {1: 0.0, 2: 1.0, 3: 0.0},
    "detail/layers/model.0.conv/update": {2: 0.25},
    "detail/step_length/all/alpha": {2: -0.5},
}


def test_tensorboard_reads_every_number_back(edgegd_command: Command, run: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    outcome = edgegd_command("descent", "export", run, "--to", "tensorboard", "--out", tmp_path / "events", "--json")
    assert outcome.code == 0, outcome.err
    printed = json.loads(outcome.out)
    assert printed["steps"] == 3 and printed["tracker"] == "tensorboard"
    read = EventAccumulator(str(tmp_path / "events"))
    read.Reload()
    tags = read.Tags()["scalars"]
    assert printed["values"] == sum(len(read.Scalars(tag)) for tag in tags)
    for tag, values in EXPECTED.items():
        assert {event.step: event.value for event in read.Scalars(tag)} == values
    rate = read.Scalars("lr/weights")[1].value
    assert rate == struct.unpack("f", struct.pack("f", 2e-4))[0]  # event files have float32
    assert not [tag for tag in tags if "noise_scale" in tag or "kind" in tag or tag == "step"]
    times = [event.wall_time for event in read.Scalars("loss")]
    assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx([0.75, 0.75], abs=1e-3)
    assert times[-1] == pytest.approx((run / "descent.jsonl").stat().st_mtime, abs=1e-3)


def test_a_step_that_was_not_taken_has_a_rate_and_no_loss(edgegd_command: Command, run: Path) -> None:
    pytest.importorskip("tensorboard")
    diverged = {"step": 4, "epoch": 2, "loss": None, "lr": {"weights": 4e-4}}
    (run / "descent.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows(), diverged]))
    outcome = edgegd_command("descent", "export", run, "--to", "tensorboard", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["steps"] == 4


def test_a_folder_with_files_is_not_mixed(edgegd_command: Command, run: Path, contents: Any) -> None:
    pytest.importorskip("tensorboard")
    assert edgegd_command("descent", "export", run, "--to", "tensorboard").code == 0
    before = contents(run)
    assert any(name.startswith("tensorboard/events") for name in before)
    outcome = edgegd_command("descent", "export", run, "--to", "tensorboard")
    assert outcome.code == 56 and "expected: a new or empty folder" in outcome.err and contents(run) == before
    outcome = edgegd_command("descent", "export", run, "--to", "tensorboard", "--out", run / "run.json")
    assert outcome.code == 56 and "found: a file" in outcome.err and contents(run) == before


def test_map_of_the_epochs_of_a_finished_run(edgegd_command: Command, finished_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert edgegd_command("descent", "export", finished_run, "--to", "tensorboard", "--out", tmp_path / "e").code == 0
    read = EventAccumulator(str(tmp_path / "e"))
    read.Reload()
    epochs = json.loads((finished_run / "descent.json").read_text())["epochs"]
    assert [event.step for event in read.Scalars("epochs/map50_95")] == [0, 2, 4]  # two steps an epoch
    assert [e.value for e in read.Scalars("epochs/loss")] == pytest.approx([epoch["loss"] for epoch in epochs])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(("--to", "wandb"), 2, "'wandb' is not one of 'tensorboard', 'mlflow', 'trackio'", id="unknown"),
        pytest.param((), 2, "Missing option '--to'", id="none"),
        pytest.param(("--to", "mlflow", "--out", "x"), 2, "mlflow takes --uri", id="a folder for mlflow"),
        pytest.param(("--to", "trackio", "--uri", "x"), 2, "--uri is for mlflow", id="an address for trackio"),
    ],
)
def test_impossible_wishes(
    edgegd_command: Command, run: Path, contents: Any, arguments: tuple[str, ...], code: int, said: str
) -> None:
    before = contents(run)
    outcome = edgegd_command("descent", "export", run, *arguments)
    assert outcome.code == code and said in outcome.err and contents(run) == before


@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow", "trackio"])
def test_a_missing_package_is_named_before_anything_is_read(
    edgegd_command: Command, run: Path, contents: Any, tracker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgegd.report.trackers.find_spec", lambda name: None)
    (run / "descent.jsonl").unlink()
    before = contents(run)
    outcome = edgegd_command("descent", "export", run, "--to", tracker)
    assert outcome.code == 54 and f"to mend it: pip install {tracker}" in outcome.err and contents(run) == before


def test_a_run_without_telemetry(edgegd_command: Command, run: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    out = ("--to", "tensorboard", "--out", tmp_path / "events")
    (run / "descent.jsonl").write_text('{"step": 1')
    outcome = edgegd_command("descent", "export", run, *out)
    assert outcome.code == 53 and "has no step yet" in outcome.err
    (run / "descent.jsonl").write_text('{"step": 1}\n[]\n')
    outcome = edgegd_command("descent", "export", run, *out)
    assert outcome.code == 53 and "does not hold what its stage writes" in outcome.err
    (run / "descent.jsonl").unlink()
    outcome = edgegd_command("descent", "export", run, *out)
    assert outcome.code == 53 and "edgegd qat" in outcome.err and not (tmp_path / "events").exists()
    assert edgegd_command("descent", "export", tmp_path, *out).code == 50


def modules_after(*arguments: str) -> set[str]:
    """The top modules of a fresh interpreter after `edgegd ARGUMENTS`."""
    code = (
        "import sys\nfrom edgegd.cli.main import main\n"
        f"sys.argv = ['edgegd', *{list(arguments)!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print('\\n' + ' '.join(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_nothing_is_imported_that_was_not_asked_for(run: Path, tmp_path: Path) -> None:
    trackers = {"tensorboard", "mlflow", "trackio"}
    assert not modules_after("descent", "export", "--help") & {*trackers, "torch"}
    pytest.importorskip("tensorboard")
    asked = modules_after("descent", "export", str(run), "--to", "tensorboard", "--out", str(tmp_path / "events"))
    assert asked & {*trackers, "torch", "ultralytics", "tensorflow"} == {"tensorboard"}


def test_mlflow_reads_every_number_back(edgegd_command: Command, run: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    pytest.importorskip("sqlalchemy", reason="mlflow-skinny has no database")
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/runs.db"
    outcome = edgegd_command("descent", "export", run, "--to", "mlflow", "--uri", uri)
    assert outcome.code == 0, outcome.err
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("edgegd")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.data.params["train.optimizer"] == "AdamW" and found.info.run_name == "try1"
    for name, values in EXPECTED.items():
        assert {m.step: m.value for m in client.get_metric_history(found.info.run_id, name)} == values
    outcome = edgegd_command("descent", "export", run, "--to", "mlflow", "--uri", "nowhere://x")
    assert outcome.code == 56 and "mlflow did not take the telemetry" in outcome.err


def test_trackio_has_every_number(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("trackio", reason="trackio is not installed")
    folder = tmp_path / "trackio"
    asked = modules_after("descent", "export", str(run), "--to", "trackio", "--out", str(folder))
    assert asked & {"tensorboard", "mlflow", "trackio", "torch"} == {"trackio"}
    import sqlite3

    with sqlite3.connect(folder / "edgegd.db") as database:
        logged = database.execute("SELECT step, metrics FROM metrics WHERE run_name = 'try1'").fetchall()
    found = {step: json.loads(metrics) for step, metrics in logged}
    for name, values in EXPECTED.items():
        assert {step: row[name] for step, row in found.items() if name in row} == values
