"""Devices that lie in one answer: behind a command, behind a real sshd, and this machine's own Python."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from random import Random

from fuzz.base import DEVICE, LIAR, SHIPPED, SSH_LIAR
from fuzz.device import HEARTBEAT
from fuzz.lies import draw_lie
from fuzz.trial import Kind, Trial

PATIENCE_S = 6.0
TOLD = "tmp/told"
_LOCK, _READY = ("lock", "lock", "unlock"), ("configure", "configure")
_Form = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
_CHECK: _Form = (("target", "check", "TARGET"), ("hello",), ())
_CHECK_JSON: _Form = (("target", "check", "TARGET", "--json"), ("hello",), ())
_BURST: _Form = (("latency", "burst", "run/qat.onnx", "--target", "TARGET", "--launches", "2"), (*_READY, "burst"), ())
_RUN: _Form = (
    ("run", "tiny.yaml", "--set", "target.host=TARGET", "--run-dir", "new", "--until", "data"),
    ("hello",),
    ("new",),
)
_COMMANDS: tuple[_Form, ...] = (
    _CHECK,
    _CHECK_JSON,
    _BURST,
    _RUN,
    (("latency", "run", "run", "--target", "TARGET"), (*_READY, "warm_up", "memory", "run", "run"), ("run",)),
    (("latency", "run", "run", "--target", "TARGET", "--json"), (*_READY, "warm_up", "memory", "run", "run"), ("run",)),
    (
        ("gate", "run", "--baseline", SHIPPED, "--no-static", "--target", "TARGET", "--out", "new"),
        (*_READY, "warm_up", "memory", "run", "run"),
        ("new", "baselines"),
    ),
    (("latency", "sustained", "run/qat.onnx", "--target", "TARGET", "--limit", "1"), (*_READY, "run", "run"), ()),
    (
        ("latency", "calibrate", "run", "--target", "TARGET", "--launches", "10"),
        (*_READY, "warm_up", "run", "run"),
        ("home/.local/share/edgegd",),
    ),
    (("prove", "run", "--target", "TARGET"), ("hello", "open", "compute", "values", "done", "configure"), ("run",)),
)
"""Command line, the messages that it sends, what it owns."""
_NEW = ("run", "tiny.yaml", "--run-dir", "new", "--until")
_PROFILED = ("configure", "profile", "profile", "profile", "profile")
_PROFILES: tuple[_Form, ...] = (
    ((*_NEW, "activation", "--set", "quant.activation=auto"), _PROFILED, ("new",)),
    ((*_NEW, "search", "--set", "precision.head_db=0", "--set", "precision.images=1"), _PROFILED, ("new",)),
)
"""The commands that time every node, which they do on this machine only."""


def _lying(random: Random, place: Path, form: _Form, target: str, name: str, python: str = "") -> Trial:
    arguments, messages, owns = form
    facts = json.loads((place / "device/facts.json").read_text())
    lie = draw_lie(random, facts, messages)
    path = place / f"device/{LIAR}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lie": {**lie.spec, "told": str(place / TOLD)}}))
    return Trial(
        tuple(one.replace("TARGET", target) for one in arguments),
        lie.what,
        owns,
        owns,
        not lie.is_harmful,
        name,
        PATIENCE_S,
        python,
        must_make=TOLD,
    )


def _by_command(random: Random, place: Path, number: int) -> Trial:
    return _lying(random, place, _COMMANDS[number % len(_COMMANDS)], LIAR, LIAR)


def _with_lock(form: _Form) -> _Form:
    return form[0], (*_LOCK, *form[1]), form[2]


def _with_heartbeats(form: _Form) -> _Form:
    """Of a command that holds the lock for longer than a moment."""
    return form[0], (*form[1], HEARTBEAT, HEARTBEAT), form[2]


def _by_ssh(random: Random, place: Path, number: int) -> Trial:
    form = (_with_lock(_CHECK), _with_heartbeats(_with_lock(_BURST)), _RUN)[number % 3]
    return _lying(random, place, form, SSH_LIAR, f"{SSH_LIAR}|ssh://")


def _this_machine(random: Random, place: Path, number: int) -> Trial:
    """The Python that starts workers on this machine lies, the keeper of its lock among them."""
    form = (_CHECK, *map(_with_heartbeats, (_BURST, _COMMANDS[7], _COMMANDS[4])))[number % 4]
    return _lying(random, place, _with_lock(form), "local", "local", _python(place))


def _profiles(random: Random, place: Path, number: int) -> Trial:
    """The Python of this machine lies about the times of a model's nodes."""
    return _lying(random, place, _PROFILES[number % 4 == 3], "local", "local", _python(place))


def _python(place: Path) -> str:
    """A program that stands where this machine's Python stands, and is the device that lies."""
    script = place / "device/python"
    command = shlex.join([sys.executable, "-S", "-E", str(DEVICE), str(place / f"device/{LIAR}.json")])
    script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    script.chmod(0o755)
    return str(script)


KINDS = (
    Kind("lying devices", 130, _by_command),
    Kind("lying Python here", 20, _this_machine),
    Kind("lying profiles", 24, _profiles),
)
BY_SSH = Kind("lying devices by SSH", 12, _by_ssh)
"""Only where there is an sshd."""
