"""A pytest plugin that keeps all that tests write in temporary folders, and fails a run that left something elsewhere.

Home folder, configuration, caches, the folder for temporary files and the working directory are one temporary folder's;
only the emulation cache stays the user's own, because filling it takes minutes and a network. What tests could still
write by absolute paths, into the checkout or beside the shared data, is looked for at the end.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import site
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis.configuration import set_hypothesis_home_dir

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
FOLDER = "EDGEGD_TESTS_FOLDER"  # tells the worker processes of pytest-xdist that this is done, and where
OTHER_PLACES = (
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "YOLO_CONFIG_DIR",
    "MPLCONFIGDIR",
    "TORCH_HOME",
)
EDITED = {".py", ".md", ".yaml", ".toml", ".txt", ""}
"""Suffixes of files that somebody who works in the checkout meanwhile makes; "" are a Makefile, a recipe of git."""
RESULTS = "benchmarks/results/"  # a benchmark may run at the same time


class NothingElsewhere:
    """Compares the checkout and the shared data before and after a run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.before, self.gained = folder, _files(), list[str]()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fails the run where files have appeared."""
        self.gained = sorted(_files() - self.before)
        if self.gained and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Names them."""
        if self.gained:
            terminalreporter.section("files outside the tests' own folders")
            terminalreporter.line("the run fails: these appeared while it ran", red=True)
            for name in self.gained:
                terminalreporter.line(f"  {name}")

    def pytest_unconfigure(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Sets the environment before any test module, and so torch or ultralytics, is imported."""
    if FOLDER not in os.environ:
        _move(config)
    set_hypothesis_home_dir(Path(os.environ[FOLDER]) / "hypothesis")


def _move(config: pytest.Config) -> None:
    folder = Path(tempfile.mkdtemp(prefix="edgegd-tests-"))
    os.environ[FOLDER] = str(folder)
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # tmp_path stays where one looks for it
    _keep_the_users_own()
    for name in OTHER_PLACES:
        os.environ.pop(name, None)
    for name in ("home", "tmp"):
        (folder / name).mkdir()
    os.environ |= {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
    tempfile.tempdir = None  # it was looked up already
    config.pluginmanager.register(NothingElsewhere(folder))


@pytest.fixture(scope="session", autouse=True)
def own_working_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty working directory, in which nothing may be left: tests say where they write."""
    folder, before = tmp_path_factory.mktemp("working-directory"), Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)
    left = sorted(path.name for path in folder.iterdir())
    assert not left, f"a test has written {left} into the working directory"


def _keep_the_users_own() -> None:
    """What is found through the home folder and is needed there: a cache, packages, settings of pip and git."""
    from edgegd.targets.emulation_cache import CACHE_VARIABLE, cache_folder

    home = Path.home()
    configuration = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    os.environ.setdefault(CACHE_VARIABLE, str(cache_folder()))
    os.environ.setdefault("PYTHONUSERBASE", site.getuserbase())
    for variable, files in (
        ("PIP_CONFIG_FILE", (configuration / "pip/pip.conf", home / ".pip/pip.conf")),
        ("GIT_CONFIG_GLOBAL", (home / ".gitconfig", configuration / "git/config")),
    ):
        for file in files:
            if file.is_file():
                os.environ.setdefault(variable, str(file))


def _files() -> set[str]:
    """Every file of the shared data, and those of the checkout that git does not know and nobody edits."""
    found = {str(path) for path in SHARED.rglob("*")} if SHARED.is_dir() else set()
    with contextlib.suppress(OSError, subprocess.SubprocessError):  # no git, or no checkout
        done = subprocess.run(
            ["git", "ls-files", "-z", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        found |= {
            str(ROOT / name)
            for name in done.stdout.split("\0")
            if name and Path(name).suffix not in EDITED and not name.startswith(RESULTS)
        }
    return found
