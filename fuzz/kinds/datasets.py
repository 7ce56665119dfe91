"""What a data set is made of: its YAML, list files of images, label files, archives of one."""

from __future__ import annotations

from pathlib import Path
from random import Random

from fuzz.spoil import spoil
from fuzz.trial import Kind, Trial
from fuzz.values import FORGED

_NEW = "new"
_LINES = (
    "",
    "\n",
    "#",
    "./set/images/train/none.jpg",
    "/dev/zero",
    "/dev/null",
    "set",
    ".",
    "/",
    "~",
    "http://x/y.jpg",
    "./set/images/train/*.jpg",
    "\x1b[31m.jpg",
    f"x.jpg\r{FORGED}",
    "./set/images/train/" + "x" * 300 + ".jpg",
    "home/canary.txt",
    "tiny.pt",
    "\x00",
    "./set/images/../images/train/",
    "../" * 2000 + "etc/passwd",
)
_ROWS = (
    ("0 0.5 0.5 0.2", False),
    ("0 0.5 0.5 0.2 0.2 0.9", False),
    ("nan 0.5 0.5 0.2 0.2", False),
    ("0 nan 0.5 0.2 0.2", False),
    ("0 inf 0.5 0.2 0.2", False),
    ("0 0.5 0.5 -0.2 0.2", False),
    ("0 0.5 0.5 1e400 0.2", False),
    ("99 0.5 0.5 0.2 0.2", False),
    ("-1 0.5 0.5 0.2 0.2", False),
    ("1.5 0.5 0.5 0.2 0.2", False),
    ("0 1.5 0.5 0.2 0.2", False),
    ("0 5 5 2 2", False),
    ("car 0.5 0.5 0.2 0.2", False),
    ("0,0.5,0.5,0.2,0.2", False),
    ("0 0.5 0.5 0.2 0.2 0.1 0.3", True),
    ("0 0.5 0.5 0 0", True),
    ("0x0 .5 .5 .2 .2", False),
    ("0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2 0.2", True),
    ("٠ 0.5 0.5 0.2 0.2", True),
    ("1_0 0.5 0.5 0.2 0.2", False),
    (f"{10**30} 0.5 0.5 0.2 0.2", False),
    ("0 0.5 0.5 0.2 0.2 " * 3, True),
    ("\x1b[31m 0.5 0.5 0.2 0.2", False),
    (f"0 0.5 0.5 0.2 x\n{FORGED}", False),
    ("0 " + "0.5 " * 100_000, True),
    ("0 0.5 0.5 0.2 0.2\n" * 50_000, True),
    ("{}", False),
    ("[0, 0.5, 0.5, 0.2, 0.2]", False),
    ("\t0\t0.5\t0.5\t0.2\t0.2", True),
    ("true 0.5 0.5 0.2 0.2", False),
)
_EXAMINED = 0.25
"""Share of the cases that `edgegd data doctor` gets instead of `edgegd run`; it writes a corrected copy, too."""
_FOLDERS = ("images", "images/train", "images/val", "labels", "labels/train", "labels/val")


def _use(random: Random, what: str, may: bool, *more: str) -> Trial:
    way = random.random()
    if way < _EXAMINED:
        data = "list.yaml" if "data.path=list.yaml" in more else "set/streets.yaml"
        return Trial(("data", "doctor", data, "--imgsz", "64", "--fix", _NEW), what, (_NEW,), (_NEW,), may)
    until = "data" if way < 0.85 else "float"
    return Trial(("run", "tiny.yaml", *more, "--run-dir", _NEW, "--until", until), what, (_NEW,), (_NEW,), may)


def _data_yaml(random: Random, place: Path, number: int) -> Trial:
    what, may, _ = spoil(random, place / "set/streets.yaml", "yaml")
    return _use(random, what, may)


def _list(random: Random, place: Path, number: int) -> Trial:
    path, may = place / random.choice(("train.txt", "val.txt", "list.yaml")), True
    if random.random() < 0.5:
        what, may, _ = spoil(random, path, "yaml" if path.suffix == ".yaml" else "")
    else:
        lines, line = path.read_text().splitlines(), random.choice(_LINES)
        way = random.choice(("beside", "alone", "twice"))
        lines = {"beside": [*lines, line], "alone": [line], "twice": lines + lines}[way]
        path.write_text("\n".join(lines))
        what = f"{path.name}: {way}: {line[:40]!r}"
    return _use(random, what, may, "--set", "data.path=list.yaml")


def _label(random: Random, place: Path, number: int) -> Trial:
    split = random.choice(("train", "val"))
    path, may, way = random.choice(sorted((place / f"set/labels/{split}").iterdir())), True, random.random()
    if way < 0.6:
        row, may = _ROWS[number % len(_ROWS)]
        path.write_text(row if random.random() < 0.5 else path.read_text() + row + "\n", errors="surrogateescape")
        what = f"{path.name}: {row[:60]!r}"
    elif way < 0.9:
        what, _, _ = spoil(random, path)  # an empty file, or none, may be right
        may = "not UTF-8" not in what
    else:
        folder = place / "set" / random.choice(_FOLDERS)
        what = f"{folder.name} is elsewhere"
        folder.rename(place / "elsewhere")
        if random.random() < 0.5:
            folder.symlink_to(random.choice((place / "elsewhere", folder, place, Path("/dev/null"))))
            what = f"{folder.name} is a link to {folder.readlink().name}"
    return _use(random, what, may)


def _archive(random: Random, place: Path, number: int) -> Trial:
    what, _, _ = spoil(random, place / "voc.zip")
    return Trial(("data", "fetch", "bccd", _NEW, "--archive", "voc.zip"), what, (_NEW,), may_succeed=False)


KINDS = (
    Kind("data YAMLs", 120, _data_yaml),
    Kind("image lists", 60, _list),
    Kind("labels", 90, _label),
    Kind("archives", 16, _archive),
)
