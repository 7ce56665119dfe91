"""A benchmark's JSON file: a killed benchmark finds in it what it measured, and goes on from there."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgegd.device.fingerprint import fingerprint
from edgegd.device.profile import needed_profile

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("edgegd", "onnxruntime", "onnx", "torch", "ultralytics", "numpy", "opencv-python")


def installed(package: str) -> str:
    """The version of a package, or that there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def commit() -> str:
    """The project's commit, marked where tracked files were changed since; empty outside a clone."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude", "*"], cwd=ROOT, capture_output=True, text=True
    )
    return done.stdout.strip()


def kind_of(machine: Mapping[str, Any]) -> str:
    """A fingerprint's CPU and the target profile that it needs, as the name of a file."""
    profile = needed_profile(machine["architecture"], machine["instruction_sets"])
    return re.sub(r"[^a-z0-9]+", "-", f"{machine['cpu']} {profile}".lower()).strip("-")


def cpu_and_profile(machine: Mapping[str, Any]) -> str:
    """A fingerprint's CPU and the target profile that it needs, as text."""
    return f"{machine['cpu']}, {needed_profile(machine['architecture'], machine['instruction_sets'])}"


class ResultFile:
    """benchmarks/results/NAME.json (or another file): `entries`, in the order in which they were measured.

    Every entry has the date, the commit, the versions and the machine that it was measured with.
    """

    def __init__(self, name: str, path: Path | None = None) -> None:
        self.path = path or ROOT / f"benchmarks/results/{name}.json"
        self.entries: list[dict[str, Any]] = json.loads(self.path.read_text())["entries"] if self.path.exists() else []

    @classmethod
    def of_this_machine(cls, name: str, path: Path | None = None) -> ResultFile:
        """benchmarks/results/NAME/CPU-PROFILE.json: what is measured on one kind of CPU is never mixed with another."""
        return cls(name, path or ROOT / f"benchmarks/results/{name}/{kind_of(fingerprint())}.json")

    @classmethod
    def of_all_machines(cls, name: str) -> list[ResultFile]:
        """The committed results of every kind of CPU, by file name."""
        return [cls(name, path) for path in sorted((ROOT / f"benchmarks/results/{name}").glob("*.json"))]

    def machine_name(self) -> str:
        """The CPU's name and the target profile that it needs, of the last entry."""
        return cpu_and_profile(self.entries[-1]["machine"])

    def find(self, **key: Any) -> list[dict[str, Any]]:
        """The entries whose values under these keys are these."""
        return [entry for entry in self.entries if all(entry[name] == value for name, value in key.items())]

    def add(self, entry: dict[str, Any], packages: Mapping[str, str] | None = None) -> None:
        """Stores an entry, with the versions of further `packages`; a kill leaves the old or the new file."""
        origin = {
            "date": datetime.now(timezone.utc).date().isoformat(),
            "commit": commit(),
            "versions": {name: installed(name) for name in PACKAGES} | dict(packages or {}),
            "machine": fingerprint(),
        }
        self._store([*self.entries, entry | origin])

    def drop(self, unwanted: Callable[[dict[str, Any]], bool]) -> int:
        """Removes entries, and says how many: those of files that have changed since."""
        kept = [entry for entry in self.entries if not unwanted(entry)]
        dropped = len(self.entries) - len(kept)
        if dropped:
            self._store(kept)
        return dropped

    def amend(self, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Sets further values in all entries of a key."""
        chosen = self.find(**key)
        self._store([entry | dict(values) if entry in chosen else entry for entry in self.entries])

    def _store(self, entries: list[dict[str, Any]]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".partial")
        temporary.write_text(json.dumps({"schema": 1, "entries": entries}, indent=1) + "\n")
        os.replace(temporary, self.path)
        self.entries = entries
