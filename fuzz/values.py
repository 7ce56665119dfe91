"""Values that do not belong where they are put, as the text that stands for them in YAML and in JSON."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from fuzz.judge import FORGED

Family = Literal["not finite", "number", "truth", "null", "list", "mapping", "text", "other"]


@dataclass(frozen=True)
class OddValue:
    """A value's text in a format, and what it is a kind of."""

    raw: str
    family: Family
    negative: bool = False


_BOTH = (
    OddValue("-1", "number", negative=True),
    OddValue("0", "number"),
    OddValue("1", "number"),
    OddValue("0.5", "number"),
    OddValue("-0.0", "number"),
    OddValue("1e308", "number"),
    OddValue(str(10**30), "number"),
    OddValue(str(-(10**30)), "number", negative=True),
    OddValue("9223372036854775808", "number"),
    OddValue("2147483648", "number"),
    OddValue("100000000", "number"),
    OddValue("5" * 5000, "number"),
    OddValue("true", "truth"),
    OddValue("false", "truth"),
    OddValue("null", "null"),
    OddValue("[]", "list"),
    OddValue("[1, 2]", "list"),
    OddValue("[[[[]]]]", "list"),
    OddValue("{}", "mapping"),
    OddValue('{"a": 1}', "mapping"),
    OddValue('""', "text"),
    OddValue('" "', "text"),
    OddValue('"nan"', "text"),
    OddValue(f'"\\u001b[31mred\\u001b]0;title\\u0007\\n{FORGED}: PASS"', "text"),
    OddValue(f'"a | b <script>`\\r\\n{FORGED}"', "text"),
    OddValue('"\\u0000"', "text"),
    OddValue('"\\u202eabc"', "text"),
    OddValue('"../../../../etc/passwd"', "text"),
    OddValue('"' + "long " * 20000 + '"', "text"),
    OddValue('"\\u00e9\\u4e2d\\ud83d\\ude00"', "text"),
)
YAML_VALUES = (
    *_BOTH,
    OddValue(".nan", "not finite"),
    OddValue(".inf", "not finite"),
    OddValue("-.inf", "not finite"),
    OddValue("1.0e+400", "not finite"),
    OddValue("1e400", "other"),
    OddValue("yes", "truth"),
    OddValue("off", "truth"),
    OddValue("0x7fffffffffffffff", "number"),
    OddValue("1_000", "number"),
    OddValue("12:30:45", "other"),
    OddValue("2026-11-30", "other"),
    OddValue("!!binary aGk=", "other"),
    OddValue("!!set {a, b}", "other"),
    OddValue("!!python/object/apply:os.system ['touch canary']", "other"),
    OddValue("*unknown", "other"),
    OddValue("&a [*a]", "other"),
    OddValue("<<", "text"),
    OddValue("@x", "other"),
)
JSON_VALUES = (
    *_BOTH,
    OddValue("NaN", "not finite"),
    OddValue("Infinity", "not finite"),
    OddValue("-Infinity", "not finite"),
    OddValue("1e400", "not finite"),
    OddValue('"\\ud800"', "text"),
    OddValue("nul", "other"),
)
NOT_FINITE = ("nan", "NaN", "inf", "-inf", "Infinity", "1e400", "-1e999")
OPTION_NUMBERS = (
    *NOT_FINITE,
    "-1",
    "0",
    str(10**30),
    "-" + str(10**30),
    "1e308",
    "1e-320",
    "",
    " ",
    "0x10",
    "1_0",
    "١٢",
    "1e3",
    "1,5",
    "true",
    "null",
    "9" * 5000,
    "--help",
    "1\n2",
    "\x1b[31m1",
)
OPTION_TEXTS = (
    "",
    " ",
    ".",
    "..",
    "/dev/null",
    "~",
    "~nobody/x",
    "a\nb",
    f"a\n{FORGED}",
    "\x1b[31mred",
    "\udcff",
    "x" * 300,
    "x/" * 3000 + "x",
    "-",
    "--",
    "%s%n",
    "$HOME",
    "ssh://",
    "ssh://-oProxyCommand=touch x",
    "command:",
    "command:'",
    "local",
    "nan",
    "c:\\x",
    "naïve/ü.onnx",
    "tmp/none/x.png",
    "set",
    "tiny.pt",
    "run",
    "home/canary.txt",
    "tiny.yaml",
    "train.txt",
    "clip.avi",
)


def odd(random: Random, values: tuple[OddValue, ...]) -> OddValue:
    """One of the values, numbers that are none twice as often."""
    hard = [value for value in values if value.family == "not finite"]
    return random.choice(hard if random.random() < 0.15 else values)
