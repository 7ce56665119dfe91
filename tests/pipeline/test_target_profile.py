"""`target.profile: auto`: who decides it, where it stands, and what is said. Oracle: machines that are played here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from edgegd.device.latency_worker import PROTOCOL
from edgegd.device.profile import Machine, this_machine
from edgegd.errors import ProfileError
from edgegd.pipeline import target_profile
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.target_profile import TargetProfile, remarks, resolve
from edgegd.recipe.load import load_recipe
from edgegd.recipe.schema import PROFILES, TargetSection
from edgegd.recipe.shipped import shipped_recipes
from edgegd.runtime.session import load_model
from edgegd.verify import proof

Command = Callable[..., Any]
PI_5 = (
    "processor\t: 0\nFeatures\t: fp asimd evtstrm aes pmull crc32 asimdrdm asimddp\nCPU implementer\t: 0x41\n"
    "CPU part\t: 0xd0b\n\nModel\t\t: Raspberry Pi 5\n"
)
# Stands in the place of the device's Python: it speaks the worker's protocol, as a Raspberry Pi would.
BOARD = """#!{python}
import json, sys, time
facts = {facts!r}
for line in sys.stdin:
    now = {{"monotonic": time.monotonic_ns(), "boottime": time.monotonic_ns(), "wall": time.time_ns()}}
    print(json.dumps({{"protocol": {PROTOCOL}, "machine": facts, "state": {{"clocks_ns": now}}, "pid": 1,
                       "free_bytes": 10**10}}), flush=True)
"""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """machine(profile): from now on this process seems to run on a CPU that needs this profile."""

    def become(profile: str | None) -> None:
        found = Machine(f"a CPU of {profile}", profile)
        monkeypatch.setattr(target_profile, "this_machine", lambda: found)
        monkeypatch.setattr(target_profile, "machine_of", lambda target: found)
        monkeypatch.setattr(proof, "this_machine", lambda: found)

    return become


@pytest.mark.parametrize("profile", PROFILES)
def test_auto_takes_what_the_targets_cpu_needs(machine: Any, profile: str) -> None:
    machine(profile)
    assert resolve(TargetSection()) == TargetProfile(profile, False, "local", f"a CPU of {profile}", profile)
    assert list(remarks(resolve(TargetSection()), Path("run"))) == [
        f"target profile {profile}, chosen for a CPU of {profile}"
    ]


def test_every_shipped_recipe_leaves_the_profile_to_the_target() -> None:
    assert {load_recipe(recipe.path).target.profile for recipe in shipped_recipes()} == {"auto"}


def test_a_cpu_of_an_unknown_kind_is_refused_unless_the_recipe_names_the_profile(machine: Any) -> None:
    machine(None)
    with pytest.raises(ProfileError, match=r"--set target\.profile=PROFILE"):
        resolve(TargetSection())
    assert resolve(TargetSection("arm64")).profile == "arm64"


def test_a_folder_keeps_its_profile_on_another_machine_and_says_how_to_make_files_for_it(machine: Any) -> None:
    machine("x86-vnni")
    kept = resolve(TargetSection())
    machine("x86-avx2")
    assert resolve(TargetSection(), kept) == kept
    said = "\n".join(remarks(kept, Path("runs/mine")))
    assert "a CPU of x86-avx2 (this machine) needs the profile x86-avx2" in said and "keeps, x86-vnni" in said
    assert "`edgegd export runs/mine --profile x86-avx2`" in said
    assert "exact sessions" in said and "Not proved here: what the kernels of x86-vnni CPUs compute" in said


def test_an_explicit_profile_wins_and_what_cannot_be_proved_is_said_first(machine: Any) -> None:
    machine("x86-vnni")
    choice = resolve(TargetSection("arm64"), resolve(TargetSection()))
    assert (choice.profile, choice.explicit, choice.needs) == ("arm64", True, "x86-vnni")
    said = "\n".join(remarks(choice, Path("run")))
    assert "the recipe asks for arm64" in said and "Not proved here: what the kernels of arm64 CPUs compute" in said
    assert resolve(TargetSection(), choice).profile == "x86-vnni"  # the override is gone: auto decides anew


def test_another_host_is_asked_but_the_folder_keeps_its_profile(machine: Any) -> None:
    machine("x86-vnni")
    kept = resolve(TargetSection())
    machine("arm64")
    moved = resolve(TargetSection(host="ssh://pi@board"), kept)
    assert (moved.profile, moved.host, moved.needs) == ("x86-vnni", "ssh://pi@board", "arm64")


def test_the_profile_stands_in_run_json_in_the_files_and_in_the_report(finished_run: Path) -> None:
    profile = this_machine().profile
    identity = json.loads((finished_run / "run.json").read_text())["target"]
    assert (identity["profile"], identity["explicit"], identity["needs"]) == (profile, False, profile)
    for name in ("ptq.onnx", "qat.onnx", "qat.edge.onnx"):
        assert load_model(finished_run / name)[1].profile == profile
    report = json.loads((finished_run / "report.json").read_text())
    assert report["target"] == identity and report["proof"]["codes"]["not_proved"] == []
    assert f"profile {profile}, chosen for {this_machine().cpu}" in (finished_run / "report.md").read_text()


def test_a_damaged_profile_is_refused_and_an_old_folder_takes_its_recipes(
    finished_run: Path, run_copy: Path, edgegd_command: Command
) -> None:
    identity = json.loads((run_copy / "run.json").read_text())
    right = dict(identity["target"])
    for wrong, words in (
        ({"profile": "z80"}, "unknown profile 'z80'"),
        ({"needs": 7}, "must be texts"),
        ({"explicit": "yes"}, "true or false"),
        ({"cpu": ["a"]}, "must be texts"),
        ({"more": 1}, "unexpected keyword argument"),
    ):
        identity["target"] = right | wrong
        (run_copy / "run.json").write_text(json.dumps(identity))
        outcome = edgegd_command("report", run_copy)
        assert outcome.code == 50 and words in outcome.err
    identity["target"] = right | {"cpu": "a\x1b[31m\nforged"}
    (run_copy / "run.json").write_text(json.dumps(identity))
    assert RunFolder.open_existing(run_copy).target.cpu == "a\\x1b[31m\\nforged"
    del identity["target"]
    (run_copy / "run.json").write_text(json.dumps(identity))
    text = (run_copy / "recipe.yaml").read_text()
    (run_copy / "recipe.yaml").write_text(text.replace("profile: auto", "profile: arm64"))
    assert RunFolder.open_existing(run_copy).recipe.target.profile == "arm64"


def _add_board(sshd_device: Any, tmp_path: Path, edgegd_command: Command, architecture: str) -> None:
    from edgegd.device.latency_worker import machine_facts

    program = tmp_path / "python-of-the-board"
    facts = machine_facts() | {"cpuinfo": PI_5, "architecture": architecture}
    program.write_text(BOARD.format(python=sys.executable, facts=facts, PROTOCOL=PROTOCOL))
    program.chmod(0o755)
    added = edgegd_command(
        "target", "add", "board", sshd_device.url, "--python", program, "--ssh-config", sshd_device.config
    )
    assert added.code == 0, added.err


def test_a_device_over_ssh_decides_the_profile(
    sshd_device: Any, tmp_path: Path, tiny_recipe: Path, edgegd_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    _add_board(sshd_device, tmp_path, edgegd_command, "aarch64")
    run = tmp_path / "run"
    outcome = edgegd_command("run", tiny_recipe, "--set", "target.host=board", "--run-dir", run, "--until", "ptq")
    assert outcome.code == 0, outcome.err
    assert "target profile arm64, chosen for Cortex-A76 (Raspberry Pi 5)" in outcome.err
    assert json.loads((run / "plan.json").read_text())["profile"] == "arm64"
    assert json.loads((run / "run.json").read_text())["target"]["host"] == "board"


def test_a_device_of_no_known_kind_is_named(
    sshd_device: Any, tmp_path: Path, tiny_recipe: Path, edgegd_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    _add_board(sshd_device, tmp_path, edgegd_command, "riscv64")
    outcome = edgegd_command("run", tiny_recipe, "--set", "target.host=board", "--run-dir", tmp_path / "run")
    assert outcome.code == 74 and "The CPU of board is of no kind" in outcome.err
    assert not (tmp_path / "run").exists()


def test_a_device_that_cannot_be_reached_stops_the_run_before_anything(
    sshd_device: Any, tmp_path: Path, tiny_recipe: Path, edgegd_command: Command
) -> None:
    gone, run = "ssh://nobody@127.0.0.1:1", tmp_path / "run"
    outcome = edgegd_command("run", tiny_recipe, "--set", f"target.host={gone}", "--run-dir", run)
    assert outcome.code == 87 and "--set target.profile=PROFILE" in outcome.err and not run.exists()
    explicit = edgegd_command(
        "run",
        tiny_recipe,
        "--set",
        f"target.host={gone}",
        "--set",
        "target.profile=x86-avx2",
        "--run-dir",
        run,
        "--until",
        "data",
    )
    assert explicit.code == 0 and f"{gone} did not answer" in explicit.err
    unknown = edgegd_command(
        "run",
        tiny_recipe,
        "--set",
        "target.host=bord",
        "--set",
        "target.profile=arm64",
        "--run-dir",
        tmp_path / "other",
    )
    assert unknown.code == 97 and not (tmp_path / "other").exists()
