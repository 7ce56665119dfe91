"""What a run says of itself: tests that the CPU cost, files that tests left elsewhere; oracle: runs of small suites."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kinds
import own_folders
import pytest
from this_cpu import MACHINE, PROFILE, needs_cpu, skip_unless

pytest_plugins = ["pytester"]
SUITE = """
import pytest
from this_cpu import PROFILE, needs_cpu, skip_unless

OTHER = "arm64" if PROFILE != "arm64" else "x86-vnni"

@pytest.mark.parametrize("number", range(7))
def test_anywhere(number):
    pass

@needs_cpu(OTHER, why="its kernels")
def test_marked():
    raise AssertionError

def test_inside():
    skip_unless(OTHER, why="its speed")
    raise AssertionError

@pytest.fixture
def part():
    skip_unless(OTHER, why="its parts")

def test_fixture(part):
    raise AssertionError

@pytest.mark.skip(reason="no CPU would do")
def test_another_reason():
    raise AssertionError
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Any:
    """run(smallest whole suite, *options) -> the result of SUITE's run."""
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    pytester.makepyfile(SUITE)

    def start(whole: int, *options: str) -> pytest.RunResult:
        pytester.makeconftest(f"import cpu_report\ncpu_report.WHOLE_SUITE = {whole}\npytest_plugins = ['cpu_report']\n")
        return pytester.runpytest_subprocess("-q", *options)

    return start


@pytest.mark.parametrize("options", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)], ids=["one process", "two"])
def test_the_cpu_and_each_test_that_it_cost_are_named(run: Any, options: tuple[str, ...]) -> None:
    result = run(1000, *options)
    text = result.stdout.str()
    assert result.ret == 0 and MACHINE["cpu"] in text and f"target profile {PROFILE}" in text
    assert "3 of 11 tests were skipped because of this CPU" in text
    for test, why in (("test_marked", "its kernels"), ("test_inside", "its speed"), ("test_fixture", "its parts")):
        (line,) = [line for line in text.splitlines() if f"::{test}: " in line]
        assert line.startswith("  ") and line.endswith(why) and f"this one is {PROFILE}" in line
    assert "test_another_reason" not in text


@pytest.mark.parametrize("options", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)], ids=["one process", "two"])
def test_a_whole_suite_that_left_out_too_much_fails(run: Any, options: tuple[str, ...]) -> None:
    result = run(10, *options)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "the run fails: more than 2% of its tests were skipped for the CPU" in result.stdout.str()
    assert run(10, "-k", "test_anywhere or test_marked", *options).ret == 0, "somebody chose some"


def test_this_cpus_own_tests_run() -> None:
    skip_unless(str(PROFILE), why="nothing")
    assert not needs_cpu(str(PROFILE), why="nothing").args[0] and needs_cpu("no such CPU", why="nothing").args[0]


@pytest.mark.parametrize("place", ["shared/labels/val.cache", "checkout/model.onnx"])
def test_a_file_left_elsewhere_fails_the_run_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    own_folders.subprocess.run(["git", "init", "-q", tmp_path / "checkout"], check=True, timeout=60)
    (tmp_path / "shared/labels").mkdir(parents=True)
    monkeypatch.setattr(own_folders, "ROOT", tmp_path / "checkout")
    monkeypatch.setattr(own_folders, "SHARED", tmp_path / "shared")
    guard, session = own_folders.NothingElsewhere(tmp_path / "own"), SimpleNamespace(exitstatus=pytest.ExitCode.OK)
    (tmp_path / "checkout/somebody_edits.py").touch()
    guard.pytest_sessionfinish(session)  # type: ignore[arg-type]
    assert session.exitstatus == pytest.ExitCode.OK
    (tmp_path / place).touch()
    guard.pytest_sessionfinish(session)  # type: ignore[arg-type]
    assert session.exitstatus == pytest.ExitCode.TESTS_FAILED and guard.gained == [str(tmp_path / place)]


def test_home_caches_and_temporary_files_are_the_tests_own() -> None:
    own = Path(os.environ[own_folders.FOLDER])
    assert Path.home() == own / "home" and Path(tempfile.gettempdir()) == own / "tmp"
    # What edgegd itself has set since, for Ultralytics, lies among the tests' own temporary files.
    assert not [name for name in own_folders.OTHER_PLACES if own not in Path(os.environ.get(name, own / "x")).parents]
    assert own not in Path(os.environ["EDGEGD_EMULATION_CACHE"]).parents


def test_ultralytics_and_matplotlib_keep_their_settings_there() -> None:
    utils, matplotlib = pytest.importorskip("ultralytics.utils"), pytest.importorskip("matplotlib")
    own = Path(os.environ[own_folders.FOLDER])
    for folder in (utils.USER_CONFIG_DIR, matplotlib.get_cachedir(), matplotlib.get_configdir()):
        assert own in Path(folder).parents


def test_what_marks_the_kinds_of_tests_exists() -> None:
    tests = Path(__file__).parent
    assert not [file for files in kinds.FILES.values() for file in files if not (tests / file).is_file()]
    sources = (tests / "conftest.py").read_text() + (tests / "loopback_sshd.py").read_text()
    assert not [name for names in kinds.FIXTURES.values() for name in names if f"def {name}(" not in sources]


@pytest.mark.parametrize(
    ("fixtures", "file", "expected"),
    [
        (["run_copy", "finished_run"], "cli/test_output.py", {"training"}),
        (["sshd_device"], "targets/test_ssh.py", {"sshd"}),
        ([], "targets/test_emulated_worker.py", {"emulator"}),
        ([], "quant/test_plan.py", set()),
    ],
)
def test_a_test_is_marked_by_its_fixtures_and_its_file(fixtures: list[str], file: str, expected: set[str]) -> None:
    marked: set[str] = set()
    item = SimpleNamespace(path=Path(__file__).parent / file, fixturenames=fixtures, add_marker=marked.add)
    kinds.pytest_collection_modifyitems([item])  # type: ignore[list-item]
    assert marked == expected
