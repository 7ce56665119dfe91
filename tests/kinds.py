"""A pytest plugin that marks the tests that `make quick` leaves out: those that train, start an sshd, or emulate a CPU.

A test is marked by the fixtures that it asks for, directly or through others, or by its file.
"""

from __future__ import annotations

from pathlib import Path

import pytest

FIXTURES = {"training": {"finished_run"}, "sshd": {"sshd_device"}}
FILES = {
    "training": {
        "descent/test_checkpoint.py",
        "descent/test_distillation.py",
        "descent/test_fine_tune.py",
        "descent/test_landscape.py",
        "descent/test_path.py",
        "descent/test_ranges.py",
        "descent/test_resume.py",
        "end_to_end/test_families.py",
        "end_to_end/test_interrupted.py",
        "end_to_end/test_training.py",
        "pipeline/test_profiles_of_a_run.py",
        "pipeline/test_search_stage.py",
        "pipeline/test_swap.py",
    },
    "sshd": {"latency/test_gate_over_ssh.py"},  # its fixture asks for the sshd while it runs
    "emulator": {"end_to_end/test_emulated_cpus.py", "targets/test_emulated_worker.py"},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test."""
    tests = Path(__file__).parent
    for item in items:
        file = item.path.relative_to(tests).as_posix() if item.path.is_relative_to(tests) else ""
        fixtures = set(getattr(item, "fixturenames", ()))
        for kind in ("training", "sshd", "emulator"):
            if file in FILES.get(kind, ()) or fixtures & FIXTURES.get(kind, set()):
                item.add_marker(kind)
