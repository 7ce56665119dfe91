"""`edgegd prove` on this machine and behind a real sshd: what it finds, and what ends it; oracle: stages of the run."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from device_python import computed, device_python
from loopback_sshd import Device, wait_until
from processes import END_S, hears_interrupts
from this_cpu import skip_without_emulation

from edgegd.cli.progress import TerminalProgress
from edgegd.errors import EmulationError
from edgegd.pipeline.proof.prove import prove
from edgegd.pipeline.run_folder import RunFolder
from edgegd.targets.emulation_packages import FETCH_FAILED
from edgegd.targets.emulator import CPUS, prepare

Command = Callable[..., Any]
IMAGES, FILES = 4, 3
BUDGET_MB = 500.0


@pytest.fixture
def board(sshd_device: Device, edgegd_command: Command) -> Iterator[Callable[..., str]]:
    """board(name, python=..., folder="") -> the name, of a target that was added."""
    added = []

    def add(name: str, python: str = sys.executable, folder: str = "") -> str:
        options = ["--python", python, "--ssh-config", sshd_device.config, *(["--folder", folder] if folder else [])]
        assert edgegd_command("target", "add", name, sshd_device.url, *options).code == 0
        added.append(name)
        return name

    yield add
    for name in added:
        assert edgegd_command("target", "rm", name).code == 0


def with_limits(run: Path, **limits: float) -> None:
    """Writes limits into the recipe of a run."""
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["prove"]["limits"] |= limits
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))


def start(run: Path, target: str) -> subprocess.Popen[str]:
    """`edgegd prove` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "edgegd.cli.main", "prove", str(run), "--target", target],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hears_interrupts,
    )


def stored(run: Path) -> int:
    """How many outputs an unfinished proof keeps."""
    return len([*run.glob("device-*.unfinished/outputs/*/*.npz")])


def each_once(log: Path) -> None:
    """Every image was computed once by each file, and by both files with codes as outputs."""
    counts = computed(log)
    assert len(counts) == IMAGES * (FILES + 2) and set(counts.values()) == {1}


def test_a_device_over_ssh_computes_what_the_stages_of_the_run_found(
    board: Callable[..., str], edgegd_command: Command, run_copy: Path
) -> None:
    outcome = edgegd_command("prove", run_copy, "--target", board("proved-board"), "--variant", "qat", "--json")
    assert outcome.code == 0, outcome.err
    proof = json.loads((run_copy / "device-proved-board.json").read_text())
    printed = json.loads(outcome.out)
    assert {key: value for key, value in printed.items() if key not in ("file", "exit_code")} == proof
    for name, codes in proof["codes"].items():
        assert codes["images"] == IMAGES and codes["tensors"] > 300, name
        assert (codes["differing"], codes["first"], codes["equal_outputs"], codes["undisturbed"]) == (
            0,
            None,
            True,
            True,
        )
    accuracy = json.loads((run_copy / "accuracy.json").read_text())
    for name, found in proof["accuracy"]["there"].items():
        assert found["map50_95"] == accuracy[name.removesuffix(".edge")]["map50_95"], name
        assert found["per_class"] == accuracy[name.removesuffix(".edge")]["per_class"]
    cores = len(os.sched_getaffinity(0))
    assert [timed["threads"]["threads"] for timed in proof["latency"].values()] == ([1, cores] if cores > 1 else [1])
    for timed in proof["latency"].values():
        for one in timed["models"].values():
            assert 0 < one["median_ms"] <= one["p95_ms"] and one["pays"] == (one["speedup_low"] > 1)
    for name, load in proof["load"].items():
        size = (run_copy / proof["files"][name]["file"]).stat().st_size
        assert min(load["load_ms"]) > 0 and min(load["first_ms"]) > 0 and min(load["peak_bytes"]) > size
        assert proof["files"][name]["bytes"] == size
    assert proof["limits"] == [] and not [*run_copy.glob("*.unfinished")]
    assert edgegd_command("report", run_copy).code == 0
    report = (run_copy / "report.md").read_text()
    assert "## Proved on the devices\n\n### proved-board\n" in report and "qat.edge.onnx" in report
    assert json.loads((run_copy / "report.json").read_text())["devices"] == {"proved-board": proof}


def test_what_the_device_has_is_not_sent_again(sshd_device: Device, run_copy: Path) -> None:
    sent = []
    for _ in range(2):
        with closing(sshd_device.target("twice", folder=str(run_copy.parent / "board"))) as target:
            prove(RunFolder.open_existing(run_copy), target, TerminalProgress(), budget_mb=BUDGET_MB)
            sent.append(target.copied_bytes)
    assert sent[0] > IMAGES * 64 * 64 * 3 and sent[1] == 0


def test_a_budget_takes_the_first_images(edgegd_command: Command, run_copy: Path) -> None:
    outcome = edgegd_command("prove", run_copy, "--budget", 2 * 64 * 64 * 3 / 1e6, "--json")
    assert outcome.code == 0, outcome.err
    accuracy = json.loads(outcome.out)["accuracy"]
    assert (accuracy["images"], accuracy["of_images"]) == (2, IMAGES)
    for name, there in accuracy["there"].items():
        assert there["map50_95"] == pytest.approx(accuracy["here"][name]["map50_95"], abs=1e-3)
    assert edgegd_command("report", run_copy).code == 0
    assert f"first 2 of {IMAGES} validation images" in (run_copy / "report.md").read_text()


@pytest.mark.slow
def test_a_killed_proof_goes_on_and_computes_no_image_twice(
    board: Callable[..., str], sshd_device: Device, run_copy: Path, tmp_path: Path
) -> None:
    target = board("killed-board", device_python(tmp_path / "stub", delay_s=0.4), str(tmp_path / "store"))
    for least in (2, 7):  # in the first file, and in the second
        process = start(run_copy, target)
        wait_until(lambda: stored(run_copy) >= least or process.poll() is not None, END_S)  # noqa: B023
        assert process.poll() is None, process.communicate()
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=END_S)
        sshd_device.wait_until(lambda: not sshd_device.programs())
    assert stored(run_copy) < IMAGES * FILES
    process = start(run_copy, target)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    each_once(tmp_path / "stub")
    assert not [*(tmp_path / "store" / "outputs").iterdir()], "nothing of it is left on the device"


@pytest.mark.slow
def test_a_cut_connection_is_told_and_the_same_command_goes_on(
    board: Callable[..., str], sshd_device: Device, run_copy: Path, tmp_path: Path
) -> None:
    target = board("cut-board", device_python(tmp_path / "stub", delay_s=0.4), str(tmp_path / "store"))
    process = start(run_copy, target)
    wait_until(lambda: stored(run_copy) >= 3 or process.poll() is not None, END_S)
    sshd_device.cut()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 85 and "was lost" in err and "Traceback" not in err, err
    assert 3 <= stored(run_copy) < IMAGES * FILES and not (run_copy / f"device-{target}.json").exists()
    process = start(run_copy, target)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    each_once(tmp_path / "stub")


@pytest.mark.slow
def test_a_full_disk_is_told_and_with_more_space_it_goes_on(
    board: Callable[..., str], edgegd_command: Command, run_copy: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    room = (run_copy / "fp32.onnx").stat().st_size + 400_000  # the programs and the images, but no second file
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={room}", "none", small], capture_output=True, check=False
    ).returncode:
        pytest.skip("only who may mount a small disk can fill it")
    try:
        target = board("full-board", device_python(tmp_path / "stub"), str(small))
        outcome = edgegd_command("prove", run_copy, "--target", target)
        assert outcome.code == 86 and "No space left on device" in outcome.err, outcome.err
        assert stored(run_copy) == IMAGES and not (run_copy / f"device-{target}.json").exists()
        subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
        outcome = edgegd_command("prove", run_copy, "--target", target)
        assert outcome.code == 0, outcome.err
        each_once(tmp_path / "stub")
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_another_onnxruntime_is_told_and_one_that_is_too_old_refused(
    board: Callable[..., str], edgegd_command: Command, run_copy: Path, tmp_path: Path, contents: Any
) -> None:
    before = contents(run_copy)
    old = board("old-board", device_python(tmp_path / "old", version="1.22.1"))
    outcome = edgegd_command("prove", run_copy, "--target", old)
    assert outcome.code == 82 and "onnxruntime 1.22.1; 1.23 or later is needed" in outcome.err, outcome.err
    assert contents(run_copy) == before
    new = board("new-board", device_python(tmp_path / "new", version="9.1.0"))
    outcome = edgegd_command("prove", run_copy, "--target", new)
    assert outcome.code == 0 and "new-board has onnxruntime 9.1.0, this machine" in outcome.err, outcome.err
    assert "The device has onnxruntime 9.1.0" in outcome.out


def test_limits_make_it_an_acceptance_test(edgegd_command: Command, run_copy: Path, tmp_path: Path) -> None:
    with_limits(run_copy, p95_ms=1e6, load_ms=0.001, peak_mb=1e6, bytes=10, map50_95=0.0)
    outcome = edgegd_command("prove", run_copy, "--junit", tmp_path / "proof.xml")
    assert outcome.code == 99, outcome.err
    assert "NOT MET" in outcome.out and "NOT MEASURED" not in outcome.out
    cases = {case.get("name"): case for case in ElementTree.parse(tmp_path / "proof.xml").iter("testcase")}
    failed = {name for name, case in cases.items() if case.find("failure") is not None}
    assert failed == {"load_ms 0.001 on local", "bytes 10 on local"} and len(cases) == 5 + 2
    with_limits(run_copy, load_ms=1e6, bytes=1_000_000_000)
    outcome = edgegd_command("prove", run_copy, "--junit", tmp_path / "proof.xml")
    assert outcome.code == 0, outcome.err
    assert ElementTree.parse(tmp_path / "proof.xml").getroot().get("failures") == "0"


def emulated_target(folder: Path, prefix: list[str]) -> Any:
    from edgegd.targets.command import CommandTarget

    return CommandTarget.of("emulated", f"command:{shlex.join(prefix)}", emulated=True, folder=str(folder))


def test_on_an_emulated_target_nothing_is_timed(edgegd_command: Command, run_copy: Path, tmp_path: Path) -> None:
    url = f"command:{shlex.quote(sys.executable)}"
    options = ["--emulated", "--folder", tmp_path / "box"]
    assert edgegd_command("target", "add", "emulated-box", url, *options).code == 0
    with_limits(run_copy, p95_ms=1e6, map50_95=0.0)
    outcome = edgegd_command("prove", run_copy, "--target", "emulated-box", "--junit", tmp_path / "proof.xml")
    why = "emulated-box is emulated: its times and its memory are those of the emulator."
    assert outcome.code == 99 and outcome.out.count(why) == 1, outcome.err
    proof = json.loads((run_copy / "device-emulated-box.json").read_text())
    assert proof["latency"] == proof["load"] == {} and proof["codes"]["qat" if "qat" in proof["codes"] else "ptq"]
    limits = {limit["name"]: limit for limit in proof["limits"]}
    assert limits["map50_95"]["passed"] and not limits["p95_ms"]["passed"] and why in limits["p95_ms"]["reason"]
    cases = {case.get("name"): case for case in ElementTree.parse(tmp_path / "proof.xml").iter("testcase")}
    (error,) = cases["p95_ms 1e+06 on emulated-box"]
    assert (error.tag, error.get("type")) == ("error", "NOT MEASURED")
    assert edgegd_command("report", run_copy).code == 0
    assert why in (run_copy / "report.md").read_text()


@pytest.mark.emulator
@pytest.mark.slow
def test_codes_and_map_on_an_emulated_raspberry_pi(run_copy: Path, tmp_path: Path) -> None:
    skip_without_emulation()
    try:
        command, environment = prepare(CPUS["cortex-a76"], print)
    except EmulationError as error:
        if error.what != FETCH_FAILED:
            raise
        pytest.skip(str(error))
    prefix = ["env", *(f"{name}={value}" for name, value in environment.items()), *command]
    target = emulated_target(tmp_path / "pi", prefix)
    proof = prove(RunFolder.open_existing(run_copy), target, TerminalProgress(), budget_mb=BUDGET_MB)
    assert "Cortex-A76" in proof["fingerprint"]["cpu"] and proof["latency"] == {} and proof["not_measured"]
    for name, codes in proof["codes"].items():
        assert codes["differing"] == 0 and codes["equal_outputs"] and codes["undisturbed"], (name, codes)
    accuracy = proof["accuracy"]
    for name in (proof["variant"], f"{proof['variant']}.edge"):
        assert accuracy["there"][name]["map50_95"] == accuracy["here"][name]["map50_95"]


WRONG = """
        for name, result in zip(names, results):
            if name.endswith("/codes") and "model.1.conv" in name:
                result.flat[:3] ^= 1
"""


def test_a_file_that_the_device_computes_otherwise_is_named(
    edgegd_command: Command, run_copy: Path, tmp_path: Path
) -> None:
    """Three codes of the device's second convolution are others by one."""
    stub = tmp_path / "stub"
    device_python(stub)
    source = (stub / "onnxruntime.py").read_text()
    (stub / "onnxruntime.py").write_text(source.replace("        if self._told:", f"{WRONG}        if self._told:"))
    url = f"command:env PYTHONPATH={shlex.quote(str(stub))} {shlex.quote(sys.executable)}"
    assert edgegd_command("target", "add", "wrong-box", url, "--emulated", "--folder", tmp_path / "box").code == 0
    outcome = edgegd_command("prove", run_copy, "--target", "wrong-box", "--variant", "qat", "--json")
    assert outcome.code == 71, outcome.err
    codes = json.loads(outcome.out)["codes"]["qat"]
    assert codes["differing"] >= 1 and codes["equal_outputs"] and codes["undisturbed"]
    assert codes["first"]["address"].startswith("model.1.conv") and codes["first"]["image"] == 0
    assert (codes["first"]["differing"], codes["first"]["largest_distance"]) == (3, 1)
