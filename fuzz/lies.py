"""Lies of a device: one answer is not what a sound device says."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from fuzz import device
from fuzz.tree_mutations import Steps, at, places
from fuzz.values import JSON_VALUES, OddValue, odd

OPTIONAL = frozenset(
    {
        "ready",
        "pid",
        "seconds",
        "inferences",
        "window_medians_ms",
        "optimization",
        "execution_mode",
        "inter_op_threads",
        "model_sha256",
        "boottime",
        "wall",
        "frequency_khz",
        "temperature_c",
        "cpu-thermal",
        "governor",
        "throttle_count",
        "load1",
        "busy_ticks",
        "steal_ticks",
        "own_ticks",
        "ticks_per_s",
        "max_frequency_khz",
        "onnxruntime_build",
        "about",
    }
)
"""What a device need not say: leaving it out is no lie."""
UNBOUNDED = frozenset({"temperature_c", "cpu-thermal"})
"""May be below zero."""
POSITIVE = frozenset({"first_ns", "durations_ns", "peak_bytes", "logical_cores", "usable_cores", "run_us", "plain_us"})
"""May not be 0."""
NULLABLE = frozenset({"onnxruntime_build", "numpy", "onnxruntime"})
"""Of a device that lacks them."""
_NODE = '{"op_type": "Conv", "name": "NAME", "provider": "x", "median_us": US, "inputs": [], "outputs": [["float", 1]]}'
_OTHER_PROFILES: tuple[tuple[str, list[Any], str], ...] = (
    ("of another file", ["nodes"], f"[{_NODE.replace('NAME', 'other.0:conv2d:0').replace('US', '9')}]"),
    ("of one node", ["nodes"], f"[{_NODE.replace('NAME', 'model.0.conv:conv2d:0').replace('US', '9')}]"),
    ("of nodes without names", ["nodes"], f"[{_NODE.replace('NAME', '').replace('US', '9')}]"),
    ("a node longer than the run", ["nodes", 0, "median_us"], "500000000"),
    ("a run of 2 ns", ["run_us"], "0.002"),
    ("a run of ten minutes", ["run_us"], "6e8"),
    ("ten minutes without a profile", ["plain_us"], "6e8"),
    ("2 ns without a profile", ["plain_us"], "0.002"),
)


@dataclass(frozen=True)
class Lie:
    """What device.py is told, in words, and whether no host may take it for an answer."""

    spec: dict[str, Any]
    what: str
    is_harmful: bool


def draw_lie(random: Random, facts: dict[str, Any], messages: tuple[str, ...]) -> Lie:
    """A lie in the answer to one of `messages`."""
    message = random.choice(messages)
    spec = {"message": message, "nth": random.choice((0, 0, 0, 1)) if message == "run" else 0}
    if random.random() < 0.35 or message == device.HEARTBEAT:
        return _of_the_stream(random, spec)
    if message == "profile" and random.random() < 0.3:
        what, path, raw = random.choice(_OTHER_PROFILES)
        return Lie({**spec, "how": "change", "path": path, "raw": raw}, f"profile: {what}", True)
    answer = _honest_answer(facts, message)
    found = list(places(answer))
    steps = random.choice(found)
    if random.random() < 0.15:
        steps = steps[:1]
    if random.random() < 0.2:
        harmful = isinstance(steps[-1], str) and steps[-1] not in OPTIONAL
        return Lie(
            {**spec, "how": "change", "path": list(steps), "raw": None}, f"{_name(message, steps)} is missing", harmful
        )
    value = odd(random, JSON_VALUES)
    return Lie(
        {**spec, "how": "change", "path": list(steps), "raw": value.raw},
        f"{_name(message, steps)} is {value.raw[:50]}",
        _is_harmful(at(answer, steps), steps, value),
    )


def _name(message: str, steps: Steps) -> str:
    return f"{message}: {'.'.join(map(str, steps))}"


def _honest_answer(facts: dict[str, Any], message: str) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "lock": {"lock": {}},
        "unlock": {"lock": None},
        "run": {"run": 0.02},
        "burst": {"burst": 3},
        "configure": {"configure": {"threads": 1, "spinning": False, "provider": "CPUExecutionProvider", "sha256": ""}},
        "profile": {"profile": 1},
        "values": {"values": {"names": [device.OUTPUT], "above": 0.001}},
    }
    if message == "profile":
        return {
            "nodes": [
                {
                    "op_type": "Conv",
                    "name": "x",
                    "provider": "CPUExecutionProvider",
                    "median_us": 1.0,
                    "inputs": [["float", 1]],
                    "outputs": [["float", 1]],
                }
            ],
            "run_us": 1.0,
            "plain_us": 1.0,
        }
    answer = device.honest(facts, asked.get(message, {message: 2}))
    assert answer is not None
    return answer


def _is_harmful(honest: Any, steps: Steps, value: OddValue) -> bool:
    """Whether the value cannot stand where a sound device says `honest`."""
    names = {step for step in steps if isinstance(step, str)}
    if value.family in ("not finite", "other") or value.raw == '"\\ud800"':
        return True
    if value.family == "null":
        return not names & NULLABLE
    if isinstance(honest, bool):
        return value.family != "truth"
    if isinstance(honest, (int, float)):
        if value.family != "number":
            return True
        number = float(value.raw) if len(value.raw) < 400 else float("inf")
        return bool(abs(number) >= 1e30 or (number < 0 and not names & UNBOUNDED) or (number == 0 and names & POSITIVE))
    if isinstance(honest, str):
        return value.family != "text"
    if isinstance(honest, list):
        return value.family not in ("list", "mapping")
    return value.family not in ("mapping", "list")


def _of_the_stream(random: Random, spec: dict[str, Any]) -> Lie:
    ways: tuple[dict[str, Any], ...] = (
        {"how": "silence"},
        {"how": "endless line"},
        {"how": "endless stderr"},
        {"how": "twice"},
        {"how": "exit", "status": 0},
        {"how": "exit", "status": 1, "words": "\x1b[31mSegmentation fault\nFORGED: PASS\n"},
        {"how": "exit", "status": 139},
        {"how": "long", "values": 40_000_000},
        {"how": "bytes", "hex": b"\n".hex()},
        {"how": "bytes", "hex": b"Welcome to board!\n\x1b[31m\n".hex()},
        {"how": "bytes", "hex": b"\xff\xfe\x00\n".hex()},
        {"how": "bytes", "hex": b"{}\n".hex()},
        {"how": "bytes", "hex": b"[]\n".hex()},
        {"how": "bytes", "hex": b"null\n".hex()},
        {"how": "bytes", "hex": (b"[" * 200_000 + b"\n").hex()},
        {"how": "bytes", "hex": b'{"error": 1}\n'.hex()},
        {"how": "bytes", "hex": b'{"error": "x", "about": 7}\n'.hex()},
        {"how": "bytes", "hex": b'{"error": "\\u001b[31m\\nFORGED", "about": "worker"}\n'.hex()},
        {"how": "bytes", "hex": b'{"error": null}\n'.hex()},
        {"how": "bytes", "hex": b'{"error": {"a": []}}\n'.hex()},
        {"how": "bytes", "hex": b'{"held_by": "\\u001b[31m\\nFORGED"}\n'.hex()},
        {"how": "bytes", "hex": b'{"held_by": null}\n'.hex()},
        {"how": "bytes", "hex": b'{"held_by": 5}\n'.hex()},
        {"how": "bytes", "hex": b'{"protocol": 99}\n'.hex()},
        {"how": "bytes", "hex": b"\x00" * 10 + b"\n"},
        {"how": "bytes", "hex": b'{"locked": false}\n'.hex()},
    )
    way = random.choice(ways)
    if isinstance(way.get("hex"), bytes):
        way = {**way, "hex": way["hex"].hex()}
    shown = bytes.fromhex(way["hex"])[:40] if "hex" in way else {key: way[key] for key in way if key != "how"} or ""
    says_free = shown == b'{"locked": false}\n'
    if spec["message"] == device.HEARTBEAT:
        return Lie({**spec, **way}, f"a heartbeat: {way['how']} {shown!r}", not says_free)
    harmless = way["how"] in ("twice", "long") or (spec["message"] == "unlock" and says_free)
    return Lie({**spec, **way}, f"{spec['message']}: {way['how']} {shown!r}", not harmless)
