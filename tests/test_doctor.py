"""The doctor's judgements on machines that are not this one, and its diagnosis of this one."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import onnxruntime
import pytest

from edgegd import doctor
from edgegd.device.profile import needed_profile
from edgegd.doctor import GIB

REQUIREMENTS = [
    "numpy>=1.26",
    "onnxruntime>=1.23",
    "torch>=2.6; extra == 'train'",
    "opencv-python>=4.8; extra == 'train'",
    "types-PyYAML; extra == 'dev'",
]
COMPLETE = {
    "numpy": "2.4.6",
    "onnxruntime": "1.32.0",
    "torch": "2.15.0+cpu",
    "opencv-python": "4.10.0.84",
    "types-pyyaml": "6.0",
}


@pytest.mark.parametrize(
    ("architecture", "instruction_sets", "profile", "level"),
    [
        ("x86_64", ["avx2", "avx512f", "avx512_vnni"], "x86-vnni", "ok"),
        ("x86_64", ["avx2", "avx_vnni"], "x86-vnni", "ok"),
        ("x86_64", ["avx2", "avx512f"], "x86-avx2", "ok"),
        ("x86_64", ["avx2"], "x86-avx2", "ok"),
        ("x86_64", [], "x86-avx2", "slow"),
        ("aarch64", ["asimddp"], "arm64", "ok"),
        ("aarch64", [], "arm64-nodot", "slow"),
        ("arm64", [], "arm64", "ok"),
        ("riscv64", [], None, "note"),
    ],
    ids=["avx512-vnni", "avx-vnni", "avx512 without vnni", "avx2", "sse", "pi 5", "pi 4", "macos", "risc-v"],
)
def test_profile_and_what_it_means(
    architecture: str, instruction_sets: list[str], profile: str | None, level: str
) -> None:
    assert needed_profile(architecture, instruction_sets) == profile
    finding = doctor.check_cpu(profile, "some CPU", instruction_sets)[0]
    assert finding.level == level and bool(finding.mend) == (level != "ok")


def test_an_ordinary_cpu_without_vnni_is_fine_with_its_profile() -> None:
    (finding,) = doctor.check_cpu("x86-avx2", "Haswell", ["avx2"])
    assert finding.level == "ok" and "target profile x86-avx2" in finding.detail and "-63..63" in finding.detail


def test_a_cpu_that_cannot_be_read_is_not_judged() -> None:
    assert [f.level for f in doctor.check_cpu("arm64", "unknown", [])] == ["note"]


@pytest.mark.parametrize(("governor", "levels"), [(None, []), ("performance", []), ("ondemand", ["slow"])])
def test_governor(governor: str | None, levels: list[str]) -> None:
    assert [f.level for f in doctor.check_governor(governor)] == levels


@pytest.mark.parametrize(("load", "cores", "level"), [(0.3, 2, "ok"), (2.0, 2, "ok"), (2.1, 2, "slow"), (2.1, 4, "ok")])
def test_load_is_judged_against_the_cores(load: float, cores: int, level: str) -> None:
    assert doctor.check_load(load, cores).level == level


def test_one_core_is_noted() -> None:
    assert (doctor.check_cores(1).level, doctor.check_cores(2).level) == ("note", "ok")


@pytest.mark.parametrize(
    ("disk_gib", "memory_gib", "levels"),
    [
        (50, 16, ["ok", "ok"]),
        (0.5, 16, ["wrong", "ok"]),
        (50, 2, ["ok", "note"]),
        (50, 0.25, ["ok", "wrong"]),
        (50, None, ["ok"]),
    ],
    ids=["plenty", "disk nearly full", "memory for inference only", "no memory", "memory unknown"],
)
def test_space(disk_gib: float, memory_gib: float | None, levels: list[str]) -> None:
    memory_bytes = None if memory_gib is None else int(memory_gib * GIB)
    assert [f.level for f in doctor.check_space(int(disk_gib * GIB), memory_bytes)] == levels


def test_thread_variables_are_noted_and_nothing_else() -> None:
    findings = doctor.check_environment({"OMP_NUM_THREADS": "4", "HOME": "/root"})
    assert [(f.level, f.title) for f in findings] == [("note", "OMP_NUM_THREADS=4")]


@pytest.mark.parametrize(
    ("version", "level"),
    [
        (None, "wrong"),
        ("1.9.0", "wrong"),
        ("1.22.1", "wrong"),
        ("1.23.0", "ok"),
        ("1.32.1", "ok"),
        ("1.33.0", "note"),
        ("2.0.0", "note"),
    ],
)
def test_onnxruntime_version(version: str | None, level: str) -> None:
    assert doctor.check_onnxruntime(version).level == level


def test_complete_packages_are_fine_with_every_extra_named() -> None:
    findings = doctor.check_packages(REQUIREMENTS, COMPLETE)
    assert {f.title: f.level for f in findings} == {
        "packages of the device side": "ok",
        "packages of edgegd[train]": "ok",
        "packages of edgegd[dev]": "ok",
    }
    assert any("torch 2.15.0+cpu" in f.detail for f in findings)


def test_a_missing_extra_is_a_note_with_the_command_that_installs_it() -> None:
    without = {name: version for name, version in COMPLETE.items() if name != "torch"}
    finding = {f.title: f for f in doctor.check_packages(REQUIREMENTS, without)}["packages of edgegd[train]"]
    assert finding.level == "note" and finding.detail == "torch (missing)"
    assert finding.mend == "pip install 'edgegd[train]'"


def test_an_old_package_of_the_device_side_is_wrong() -> None:
    finding = doctor.check_packages(REQUIREMENTS, {**COMPLETE, "numpy": "1.9.3"})[0]
    assert finding.level == "wrong" and finding.detail == "numpy (1.9.3 is older than 1.26)"


@pytest.mark.parametrize(
    ("version", "level", "told"),
    [
        ("8.4.189", "note", "8.4.189 is older than 8.4.190"),
        ("8.4.190", "ok", ""),
        ("8.4.300", "ok", ""),
        ("8.5.0", "note", "8.5.0 is newer than those that were tested, which are below 8.5"),
    ],
)
def test_versions_that_were_not_tested_are_named(version: str, level: str, told: str) -> None:
    line = "ultralytics<8.5,>=8.4.190; extra == 'train'"  # as a wheel's metadata has it
    (finding,) = doctor.check_packages([line], {"ultralytics": version})
    assert finding.level == level and told in finding.detail


def test_another_build_of_the_same_module_satisfies() -> None:
    other = {name: version for name, version in COMPLETE.items() if name != "opencv-python"}
    findings = doctor.check_packages(REQUIREMENTS, {**other, "opencv-python-headless": "4.10.0.84"})
    assert all(f.level == "ok" for f in findings)


@pytest.mark.parametrize(
    ("script", "level", "detail"),
    [
        ("exit 0", "ok", "works"),
        ("echo 'RuntimeError: operator torchvision::nms does not exist' >&2; exit 1", "wrong", "torchvision::nms"),
        ("kill -11 $$", "wrong", "exit status -11"),
    ],
    ids=["imports", "fails", "crashes"],
)
def test_torchvision_import(tmp_path: Path, script: str, level: str, detail: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    finding = doctor.check_torchvision("2.15.0+cpu", "0.29.2", python=str(python))
    assert finding.level == level and detail in finding.detail


def test_diagnosis_of_this_machine_is_json_and_names_the_onnxruntime_in_use(tmp_path: Path) -> None:
    diagnosis = doctor.diagnose(deep=False, folder=tmp_path)
    document = json.loads(json.dumps(diagnosis.to_json()))
    assert document["fingerprint"]["onnxruntime"] == onnxruntime.__version__
    assert document["profile"] == needed_profile(
        document["fingerprint"]["architecture"], document["fingerprint"]["instruction_sets"]
    )
    titles = [finding["title"] for finding in document["findings"]]
    assert f"onnxruntime {onnxruntime.__version__}" in titles and "disk" in titles
    assert not any(title.startswith("torchvision") for title in titles), "deep=False imports nothing"
