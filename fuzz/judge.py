"""What counts as a fault of the product. docs/fuzzing.md says the same in words."""

from __future__ import annotations

import json
import re

from edgegd import errors
from fuzz.forked import MEMORY_LIMIT_BYTES, TIME_LIMIT_S
from fuzz.trial import Ending, Trial

FORGED = "FORGED"
"""Foreign text holds this after a newline; no line of ours may begin with it."""
_DONE = (0, errors.DataFaultError.exit_code, errors.DataWarningError.exit_code)
"""Exit codes of commands that did what they were asked for: the data doctor writes its copy whatever it finds."""
_FIGURE = re.compile(r"\bPASS\b|\d\.\d+ ms|\d\.\d+x|\"median_ms\": \d")
_ALWAYS_OWNED = ("home/.cache", "home/.config/Ultralytics", "tmp")


def documented_codes() -> frozenset[int]:
    """The exit codes of docs/errors.md but 1, which is an admission that something was not foreseen."""
    kinds = (one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.EdgegdError))
    return frozenset({0, 2, 130, *(kind.exit_code for kind in kinds)} - {1})


def judge(trial: Trial, ending: Ending, changes: dict[str, str]) -> tuple[str, ...]:
    """The faults of an ending; `changes` are what has changed in the place (fuzz.place.Before.differences)."""
    if trial.must_make and trial.must_make not in changes and ending.exit_code == 0:
        return (f"the fuzzer failed: {trial.must_make} was never made",)
    return (*_of_the_end(trial, ending), *_of_the_words(trial, ending), *_of_the_files(trial, ending, changes))


def _of_the_end(trial: Trial, ending: Ending) -> list[str]:
    faults = []
    if ending.timed_out:
        faults.append(f"hang: not ended after {TIME_LIMIT_S:.0f} s")
    elif ending.exit_code is None:
        faults.append(f"crash: signal {ending.signal}")
    elif ending.exit_code == 1:
        faults.append("unexpected exit: 1")
    elif ending.exit_code not in documented_codes():
        faults.append(f"undocumented exit: {ending.exit_code}")
    elif ending.exit_code == 0 and not trial.may_succeed:
        faults.append("success though wrong")
    if ending.peak_bytes > MEMORY_LIMIT_BYTES:
        faults.append(f"memory: {ending.peak_bytes / 1e9:.1f} GB")
    faults += [f"left running: {words}" for words in ending.left_running]
    return faults


def _of_the_words(trial: Trial, ending: Ending) -> list[str]:
    faults = []
    both = ending.out + ending.err
    if "Traceback (most recent call last)" in both:
        faults.append("traceback")
    messages = re.findall(r"^edgegd: (?!warning: )", ending.err, re.MULTILINE)
    if len(messages) > 1:
        faults.append(f"{len(messages)} error messages")
    if ending.exit_code and not ending.err.strip() and not ending.out.strip():
        faults.append("no word of what is wrong")
    if re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", both):
        faults.append("control characters in the output")
    if re.search(rf"^ {{0,3}}{FORGED}", both, re.MULTILINE):
        faults.append("a forged line in the output")
    if ending.exit_code and not any(name in both for name in trial.names.split("|")):
        faults.append(f"the error does not name {trial.names}")
    is_error = ending.out.startswith('{"error": "')  # of --json, which quotes what the device has said
    if trial.must_make and not trial.may_succeed and not is_error and _FIGURE.search(ending.out):
        faults.append("success though wrong: figures of a device that lies")
    if ending.exit_code == 0 and "--json" in trial.arguments:
        faults += _of_the_json(ending.out)
    return faults


def _of_the_json(text: str) -> list[str]:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError as error:
        return [f"--json printed no JSON: {error}"]
    return []


def _of_the_files(trial: Trial, ending: Ending, changes: dict[str, str]) -> list[str]:
    owned = (*_ALWAYS_OWNED, *trial.owns) if ending.exit_code == 0 else (*_ALWAYS_OWNED, *trial.owns_if_failed)

    def is_owned(name: str) -> bool:
        return any(name == path or name.startswith(f"{path}/") for path in owned)

    makes = trial.may_make and ending.exit_code in _DONE
    return [
        f"file {what}: {name}"
        for name, what in sorted(changes.items())
        if not is_owned(name) and not (makes and what == "new")
    ]
