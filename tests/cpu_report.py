"""A pytest plugin that says at the end of a run on which CPU it was, and which tests were skipped because of it."""

from __future__ import annotations

from typing import Any

import pytest

LARGEST_SHARE = 0.02
WHOLE_SUITE = 1000  # tests: with fewer, somebody chose some


class CpuReport:
    """Counts tests and skips; under pytest-xdist on the controller, which hears of every test."""

    def __init__(self) -> None:
        self.tests: set[str] = set()
        self.skipped: dict[str, str] = {}

    @property
    def too_many(self) -> bool:
        """Whether this CPU was no place to run the whole suite on."""
        return len(self.tests) > WHOLE_SUITE and len(self.skipped) > LARGEST_SHARE * len(self.tests)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes a test, and the reason if it was skipped for the CPU."""
        from this_cpu import MARK

        self.tests.add(report.nodeid)
        if report.skipped and isinstance(report.longrepr, tuple):
            reason = str(report.longrepr[2]).removeprefix("Skipped: ")
            if reason.startswith(MARK):
                self.skipped[report.nodeid] = reason.removeprefix(MARK)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fails a run of the whole suite that left out too much."""
        if self.too_many and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Prints the CPU, its profile, and every test that it cost."""
        from this_cpu import description

        terminalreporter.section("CPU")
        terminalreporter.line(description())
        terminalreporter.line(f"{len(self.skipped)} of {len(self.tests)} tests were skipped because of this CPU")
        for name, reason in sorted(self.skipped.items()):
            terminalreporter.line(f"  {name}: {reason}")
        if self.too_many:
            terminalreporter.line(
                f"the run fails: more than {LARGEST_SHARE:.0%} of its tests were skipped for the CPU", red=True
            )


def pytest_configure(config: pytest.Config) -> None:
    """Reports where results come together: not in the worker processes of pytest-xdist."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(CpuReport())
